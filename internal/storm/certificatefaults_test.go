package storm

import (
	"context"
	"math/rand/v2"
	"time"
)

// certificateFaults are those of the endpoint that is reached by TLS.
var certificateFaults = []Fault{
	certificate{"certificate that has expired", "that has expired"}, certificate{"certificate that is not valid yet", "that is not valid yet"}, certificate{"certificate of another host", "of another host"},
	certificate{"certificate of an unknown authority", "of an unknown authority"}, certificate{"TLS handshake broken off", ""},
}

// certificate has a receiver show another certificate.
type certificate struct{ name, shows string }

func (c certificate) Name() string { return "receiver: " + c.name }

func (certificate) Weight() int { return 3 }

func (c certificate) Inject(ctx context.Context, w *World, rnd *rand.Rand) (int, error) {
	f := w.Receivers.faces
	before, want := f.failed.Load(), int32(1+rnd.IntN(8))
	f.show(c.shows)
	defer f.show(good)
	w.ToReceivers.Cut() // whoever has a connection sees no certificate any more
	for end := time.Now().Add(4 * time.Second); f.failed.Load() < before+want && time.Now().Before(end) && ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
	}
	return int(f.failed.Load() - before), nil
}
