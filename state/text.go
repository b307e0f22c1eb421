package state

import (
	"strings"
	"unicode/utf8"
)

// clean makes text that came from the network storable: PostgreSQL's text holds valid UTF-8 without
// NUL. One receiver's odd header must not keep outcomes from being committed.
func clean(s string) string {
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// nonNil returns b, or an empty slice: nil would be SQL's NULL.
func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
