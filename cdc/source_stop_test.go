package cdc

import (
	"context"
	"testing"
	"time"
)

// unsure is a Handler that keeps what it is handed and cannot say so: each commit is answered by a session that is gone.
type unsure struct {
	recorder
	called chan struct{}
	kept   LSN
}

func (u *unsure) Handle(ctx context.Context, txs []*Tx) (LSN, error) {
	if _, err := u.recorder.Handle(ctx, txs); err != nil {
		return 0, err
	}
	u.kept = txs[len(txs)-1].EndLSN
	select {
	case u.called <- struct{}{}:
	default:
	}
	return 0, temporary("the outcome of a commit is unknown")
}

// Advance finds out what was kept.
func (u *unsure) Advance(_ context.Context, lsn LSN) (LSN, error) { return max(lsn, u.kept), nil }

// A source that stops before it knows of the last batch learns of it in the end, and confirms it: that is no failure.
func TestStopWithUnknownCommit(t *testing.T) {
	for name, before := range map[string]func(b *bench, r *running){
		"at once": func(*bench, *running) {},
		"after progress that is not durable": func(b *bench, r *running) {
			r.connected()
			b.exec("CHECKPOINT") // WAL, and no transaction
			until(t, "WAL of no transaction to be handled", func() bool { return r.Progress().Handled > b.confirmed() })
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			u := &unsure{called: make(chan struct{}, 1)}
			r := b.start(u, 0, func(c *SourceConfig) { c.RetryMin, c.RetryMax = time.Minute, time.Minute })
			before(b, r)
			b.exec("INSERT INTO t VALUES (1, 'a')")
			<-u.called
			r.stop()
			if got := b.confirmed(); got != u.kept {
				t.Errorf("confirmed %s, the handler has kept everything up to %s", got, u.kept)
			}
		})
	}
}
