// Package signature signs and verifies webhooks as Standard Webhooks 1.0 says
// (https://www.standardwebhooks.com): HMAC-SHA256 over "id.timestamp.body" with a secret
// "whsec_<base64>". It knows nothing else of walhook and may be copied by receivers written in Go.
package signature
