package delivery

import (
	"bytes"
	"cmp"
	"encoding/base64"
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
	secrets [][]byte // in all spellings; longest first, as one may hold another
}

func newRedactor(c *EndpointConfig) *redactor {
	var texts []string
	add := func(s string) { texts = append(texts, s) }
	for name, v := range c.Headers {
		if !harmlessHeader(name) {
			add(v.reveal())
		}
	}
	for _, v := range c.Query {
		add(v.reveal())
	}
	a := &c.Auth
	for _, v := range a.secrets() {
		add(v.reveal())
	}
	for _, v := range c.HMAC.Secrets {
		add(v.reveal())
	}
	if a.Type == AuthOAuth2 {
		add(clientBasic(a))
	}
	if a.Type == AuthBasic {
		add(basic(a.Username, a.Password.reveal()))
	}
	for _, address := range []URL{c.URL, c.Proxy, a.TokenURL} {
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
	return (&redactor{}).with(texts)
}

// with is a redactor that masks further texts.
func (r *redactor) with(texts []string) *redactor {
	all := slices.Clone(r.secrets)
	for _, text := range texts {
		for _, spelling := range spellings(text) {
			all = append(all, []byte(spelling))
		}
	}
	slices.SortFunc(all, func(a, b []byte) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), bytes.Compare(a, b))
	})
	return &redactor{slices.CompactFunc(all, bytes.Equal)}
}

// withHidden is a redactor that masks what the endpoint's redact hides of the body, too: receivers answer with what they were sent.
func (r *receiver) withHidden(redact *redactor, d *Delivery) *redactor {
	if r.hidden == nil {
		return redact
	}
	var texts []string
	members := d.members
	if len(members) == 0 {
		members = []*Delivery{d}
	}
	for _, m := range members {
		for _, value := range r.hidden.Values(m.Body, m.Format) {
			if len(value) >= minSecret {
				texts = append(texts, value)
			}
		}
	}
	return redact.with(texts)
}

// basic is the credentials part of a Basic Authorization header.
func basic(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
}

// body is an answer's body as it is kept. One that was cut short may end in the middle of a secret.
func (r *redactor) body(b []byte, cut bool) []byte {
	if cut {
		b = r.withoutHalf(b)
	}
	return r.bytes(b)
}

// withoutHalf masks the beginning of a secret at the end of b.
func (r *redactor) withoutHalf(b []byte) []byte {
	longest := 0
	for _, s := range r.secrets {
		for n := min(len(s)-1, len(b)); n > max(longest, minSecret-1); n-- {
			if bytes.HasSuffix(b, s[:n]) {
				longest = n
			}
		}
	}
	if longest == 0 {
		return b
	}
	return append(bytes.Clone(b[:len(b)-longest]), masked...)
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

// response makes an answer's header what is kept of it.
func (r *redactor) response(h http.Header) map[string][]string {
	for name, values := range h {
		for i, v := range values {
			switch name {
			case "Set-Cookie", "Authorization", "Proxy-Authorization":
				v = masked
			case "Location", "Content-Location":
				v = maskURL(v)
			}
			values[i] = r.text(v)
		}
	}
	for name, values := range h {
		if kept := r.text(name); kept != name {
			delete(h, name)
			h[kept] = values
		}
	}
	return h
}

// harmlessHeader says whether the value of a configured header may be shown.
func harmlessHeader(name string) bool {
	switch textproto.CanonicalMIMEHeaderKey(name) {
	case "Accept", "Accept-Charset", "Accept-Encoding", "Accept-Language", "Cache-Control", "Content-Language", "Content-Type", "Host",
		"Prefer", "User-Agent", headerTest:
		return true
	}
	return false
}
