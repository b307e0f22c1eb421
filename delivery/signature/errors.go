package signature

import "errors"

// What can be wrong with a secret or a received webhook. Errors of this package
// wrap one of these and say more; none of them quotes a secret or a signature.
var (
	// ErrSecret: the text is no usable secret.
	ErrSecret = errors.New("unusable secret")
	// ErrNoSecret: there is nothing to verify with.
	ErrNoSecret = errors.New("no secret to verify with")
	// ErrHeader: a header is missing or malformed.
	ErrHeader = errors.New("missing or malformed header")
	// ErrTooOld: the timestamp lies further in the past than the tolerance.
	ErrTooOld = errors.New("timestamp too old")
	// ErrTooNew: the timestamp lies further in the future than the tolerance.
	ErrTooNew = errors.New("timestamp too new")
	// ErrMismatch: no v1 signature in the header fits body, id and timestamp.
	ErrMismatch = errors.New("no matching signature")
)
