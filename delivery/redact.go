package delivery

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
)

// minSecret is the length from which a configured text is looked for in answers and errors.
// Shorter ones would mask half the log.
const minSecret = 6

// redactor takes an endpoint's secrets out of what is kept of an attempt. Receivers echo requests, and errors quote
// addresses: a secret is masked wherever it turns up, in the spellings that HTTP gives it.
type redactor struct {
	secrets [][]byte // longest first, as one may hold another
}

func newRedactor(c *EndpointConfig) *redactor {
	r := &redactor{}
	add := func(s string) {
		spellings := []string{s, url.QueryEscape(s), url.PathEscape(s), strings.ReplaceAll(s, "/", `\/`)}
		if quoted, err := json.Marshal(s); err == nil { // a string is always marshalled
			spellings = append(spellings, string(quoted[1:len(quoted)-1]))
		}
		for _, spelling := range spellings {
			if len(spelling) >= minSecret {
				r.secrets = append(r.secrets, []byte(spelling))
			}
		}
	}
	for name, v := range c.Headers {
		if !harmlessHeader(name) {
			add(v.reveal())
		}
	}
	for _, v := range c.Query {
		add(v.reveal())
	}
	a := &c.Auth
	for _, v := range []Sensitive{a.Password, a.Token, a.Value} {
		add(v.reveal())
	}
	if a.Type == AuthBasic {
		add(basic(a.Username, a.Password.reveal()))
	}
	for _, address := range []URL{c.URL, c.Proxy} {
		u, err := url.Parse(string(address))
		if err != nil {
			continue
		}
		if password, ok := u.User.Password(); ok {
			add(password)
			add(basic(u.User.Username(), password))
		} else if u.User != nil {
			add(u.User.Username())
			add(basic(u.User.Username(), ""))
		}
		for _, values := range u.Query() {
			for _, v := range values {
				add(v)
			}
		}
		for segment := range strings.SplitSeq(u.Path, "/") {
			if tokenLike(segment) {
				add(segment)
			}
		}
	}
	slices.SortFunc(r.secrets, func(a, b []byte) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), bytes.Compare(a, b))
	})
	r.secrets = slices.CompactFunc(r.secrets, bytes.Equal)
	return r
}

// basic is the credentials part of a Basic Authorization header.
func basic(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
}

// bytes masks the secrets in b; it returns b itself when there are none.
func (r *redactor) bytes(b []byte) []byte {
	for _, s := range r.secrets {
		if bytes.Contains(b, s) {
			b = bytes.ReplaceAll(b, s, []byte(masked))
		}
	}
	return b
}

// text masks the secrets in s and makes it storable: valid UTF-8 without NUL.
func (r *redactor) text(s string) string {
	for _, secret := range r.secrets {
		if strings.Contains(s, string(secret)) {
			s = strings.ReplaceAll(s, string(secret), masked)
		}
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\ufffd"), "\x00", "\ufffd")
}

// response is an answer's header as it is kept.
func (r *redactor) response(h http.Header) map[string][]string {
	kept := make(map[string][]string, len(h))
	for name, values := range h {
		out := make([]string, len(values))
		for i, v := range values {
			switch name {
			case "Set-Cookie", "Authorization", "Proxy-Authorization":
				v = masked
			case "Location", "Content-Location":
				v = maskURL(v)
			}
			out[i] = r.text(v)
		}
		kept[r.text(name)] = out
	}
	return kept
}

// harmlessHeader says whether the value of a configured header may be shown.
func harmlessHeader(name string) bool {
	switch textproto.CanonicalMIMEHeaderKey(name) {
	case "Accept", "Accept-Charset", "Accept-Encoding", "Accept-Language", "Cache-Control", "Content-Language", "Content-Type", "Host",
		"Prefer", "User-Agent":
		return true
	}
	return false
}
