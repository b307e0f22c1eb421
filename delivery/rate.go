package delivery

import "time"

// bucket is a token bucket: an attempt takes a token, tokens come at a rate, and at most a burst of them is kept. The zero value
// bounds nothing. It is pure.
//
// Of several processes on one state each has an equal share of rate and burst. How many there are is read about once a second: in
// between, after one has joined, what all send together may exceed the limit by the newcomer's share; one that died keeps its share
// until its lease ends.
type bucket struct {
	rate, burst float64 // of all processes; tokens per second
	share       float64 // this process's part
	tokens      float64
	at          time.Time // when tokens was right
}

func newBucket(c RateConfig) bucket {
	c = c.WithDefaults()
	return bucket{rate: c.PerSecond(), burst: float64(c.Burst), share: 1, tokens: float64(c.Burst)}
}

// divide gives this process its share among n.
func (b *bucket) divide(n int) {
	b.share = 1 / float64(max(n, 1))
	b.tokens = min(b.tokens, b.most())
}

func (b *bucket) most() float64 { return max(b.burst*b.share, 1) }

// gather is the least time that a sender waits for tokens, when more than one comes in it: a timer for each would cost more than the
// requests.
const gather = 5 * time.Millisecond

// ready returns when to ask again; zero when there is a token.
func (b *bucket) ready(now time.Time) (at time.Time) {
	if b.rate == 0 {
		return at
	}
	rate := b.rate * b.share
	if !b.at.IsZero() && now.After(b.at) {
		b.tokens = min(b.tokens+now.Sub(b.at).Seconds()*rate, b.most())
	}
	b.at = now
	// A token that lacks less than a nanosecond's worth has come: a timer that was set for it has fired.
	if b.tokens >= 1-rate*1e-9 {
		return time.Time{}
	}
	want := min(max(rate*gather.Seconds(), 1), b.most())
	return now.Add(time.Duration((want-b.tokens)/rate*1e9) + 1)
}

// take takes the token that ready has found.
func (b *bucket) take() {
	if b.rate > 0 {
		b.tokens--
	}
}
