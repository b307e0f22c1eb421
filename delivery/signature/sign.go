package signature

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"hash"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The headers of a signed webhook. Comparison of header names ignores case.
const (
	HeaderID        = "webhook-id"
	HeaderTimestamp = "webhook-timestamp"
	HeaderSignature = "webhook-signature"
)

// DefaultTolerance is the tolerance of a [Verify] that is given none.
const DefaultTolerance = 5 * time.Minute

const version = "v1,"

// Sign returns the value of the header webhook-signature: one "v1,…" (of a private key of
// ed25519 "v1a,…") for each secret, in order, separated by spaces; "" without secrets. The time is cut to the
// second, as the header webhook-timestamp carries it (see [Timestamp]).
func Sign(secrets []Secret, id string, at time.Time, body []byte) string {
	var out strings.Builder
	for _, s := range secrets {
		if s.IsZero() {
			continue
		}
		if out.Len() > 0 {
			out.WriteByte(' ')
		}
		if s.IsAsymmetric() {
			out.WriteString(asymmetric)
			out.WriteString(base64.StdEncoding.EncodeToString(ed25519.Sign((*s.key).private, content(id, Timestamp(at), body))))
			continue
		}
		out.WriteString(version)
		out.WriteString(sum(s, id, Timestamp(at), body))
	}
	return out.String()
}

// Timestamp returns the value of the header webhook-timestamp.
func Timestamp(at time.Time) string { return strconv.FormatInt(at.Unix(), 10) }

// Verify checks a received webhook: that its timestamp is within tolerance
// of now, either way, and that one of its v1 signatures was made with one of the secrets. A
// tolerance of zero or less means [DefaultTolerance]. Signatures are compared in
// constant time. A nil error says that the holder of a secret sent this body
// with this id; it does not say that it has not arrived before. Private keys of ed25519 are passed over: [VerifyPublic]
// verifies what they signed.
func Verify(secrets []Secret, header http.Header, body []byte, now time.Time, tolerance time.Duration) error {
	usable := false
	for _, s := range secrets {
		usable = usable || !s.IsZero() && !s.IsAsymmetric()
	}
	if !usable {
		return ErrNoSecret
	}
	r, err := readHeader(header, now, tolerance)
	if err != nil {
		return err
	}
	for _, s := range secrets {
		if s.IsZero() || s.IsAsymmetric() {
			continue
		}
		want := []byte(sum(s, r.id, r.stamp, body))
		for one := range strings.SplitSeq(r.signatures, " ") {
			if got, ok := strings.CutPrefix(one, version); ok && hmac.Equal([]byte(got), want) {
				return nil
			}
		}
	}
	return ErrMismatch
}

// received is what the headers of a webhook say.
type received struct{ id, stamp, signatures string }

// readHeader reads the headers and checks the timestamp.
func readHeader(header http.Header, now time.Time, tolerance time.Duration) (received, error) {
	r := received{header.Get(HeaderID), header.Get(HeaderTimestamp), header.Get(HeaderSignature)}
	for _, h := range []struct{ name, value string }{{HeaderID, r.id}, {HeaderTimestamp, r.stamp}, {HeaderSignature, r.signatures}} {
		if h.value == "" {
			return r, fmt.Errorf("%w: %s is missing", ErrHeader, h.name)
		}
	}
	if tolerance <= 0 {
		tolerance = DefaultTolerance
	}
	return r, checkTimestamp(r.stamp, now, tolerance)
}

// checkTimestamp accepts decimal seconds within tolerance of now. The text is
// part of what is signed, so that "1614265330" and "01614265330" are not the same.
func checkTimestamp(stamp string, now time.Time, tolerance time.Duration) error {
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil {
		return fmt.Errorf("%w: %s is not a number of seconds", ErrHeader, HeaderTimestamp)
	}
	// Seconds are compared as such: time.Sub saturates, but time.Unix overflows.
	// The clock's fraction is dropped on both sides.
	limit, clock := int64(tolerance/time.Second), now.Unix()
	switch {
	case seconds < clock && (clock-seconds > limit || clock-seconds < 0):
		return fmt.Errorf("%w: more than %s before the receiver's clock", ErrTooOld, tolerance)
	case seconds > clock && (seconds-clock > limit || seconds-clock < 0):
		return fmt.Errorf("%w: more than %s after the receiver's clock", ErrTooNew, tolerance)
	}
	return nil
}

// sum is the base64 of HMAC-SHA256 over "id.stamp.body".
func sum(s Secret, id, stamp string, body []byte) string {
	m := *s.key
	mac, pooled := m.macs.Get().(hash.Hash)
	if !pooled {
		mac = hmac.New(sha256.New, m.shared)
	}
	defer m.macs.Put(mac)
	mac.Reset()
	head := make([]byte, 0, 128)
	head = append(append(append(append(head, id...), '.'), stamp...), '.')
	mac.Write(head)
	mac.Write(body)
	return base64.StdEncoding.EncodeToString(mac.Sum(head[:0]))
}
