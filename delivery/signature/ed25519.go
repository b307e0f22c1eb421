package signature

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Prefixes of the text forms of ed25519 keys.
const (
	PrivatePrefix = "whsk_" // the sender's, which signs
	PublicPrefix  = "whpk_" // the receivers', which verifies
)

const asymmetric = "v1a,"

// parsePrivate reads "whsk_…".
func parsePrivate(text string) (Secret, error) {
	raw, err := decodeKey(text, PrivatePrefix)
	if err != nil {
		return Secret{}, err
	}
	switch len(raw) {
	case ed25519.SeedSize:
		raw = ed25519.NewKeyFromSeed(raw)
	case ed25519.PrivateKeySize:
		if !ed25519.NewKeyFromSeed(raw[:ed25519.SeedSize]).Equal(ed25519.PrivateKey(raw)) {
			return Secret{}, fmt.Errorf("%w: the public key in its second half does not belong to the private key in its first", ErrSecret)
		}
	default:
		return Secret{}, fmt.Errorf("%w: an ed25519 key has %d or %d bytes, this one %d", ErrSecret, ed25519.SeedSize, ed25519.PrivateKeySize, len(raw))
	}
	return newSecret(&material{private: raw}), nil
}

// IsAsymmetric says that the secret is a private key of ed25519.
func (s Secret) IsAsymmetric() bool { return s.key != nil && (*s.key).private != nil }

// PublicKey returns what receivers verify with, when the secret is a private key of ed25519.
func (s Secret) PublicKey() (key PublicKey, ok bool) {
	if !s.IsAsymmetric() {
		return PublicKey{}, false
	}
	return PublicKey{(*s.key).private.Public().(ed25519.PublicKey)}, true
}

// PublicKey is the public half of an ed25519 key. It is no secret. The zero PublicKey verifies nothing.
type PublicKey struct{ key ed25519.PublicKey }

// ParsePublicKey reads "whpk_" and the base64 of 32 bytes.
func ParsePublicKey(text string) (PublicKey, error) {
	if !strings.HasPrefix(text, PublicPrefix) {
		return PublicKey{}, fmt.Errorf("%w: a public key starts with %s", ErrSecret, PublicPrefix)
	}
	raw, err := decodeKey(text, PublicPrefix)
	if err != nil {
		return PublicKey{}, err
	}
	if len(raw) != ed25519.PublicKeySize {
		return PublicKey{}, fmt.Errorf("%w: an ed25519 public key has %d bytes, this one %d", ErrSecret, ed25519.PublicKeySize, len(raw))
	}
	return PublicKey{raw}, nil
}

// String returns "whpk_…", "" for the zero PublicKey.
func (k PublicKey) String() string {
	if k.key == nil {
		return ""
	}
	return PublicPrefix + base64.StdEncoding.EncodeToString(k.key)
}

// VerifyPublic is [Verify] for ed25519: it checks the v1a signatures with public keys.
func VerifyPublic(keys []PublicKey, header http.Header, body []byte, now time.Time, tolerance time.Duration) error {
	r, err := readHeader(header, now, tolerance)
	if err != nil {
		return err
	}
	usable := false
	for _, k := range keys {
		if k.key == nil {
			continue
		}
		usable = true
		for one := range strings.SplitSeq(r.signatures, " ") {
			encoded, ok := strings.CutPrefix(one, asymmetric)
			if !ok {
				continue
			}
			if sig, err := base64.StdEncoding.DecodeString(encoded); err == nil && ed25519.Verify(k.key, content(r.id, r.stamp, body), sig) {
				return nil
			}
		}
	}
	if !usable {
		return ErrNoSecret
	}
	return ErrMismatch
}

// content is what is signed: "id.stamp.body".
func content(id, stamp string, body []byte) []byte {
	b := make([]byte, 0, len(id)+len(stamp)+len(body)+2)
	b = append(append(b, id...), '.')
	b = append(append(b, stamp...), '.')
	return append(b, body...)
}
