package signature

import (
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Prefix starts the text form of a Standard Webhooks secret.
const Prefix = "whsec_"

// MinKey is the least number of bytes that a key must have. The standard asks
// for 24 to 64; receivers in the field use shorter ones.
const MinKey = 16

// Mask is what a Secret prints as.
const Mask = "[secret]"

// Secret is a signing key that can't be printed: fmt with any verb, JSON,
// TOML and slog show [Mask], also when the Secret sits in an unexported field of
// another struct. It does not protect against a debugger, a core dump or unsafe.
//
// The zero Secret is unset; it neither signs nor verifies.
type Secret struct {
	// The pointers are the protection where methods don't reach: fmt prints
	// unexported fields by reflection, follows one pointer for a verb that it finds
	// wrong, and prints a second one as an address.
	key **[]byte
}

// ParseSecret reads a secret: "whsec_" and base64 (standard alphabet, padding
// optional), or any other text of at least [MinKey] bytes, whose bytes are then
// the key. Its errors never quote the text.
func ParseSecret(text string) (Secret, error) {
	switch {
	case text == "":
		return Secret{}, fmt.Errorf("%w: it is empty", ErrSecret)
	case strings.TrimSpace(text) != text:
		return Secret{}, fmt.Errorf("%w: it starts or ends with white space", ErrSecret)
	case strings.HasPrefix(text, "whsk_"), strings.HasPrefix(text, "whpk_"):
		return Secret{}, fmt.Errorf("%w: whsk_ and whpk_ are ed25519 keys; a secret starts with %s", ErrSecret, Prefix)
	}
	raw := []byte(text)
	if encoded, ok := strings.CutPrefix(text, Prefix); ok {
		var err error
		raw, err = base64.RawStdEncoding.DecodeString(strings.TrimRight(encoded, "="))
		if err != nil {
			var at base64.CorruptInputError
			if errors.As(err, &at) {
				return Secret{}, fmt.Errorf("%w: after %s comes base64, but character %d is not", ErrSecret, Prefix, len(Prefix)+int(at)+1)
			}
			return Secret{}, fmt.Errorf("%w: after %s comes base64", ErrSecret, Prefix)
		}
	}
	if len(raw) < MinKey {
		return Secret{}, fmt.Errorf("%w: the key has %d bytes, at least %d are needed", ErrSecret, len(raw), MinKey)
	}
	pointer := &raw
	return Secret{&pointer}, nil
}

// IsZero says that the secret is unset.
func (s Secret) IsZero() bool { return s.key == nil }

// Equal compares the keys, in constant time for keys of one length. It also
// lets go-cmp compare structs that hold secrets.
func (s Secret) Equal(other Secret) bool {
	return subtle.ConstantTimeCompare(s.bytes(), other.bytes()) == 1
}

func (s Secret) bytes() []byte {
	if s.key == nil {
		return nil
	}
	return **s.key
}

// String returns [Mask], or "" for the zero Secret.
func (s Secret) String() string {
	if s.key == nil {
		return ""
	}
	return Mask
}

// GoString returns what String does.
func (s Secret) GoString() string { return s.String() }

// Format writes what String returns, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) } // fmt.State keeps its own errors

// MarshalText returns what String does, for TOML, slog and map keys.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON returns what String does, quoted.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + s.String() + `"`), nil }

// UnmarshalText is [ParseSecret], so that configuration decodes into a Secret.
func (s *Secret) UnmarshalText(text []byte) error {
	parsed, err := ParseSecret(string(text))
	if err != nil {
		return err
	}
	*s = parsed
	return nil
}
