package delivery

import (
	"fmt"
	"io"
	"net/url"
	"strings"
)

// URL is an address that prints without its secrets: user and password, the values
// of the query and path segments that look like a token (as in Slack's and Zapier's hooks) show as "***". string(u)
// is the whole address.
type URL string

// String returns the address without its secrets.
func (u URL) String() string { return maskURL(string(u)) }

// GoString returns what String does.
func (u URL) GoString() string { return u.String() }

// Format writes what String returns, whatever the verb.
func (u URL) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, u.String()) } // fmt.State keeps its own errors

// MarshalText returns what String does.
func (u URL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// UnmarshalText takes the text as it is.
func (u *URL) UnmarshalText(text []byte) error {
	*u = URL(text)
	return nil
}

// maskURL replaces what may be secret in an address. Text that is no address is masked whole.
func maskURL(text string) string {
	if text == "" {
		return ""
	}
	u, err := url.Parse(text)
	if err != nil {
		return masked
	}
	var b strings.Builder
	if u.Scheme != "" {
		b.WriteString(u.Scheme + ":")
	}
	if u.Opaque != "" {
		return b.String() + masked
	}
	if u.Host != "" || u.User != nil {
		b.WriteString("//")
		if u.User != nil {
			b.WriteString(masked + "@")
		}
		b.WriteString(u.Host)
	}
	for i, segment := range strings.Split(u.EscapedPath(), "/") {
		if i > 0 {
			b.WriteByte('/')
		}
		if tokenLike(segment) {
			segment = masked
		}
		b.WriteString(segment)
	}
	b.WriteString(maskQuery(u.RawQuery))
	if u.Fragment != "" {
		b.WriteString("#" + masked)
	}
	return b.String()
}

// maskQuery keeps the names of a query and masks the values.
func maskQuery(raw string) string {
	if raw == "" {
		return ""
	}
	parts := strings.Split(raw, "&")
	for i, part := range parts {
		if name, _, ok := strings.Cut(part, "="); ok {
			parts[i] = name + "=" + masked
		} else if tokenLike(part) {
			parts[i] = masked
		}
	}
	return "?" + strings.Join(parts, "&")
}

// tokenLike says whether a path segment may be a secret: 16 or more characters
// with letters and digits mixed, and nothing that reads like words.
func tokenLike(segment string) bool {
	letters, digits := 0, 0
	for _, c := range segment {
		switch {
		case c >= '0' && c <= '9':
			digits++
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z':
			letters++
		}
	}
	return len(segment) >= 16 && letters > 0 && digits > 0
}
