package status

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
)

// minToken is the length below which a token could be guessed over the network.
const minToken = 16

// Token is the bearer token of the status pages. It cannot be printed, by no
// verb of fmt and in no JSON. The zero Token means that none is asked for.
type Token struct {
	// A pointer, as fmt prints unexported fields by reflection and a nested pointer as an address.
	text *string
}

// NewToken returns a token. Text shorter than 16 bytes is refused by [Config.Validate].
func NewToken(text string) Token {
	if text == "" {
		return Token{}
	}
	return Token{&text}
}

func (t Token) reveal() string {
	if t.text == nil {
		return ""
	}
	return *t.text
}

// UnmarshalText takes the token as it stands in a configuration file.
func (t *Token) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		return errors.New("the token is empty")
	}
	*t = NewToken(string(text))
	return nil
}

// IsZero says that no token is asked for.
func (t Token) IsZero() bool { return t.text == nil }

// Header returns the value of the Authorization header that bears the token.
func (t Token) Header() string { return "Bearer " + t.reveal() }

// admits compares in constant time, whatever the lengths.
func (t Token) admits(header string) bool {
	want, got := sha256.Sum256([]byte(t.Header())), sha256.Sum256([]byte(header))
	return subtle.ConstantTimeCompare(want[:], got[:]) == 1
}

// String hides the token.
func (t Token) String() string { return "(token)" }

// Format hides the token from every verb.
func (t Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, t.String()) } // fmt.State keeps its own errors

// MarshalText hides the token.
func (t Token) MarshalText() ([]byte, error) { return []byte(t.String()), nil }
