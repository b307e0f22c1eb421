package delivery

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// oauth1 signs requests as OAuth 1.0a says (RFC 5849), with a token that was made beforehand. It is immutable.
type oauth1 struct {
	consumerKey, token string // token may be ""
	key                []byte // both secrets (3.4.2)
	realm, method      string
	hash               func() hash.Hash
	now                func() time.Time
	nonce              func() string
}

// pair is a parameter, decoded.
type pair struct{ name, value string }

func newOAuth1(a *Auth) *oauth1 {
	o := &oauth1{
		consumerKey: a.ConsumerKey.reveal(), token: a.Token.reveal(), realm: a.Realm, method: a.SignatureMethod, hash: sha256.New, now: time.Now, nonce: newNonce,
		key: []byte(percent(a.ConsumerSecret.reveal()) + "&" + percent(a.TokenSecret.reveal())),
	}
	if a.SignatureMethod == HMACSHA1 {
		o.hash = sha1.New
	}
	return o
}

// newNonce is unique among all requests (3.3): 128 random bits.
func newNonce() string {
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // never fails
	return hex.EncodeToString(raw[:])
}

// authorize sets the header Authorization of a request, anew for each time that it is sent: a receiver may
// refuse a nonce that it has seen.
func (o *oauth1) authorize(req *http.Request) {
	params := []pair{
		{"oauth_consumer_key", o.consumerKey}, {"oauth_nonce", o.nonce()}, {"oauth_signature_method", o.method},
		{"oauth_timestamp", strconv.FormatInt(o.now().Unix(), 10)}, {"oauth_version", "1.0"},
	}
	if o.token != "" {
		params = append(params, pair{"oauth_token", o.token})
	}
	params = append(params, pair{"oauth_signature", o.sign(req, params)})
	var b strings.Builder
	b.WriteString("OAuth ")
	if o.realm != "" {
		b.WriteString(`realm="` + o.realm + `",`)
	}
	for i, p := range params {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(p.name + `="` + percent(p.value) + `"`)
	}
	req.Header["Authorization"] = []string{b.String()}
}

// sign is the value of oauth_signature.
func (o *oauth1) sign(req *http.Request, params []pair) string {
	mac := hmac.New(o.hash, o.key)
	mac.Write([]byte(baseString(req, params)))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// baseString is the signature base string of 3.4.1.1: method, address, and the parameters of header, query and form, sorted.
func baseString(req *http.Request, params []pair) string {
	all := slices.Clone(params)
	all = append(all, formPairs(req.URL.RawQuery)...)
	if kind, _, err := mime.ParseMediaType(req.Header.Get("Content-Type")); err == nil && kind == "application/x-www-form-urlencoded" {
		all = append(all, formPairs(string(bodyOf(req)))...)
	}
	encoded := make([]pair, len(all))
	for i, p := range all {
		encoded[i] = pair{percent(p.name), percent(p.value)}
	}
	slices.SortFunc(encoded, func(a, b pair) int { // bytewise, after encoding (3.4.1.3.2)
		if c := strings.Compare(a.name, b.name); c != 0 {
			return c
		}
		return strings.Compare(a.value, b.value)
	})
	joined := make([]string, len(encoded))
	for i, p := range encoded {
		joined[i] = p.name + "=" + p.value
	}
	return strings.ToUpper(req.Method) + "&" + percent(baseAddress(req)) + "&" + percent(strings.Join(joined, "&"))
}

// bodyOf is a request's body, which stays unread.
func bodyOf(req *http.Request) []byte {
	if req.GetBody == nil {
		return nil
	}
	r, err := req.GetBody()
	if err != nil {
		return nil
	}
	body, _ := io.ReadAll(r) // from memory
	return body
}

// baseAddress is the base string URI of 3.4.1.2: the address as the receiver sees it, without default port and query.
func baseAddress(req *http.Request) string {
	u, scheme := req.URL, strings.ToLower(req.URL.Scheme)
	host := strings.ToLower(u.Host)
	if req.Host != "" {
		host = strings.ToLower(req.Host)
	}
	switch scheme {
	case "http":
		host = strings.TrimSuffix(host, ":80")
	case "https":
		host = strings.TrimSuffix(host, ":443")
	}
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	return scheme + "://" + host + path
}

// formPairs decodes a query or a form (3.4.1.3.1), in order and with repetitions. What is malformed is taken as it stands.
func formPairs(raw string) []pair {
	var all []pair
	unescape := func(s string) string {
		if plain, err := url.QueryUnescape(s); err == nil {
			return plain
		}
		return s
	}
	for one := range strings.SplitSeq(raw, "&") {
		if one == "" {
			continue
		}
		name, value, _ := strings.Cut(one, "=")
		all = append(all, pair{unescape(name), unescape(value)})
	}
	return all
}

// percent encodes a text as 3.6 says: all but letters, digits, "-", ".", "_" and "~", in capitals.
func percent(s string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for _, c := range []byte(s) {
		if c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~' {
			b.WriteByte(c)
		} else {
			b.WriteByte('%')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		}
	}
	return b.String()
}
