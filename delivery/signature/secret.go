package signature

import (
	"crypto/ed25519"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
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
// It is either a key that sender and receiver share, or the sender's private key of ed25519.
// The zero Secret is unset; it neither signs nor verifies.
type Secret struct {
	// The pointers are the protection where methods don't reach: fmt prints
	// unexported fields by reflection, follows one pointer for a verb that it finds
	// wrong, and prints a second one as an address.
	key **material
}

// material is what a Secret holds: one of the two.
type material struct {
	shared  []byte
	private ed25519.PrivateKey
	macs    sync.Pool // of hash.Hash with the shared key in them, which takes as long to put there as to sign a small body
}

// ParseSecret reads a secret: "whsec_" and base64 (standard alphabet, padding
// optional); "whsk_" and the base64 of a private key of ed25519 (its seed of 32 bytes, or seed and public key, 64);
// or any other text of at least [MinKey] bytes, whose bytes are then
// the key. Its errors never quote the text.
func ParseSecret(text string) (Secret, error) {
	switch {
	case text == "":
		return Secret{}, fmt.Errorf("%w: it is empty", ErrSecret)
	case strings.TrimSpace(text) != text:
		return Secret{}, fmt.Errorf("%w: it starts or ends with white space", ErrSecret)
	case strings.HasPrefix(text, PublicPrefix):
		return Secret{}, fmt.Errorf("%w: %s is a public key, which signs nothing; the private key starts with %s", ErrSecret, PublicPrefix, PrivatePrefix)
	case strings.HasPrefix(text, PrivatePrefix):
		return parsePrivate(text)
	}
	raw := []byte(text)
	if strings.HasPrefix(text, Prefix) {
		var err error
		if raw, err = decodeKey(text, Prefix); err != nil {
			return Secret{}, err
		}
	}
	if len(raw) < MinKey {
		return Secret{}, fmt.Errorf("%w: the key has %d bytes, at least %d are needed", ErrSecret, len(raw), MinKey)
	}
	return newSecret(&material{shared: raw}), nil
}

func newSecret(m *material) Secret { return Secret{&m} }

// decodeKey returns what the base64 behind a prefix stands for.
func decodeKey(text, prefix string) ([]byte, error) {
	raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(text[len(prefix):], "="))
	if err == nil {
		return raw, nil
	}
	var at base64.CorruptInputError
	if errors.As(err, &at) {
		return nil, fmt.Errorf("%w: after %s comes base64, but character %d is not", ErrSecret, prefix, len(prefix)+int(at)+1)
	}
	return nil, fmt.Errorf("%w: after %s comes base64", ErrSecret, prefix)
}

// IsZero says that the secret is unset.
func (s Secret) IsZero() bool { return s.key == nil }

// Equal compares the keys, in constant time for keys of one length. It also
// lets go-cmp compare structs that hold secrets.
func (s Secret) Equal(other Secret) bool {
	return s.IsAsymmetric() == other.IsAsymmetric() && subtle.ConstantTimeCompare(s.bytes(), other.bytes()) == 1
}

// bytes is the key itself, of either kind.
func (s Secret) bytes() []byte {
	if s.key == nil {
		return nil
	}
	if m := *s.key; m.private != nil {
		return m.private
	}
	return (*s.key).shared
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
