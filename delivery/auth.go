package delivery

import (
	"fmt"
	"maps"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
)

// Auth says how requests authenticate themselves.
type Auth struct {
	Type     string    `toml:"type"`     // "basic", "bearer", "api_key", "oauth2" or "oauth1"; empty means none
	Username string    `toml:"username"` // of basic
	Password Sensitive `toml:"password"` // of basic
	Token    Sensitive `toml:"token"`    // of bearer; of oauth1 the token's id
	Name     string    `toml:"name"`     // of api_key: the header or query key; default "X-API-Key"
	In       string    `toml:"in"`       // of api_key: "header" (default) or "query"
	Value    Sensitive `toml:"value"`    // of api_key

	// OAuth 2, client credentials (RFC 6749, 4.4).
	TokenURL     URL                  `toml:"token_url"`     // where tokens are asked for
	ClientID     string               `toml:"client_id"`     //
	ClientSecret Sensitive            `toml:"client_secret"` //
	Scope        string               `toml:"scope"`         // names separated by spaces; default none
	Audience     string               `toml:"audience"`      // as Auth0 and others want it; default none
	Params       map[string]Sensitive `toml:"params"`        // further fields of the token request; default none
	Style        string               `toml:"style"`         // how id and secret are sent: "header" (default) or "body"

	// OAuth 1.0a (RFC 5849), with a token that was made beforehand, as NetSuite wants it.
	ConsumerKey     Sensitive `toml:"consumer_key"`     //
	ConsumerSecret  Sensitive `toml:"consumer_secret"`  //
	TokenSecret     Sensitive `toml:"token_secret"`     // of Token; default none, for requests without a token
	Realm           string    `toml:"realm"`            // NetSuite: the account's id; default none
	SignatureMethod string    `toml:"signature_method"` // "HMAC-SHA256" (default) or "HMAC-SHA1"
}

// The values of Auth.Type.
const (
	AuthBasic  = "basic"
	AuthBearer = "bearer"
	AuthAPIKey = "api_key"
	AuthOAuth2 = "oauth2"
	AuthOAuth1 = "oauth1"
)

// The values of Auth.In, and with InBody those of Auth.Style.
const (
	InHeader = "header"
	InQuery  = "query"
	InBody   = "body"
)

// The values of Auth.SignatureMethod.
const (
	HMACSHA256 = "HMAC-SHA256"
	HMACSHA1   = "HMAC-SHA1"
)

// authTypes lists the keys of each type.
var authTypes = map[string]struct{ required, optional []string }{
	"":         {},
	AuthBasic:  {required: []string{"username", "password"}},
	AuthBearer: {required: []string{"token"}},
	AuthAPIKey: {required: []string{"value"}, optional: []string{"name", "in"}},
	AuthOAuth2: {required: []string{"token_url", "client_id", "client_secret"}, optional: []string{"scope", "audience", "params", "style"}},
	AuthOAuth1: {required: []string{"consumer_key", "consumer_secret"}, optional: []string{"token", "token_secret", "realm", "signature_method"}},
}

func (a *Auth) withDefaults() {
	switch a.Type {
	case AuthAPIKey:
		fill(&a.Name, "X-API-Key")
		fill(&a.In, InHeader)
	case AuthOAuth2:
		fill(&a.Style, InHeader)
	case AuthOAuth1:
		fill(&a.SignatureMethod, HMACSHA256)
	}
}

// given says which keys are set.
func (a *Auth) given() map[string]bool {
	return map[string]bool{
		"username": a.Username != "", "password": !a.Password.IsZero(), "token": !a.Token.IsZero(), "name": a.Name != "", "in": a.In != "", "value": !a.Value.IsZero(),
		"token_url": a.TokenURL != "", "client_id": a.ClientID != "", "client_secret": !a.ClientSecret.IsZero(), "scope": a.Scope != "", "audience": a.Audience != "",
		"params": len(a.Params) > 0, "style": a.Style != "", "consumer_key": !a.ConsumerKey.IsZero(), "consumer_secret": !a.ConsumerSecret.IsZero(),
		"token_secret": !a.TokenSecret.IsZero(), "realm": a.Realm != "", "signature_method": a.SignatureMethod != "",
	}
}

// secrets are the texts that must not be shown.
func (a *Auth) secrets() []Sensitive {
	all := []Sensitive{a.Password, a.Token, a.Value, a.ClientSecret, a.ConsumerKey, a.ConsumerSecret, a.TokenSecret}
	for _, v := range a.Params {
		all = append(all, v)
	}
	return all
}

