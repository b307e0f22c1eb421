package delivery

import (
	"fmt"
	"io"
)

// masked is what takes the place of a secret.
const masked = "***"

// Sensitive is a text that can't be printed: a password, a token, the value of a
// header. fmt with any verb, JSON, TOML and slog show "***". The zero Sensitive is the empty text.
type Sensitive struct {
	// A pointer, as fmt prints unexported fields by reflection and a nested pointer as an address.
	text *string
}

// NewSensitive hides a text.
func NewSensitive(text string) Sensitive {
	if text == "" {
		return Sensitive{}
	}
	return Sensitive{&text}
}

// reveal returns the text, for the request that needs it.
func (s Sensitive) reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsZero says that the text is empty.
func (s Sensitive) IsZero() bool { return s.text == nil }

// Equal compares the texts; it lets go-cmp compare structs that hold one.
func (s Sensitive) Equal(other Sensitive) bool { return s.reveal() == other.reveal() }

// String returns "***", or "" for the empty text.
func (s Sensitive) String() string {
	if s.text == nil {
		return ""
	}
	return masked
}

// GoString returns what String does.
func (s Sensitive) GoString() string { return s.String() }

// Format writes what String returns, whatever the verb.
func (s Sensitive) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) } // fmt.State keeps its own errors

// MarshalText returns what String does.
func (s Sensitive) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON returns what String does, quoted.
func (s Sensitive) MarshalJSON() ([]byte, error) { return []byte(`"` + s.String() + `"`), nil }

// UnmarshalText takes the text as it is.
func (s *Sensitive) UnmarshalText(text []byte) error {
	*s = NewSensitive(string(text))
	return nil
}
