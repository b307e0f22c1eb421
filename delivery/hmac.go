package delivery

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/textproto"
	"strings"
	"time"

	"walhook/delivery/signature"
)

// HMAC is an endpoint's [endpoints.NAME.hmac] table: an HMAC-SHA256 signature in a header of its own, for receivers that expect
// one and know nothing of Standard Webhooks. It can stand beside a Standard Webhooks signature.
//
// With several secrets the header holds one signature for each, in order, separated by commas, each with the prefix. A receiver
// that compares the whole header takes one only: it has to accept the old and the new secret first, then the secret is changed here.
type HMAC struct {
	Secrets         []Sensitive `toml:"secrets"`          // the keys, as they are written; none means no such header
	Header          string      `toml:"header"`           // default "X-Webhook-Signature"
	Encoding        string      `toml:"encoding"`         // "hex" (default) or "base64"
	Prefix          string      `toml:"prefix"`           // before each signature, such as "sha256="; default none
	Signs           string      `toml:"signs"`            // what is signed, with {body}, {timestamp} and {id}; default "{body}"
	TimestampHeader string      `toml:"timestamp_header"` // a header with the timestamp, besides Webhook-Timestamp; default none
}

// The values of HMAC.Encoding.
const (
	EncodingHex    = "hex"
	EncodingBase64 = "base64"
)

// shortKey is the length below which a key could be guessed by who has seen a signature.
const shortKey = 16

func (h *HMAC) withDefaults() {
	if len(h.Secrets) == 0 {
		return
	}
	fill(&h.Header, "X-Webhook-Signature")
	fill(&h.Encoding, EncodingHex)
	fill(&h.Signs, "{body}")
}

func (h *HMAC) validate(p *problems, c *EndpointConfig) {
	if len(h.Secrets) == 0 {
		if h.Header != "" || h.Encoding != "" || h.Prefix != "" || h.Signs != "" || h.TimestampHeader != "" {
			p.add("hmac.secrets", "nothing can be signed without a secret", `hmac = { secrets = ["${SECRET}"], … }, or secrets_file`)
		}
		return
	}
	for i, s := range h.Secrets {
		if s.IsZero() {
			p.add(fmt.Sprintf("hmac.secrets[%d]", i), "the secret is empty", "openssl rand -hex 32")
		}
	}
	p.oneOf("hmac.encoding", h.Encoding, EncodingHex, EncodingBase64)
	if !isHeaderValue(h.Prefix) {
		p.add("hmac.prefix", "the value holds a line break or another control character", "")
	}
	parts, err := signedParts(h.Signs)
	switch {
	case err != nil:
		p.add("hmac.signs", err.Error(), `use "{body}", "{timestamp}.{body}" or the like; {id} is the delivery's`)
	case !contains(parts, partBody):
		p.add("hmac.signs", "the body is not signed: anyone could change it", `use "{body}" or "{timestamp}.{body}"`)
	}
	set := map[string]string{}
	for name := range c.Headers {
		set[textproto.CanonicalMIMEHeaderKey(name)] = "headers"
	}
	if own := c.Auth.header(); own != "" {
		set[own] = "auth"
	}
	for _, header := range []struct{ key, name string }{{"hmac.header", h.Header}, {"hmac.timestamp_header", h.TimestampHeader}} {
		if header.name == "" {
			continue
		}
		p.headerName(header.key, header.name)
		canonical := textproto.CanonicalMIMEHeaderKey(header.name)
		if other := set[canonical]; other != "" {
			p.add(header.key, other+" sets this header too", "keep one of the two")
		}
		set[canonical] = "hmac.header"
	}
}

// hmacSigner is an [HMAC] worked out. It is immutable.
type hmacSigner struct {
	header, timestamp string // canonical names; timestamp may be ""
	keys              [][]byte
	prefix            string
	encode            func([]byte) string
	parts             []part
}

// newHMACSigner returns nil when nothing is to be signed.
func newHMACSigner(h *HMAC) (*hmacSigner, error) {
	if len(h.Secrets) == 0 {
		return nil, nil
	}
	parts, err := signedParts(h.Signs)
	if err != nil {
		return nil, &ConfigError{key: "hmac.signs", message: err.Error()}
	}
	s := &hmacSigner{header: textproto.CanonicalMIMEHeaderKey(h.Header), timestamp: textproto.CanonicalMIMEHeaderKey(h.TimestampHeader), prefix: h.Prefix, parts: parts,
		encode: hex.EncodeToString}
	if h.Encoding == EncodingBase64 {
		s.encode = base64.StdEncoding.EncodeToString
	}
	for _, secret := range h.Secrets {
		s.keys = append(s.keys, []byte(secret.reveal()))
	}
	return s, nil
}

// sign sets the headers of one request.
func (s *hmacSigner) sign(set func(name, value string), id string, at time.Time, body []byte) {
	stamp := signature.Timestamp(at)
	var value strings.Builder
	for i, key := range s.keys {
		mac := hmac.New(sha256.New, key)
		for _, p := range s.parts {
			switch p.kind {
			case partBody:
				mac.Write(body)
			case partTimestamp:
				mac.Write([]byte(stamp))
			case partID:
				mac.Write([]byte(id))
			default:
				mac.Write([]byte(p.text))
			}
		}
		if i > 0 {
			value.WriteByte(',')
		}
		value.WriteString(s.prefix)
		value.WriteString(s.encode(mac.Sum(nil)))
	}
	set(s.header, value.String())
	if s.timestamp != "" {
		set(s.timestamp, stamp)
	}
}

// part is a piece of what is signed: a placeholder, or a text.
type part struct {
	kind string // "" for a text
	text string
}

const (
	partBody      = "{body}"
	partTimestamp = "{timestamp}"
	partID        = "{id}"
)

// signedParts reads a template such as "v0:{timestamp}:{body}".
func signedParts(template string) ([]part, error) {
	var parts []part
	for rest := template; rest != ""; {
		from := strings.IndexByte(rest, '{')
		if from < 0 {
			return append(parts, part{text: rest}), nil
		}
		if from > 0 {
			parts = append(parts, part{text: rest[:from]})
		}
		to := strings.IndexByte(rest[from:], '}')
		if to < 0 {
			return nil, fmt.Errorf("%q opens a placeholder and does not close it", template)
		}
		name := rest[from : from+to+1]
		switch name {
		case partBody, partTimestamp, partID:
			parts = append(parts, part{kind: name})
		default:
			return nil, fmt.Errorf("%s is no placeholder", name)
		}
		rest = rest[from+to+1:]
	}
	return parts, nil
}

func contains(parts []part, kind string) bool {
	for _, p := range parts {
		if p.kind == kind {
			return true
		}
	}
	return false
}
