package delivery

import (
	"net/http"
	"strings"
	"time"
)

// retryAfter reads a Retry-After header (RFC 9110 §10.2.3): seconds, or an HTTP date. It returns
// the wait from now, at most [MaxRetryAfter], and 0 for a header that is absent, past or
// malformed.
func retryAfter(value string, now time.Time) time.Duration {
	value = strings.Trim(value, " \t")
	if value == "" {
		return 0
	}
	const most = int64(MaxRetryAfter / time.Second)
	seconds, digits := int64(0), true
	for _, c := range []byte(value) {
		if c < '0' || c > '9' {
			digits = false
			break
		}
		seconds = min(seconds*10+int64(c-'0'), most) // a longer number stays at the limit
	}
	if digits {
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), MaxRetryAfter)
}
