// Package signature signs and verifies webhooks as Standard Webhooks 1.0 says
// (https://www.standardwebhooks.com). It knows nothing else of walhook and may
// be copied by receivers written in Go.
//
// # Vocabulary
//
//   - Secret: the key that sender and receiver share, written "whsec_<base64>"; or
//     the sender's private key of ed25519, "whsk_<base64>", whose public half,
//     "whpk_<base64>", receivers verify with.
//   - Message id: the header webhook-id. It stays the same when a webhook is sent
//     again, so a receiver can tell a repetition from something new.
//   - Timestamp: the header webhook-timestamp, seconds since 1970 in decimal. It
//     is the time of the attempt, not of the event.
//   - Signature: "v1," and the base64 of HMAC-SHA256 over
//     "<id>.<timestamp>.<body>"; or "v1a," and the base64 of the ed25519 signature
//     of the same. The header webhook-signature holds one or more,
//     separated by spaces: while a secret is being replaced, one for the old and
//     one for the new.
//   - Tolerance: how far the timestamp may be from the receiver's clock, which
//     bounds how long a recorded request can be replayed.
//
// A receiver in Go:
//
//	secret, err := signature.ParseSecret(os.Getenv("WEBHOOK_SECRET"))
//	…
//	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
//	…
//	err = signature.Verify([]signature.Secret{secret}, r.Header, body, time.Now(), signature.DefaultTolerance)
//
// A receiver that got a public key calls [VerifyPublic] with what [ParsePublicKey] returns. Each of the two passes over
// signatures of the other kind.
package signature
