package periodic

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// Tasks of the same interval are done that often, and not in the same moment.
func TestRun(t *testing.T) {
	const interval = 10 * time.Second
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		moments := map[time.Duration]bool{}
		done := make(chan []time.Duration)
		for range 10 {
			go func() {
				var at []time.Duration
				if err := Run(ctx, interval, func() error { at = append(at, time.Since(began)); return nil }); err != nil {
					t.Error(err)
				}
				done <- at
			}()
		}
		time.Sleep(time.Minute + time.Nanosecond)
		cancel()
		for range 10 {
			at := <-done
			if len(at) != 6 || at[0] <= interval-time.Second || at[0] > interval {
				t.Fatalf("done at %s", at)
			}
			for i := range at[1:] {
				if at[i+1]-at[i] != interval {
					t.Errorf("done at %s", at)
				}
			}
			moments[at[0]] = true
		}
		if len(moments) < 5 {
			t.Errorf("10 tasks began at %d moments", len(moments))
		}
	})
}

func TestRunEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, failed := 0, errors.New("the third")
		err := Run(t.Context(), time.Second, func() error {
			if n++; n == 3 {
				return failed
			}
			return nil
		})
		if n != 3 || !errors.Is(err, failed) {
			t.Errorf("done %d times, ended by %v", n, err)
		}
		n = 0
		if err := Now(t.Context(), time.Second, func() error { n++; return failed }); n != 1 || !errors.Is(err, failed) {
			t.Errorf("done %d times, ended by %v", n, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := Run(ctx, time.Second, func() error { t.Error("done"); return nil }); err != nil {
			t.Error(err)
		}
	})
}