func (a *Auth) validate(p *problems, headers map[string]Sensitive) {
	keys, known := authTypes[a.Type]
	if !known {
		p.oneOf("auth.type", a.Type, AuthBasic, AuthBearer, AuthAPIKey, AuthOAuth2, AuthOAuth1)
		return
	}
	given := a.given()
	for _, key := range slices.Sorted(maps.Keys(given)) {
		switch is, must := given[key], slices.Contains(keys.required, key); {
		case must && !is:
			p.add("auth."+key, fmt.Sprintf("auth of type %q needs it", a.Type), "")
		case is && !must && a.Type == "":
			p.add("auth."+key, "there is no auth.type", fmt.Sprintf("set type to %q, %q, %q, %q or %q", AuthBasic, AuthBearer, AuthAPIKey, AuthOAuth2, AuthOAuth1))
		case is && !must && !slices.Contains(keys.optional, key):
			p.add("auth."+key, fmt.Sprintf("auth of type %q does not use it", a.Type), "leave it out")
		}
	}
	switch a.Type {
	case AuthBasic:
		if strings.Contains(a.Username, ":") {
			p.add("auth.username", "a user name cannot hold a colon", "")
		}
	case AuthBearer:
		p.headerValue("auth.token", a.Token)
	case AuthAPIKey:
		a.validateKey(p)
	case AuthOAuth2:
		a.validateOAuth2(p)
	case AuthOAuth1:
		a.validateOAuth1(p)
	}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		if header := a.header(); header != "" && textproto.CanonicalMIMEHeaderKey(name) == header {
			p.add("headers."+name, "auth sets this header too", "keep one of the two")
		}
	}
}

// header is the header that carries the credentials, "" when none does.
func (a *Auth) header() string {
	switch {
	case a.Type == "", a.Type == AuthAPIKey && a.In != InHeader:
		return ""
	case a.Type == AuthAPIKey:
		return textproto.CanonicalMIMEHeaderKey(a.Name)
	}
	return "Authorization"
}

func (a *Auth) validateKey(p *problems) {
	p.oneOf("auth.in", a.In, InHeader, InQuery)
	if a.In != InHeader {
		return
	}
	p.headerName("auth.name", a.Name)
	p.headerValue("auth.value", a.Value)
}

// tokenFields are the fields of a token request that have keys of their own.
var tokenFields = map[string]string{
	"grant_type": "it is client_credentials", "client_id": "set auth.client_id", "client_secret": "set auth.client_secret", "scope": "set auth.scope", "audience": "set auth.audience",
}

func (a *Auth) validateOAuth2(p *problems) {
	p.oneOf("auth.style", a.Style, InHeader, InBody)
	for _, name := range slices.Sorted(maps.Keys(a.Params)) {
		if remedy, own := tokenFields[name]; own || name == "" {
			p.add("auth.params", fmt.Sprintf("%q is no further field of a token request", name), remedy)
		}
	}
	if a.TokenURL == "" {
		return // said before
	}
	u, err := url.Parse(string(a.TokenURL))
	switch {
	case err != nil:
		p.add("auth.token_url", "not an address: "+unquoted(err), `write it as "https://host/path"`)
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		p.add("auth.token_url", fmt.Sprintf("%s is no address of http or https", a.TokenURL), `write it as "https://host/path"`)
	case u.User != nil:
		p.add("auth.token_url", "the address holds a user", "set auth.client_id and auth.client_secret")
	case u.Fragment != "":
		p.add("auth.token_url", "the part after # is never sent", "leave it out")
	}
}

func (a *Auth) validateOAuth1(p *problems) {
	p.oneOf("auth.signature_method", a.SignatureMethod, HMACSHA256, HMACSHA1)
	if a.Token.IsZero() != a.TokenSecret.IsZero() {
		missing := "auth.token_secret"
		if a.Token.IsZero() {
			missing = "auth.token"
		}
		p.add(missing, "a token of oauth1 needs auth.token and auth.token_secret", "")
	}
	if strings.ContainsAny(a.Realm, "\"\\") || !isHeaderValue(a.Realm) {
		p.add("auth.realm", "a realm cannot hold quotes, backslashes or control characters", "")
	}
}

// headerName complains about a name that no header of the configuration may have.
func (p *problems) headerName(key, name string) {
	if !isToken(name) {
		p.add(key, fmt.Sprintf("%q is no header name", name), "use letters, digits and -")
	} else if why, own := ownHeaders[textproto.CanonicalMIMEHeaderKey(name)]; own {
		p.add(key, "this header cannot be configured: it is "+why, "")
	}
}

// headerValue complains about a value that no header can carry.
func (p *problems) headerValue(key string, value Sensitive) {
	if !isHeaderValue(value.reveal()) {
		p.add(key, "the value holds a line break or another control character", "")
	}
}
