package delivery

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// F5, max_age: a delivery that is too old is a dead letter, without a request; back-off ends when it will be. Its lane goes on, whatever on_dead says.
func TestMaxAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sender := newMemStore(), newScripted(t, takes(time.Second, 503))
		config := EndpointConfig{OnDead: OnDeadHold, Queue: QueueConfig{MaxAge: seconds(300)}, Retry: RetryPolicy{Initial: seconds(60), Jitter: ptr(0.0)}}
		e := NewEngine(store, sender, map[string]EndpointConfig{"erp": config}, EngineOptions{})
		began := time.Now()
		old, first, second := queued("erp", "old", 1), queued("erp", "a", 1), queued("erp", "a", 2)
		store.now = func() time.Time { return began.Add(-6 * time.Minute) }
		store.add(old)
		store.now = time.Now
		run(t, e)
		enqueue(t, store, e, first)
		time.Sleep(4 * time.Minute)
		enqueue(t, store, e, second)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := len(sender.times[old.ID]); n != 0 {
			t.Errorf("what was too old at once was sent %d times", n)
		}
		if n := len(sender.times[first.ID]); n != 3 { // at 0, 61 s and 182 s; the next would be due at 423 s
			t.Errorf("the first was sent %d times", n)
		}
		if n := len(sender.times[second.ID]); n != 3 { // from the end of the first on, at 300 s
			t.Errorf("the second was sent %d times", n)
		} else if wait := sender.times[second.ID][0].Sub(began); wait < 300*time.Second || wait > 302*time.Second {
			t.Errorf("the second was sent after %s", wait)
		}
		for _, o := range store.attempts {
			if o.Result != Dead {
				continue
			}
			if o.Hold || o.Attempt.Class != ClassExpired || o.Attempt.Status != 0 || !strings.HasPrefix(o.Reason, "too old: it was queued ") || !strings.Contains(o.Reason, "max_age is 5m") {
				t.Errorf("%s ended with %q, class %q, hold %v", o.Delivery.ID, o.Reason, o.Attempt.Class, o.Hold)
			}
		}
		if got := store.results()[Dead]; got != 3 {
			t.Errorf("%d ended, want 3", got)
		}
	})
}

func TestQueueConfig(t *testing.T) {
	if got, want := (QueueConfig{}).WithDefaults(), (QueueConfig{MaxRows: 5_000_000, MaxBytes: 10 << 30, Overflow: OverflowPark}); got != want {
		t.Errorf("defaults: %+v", got)
	}
	for _, tt := range []struct {
		config QueueConfig
		want   string
	}{
		{QueueConfig{MaxRows: 1000, MaxBytes: 16 << 20, MaxAge: seconds(1), Overflow: OverflowDropOldest}, ""},
		{QueueConfig{MaxRows: 999}, "queue.max_rows"},
		{QueueConfig{MaxRows: -1}, "queue.max_rows"},
		{QueueConfig{MaxBytes: 1 << 20}, "queue.max_bytes"},
		{QueueConfig{MaxAge: -seconds(1)}, "queue.max_age"},
		{QueueConfig{Overflow: "drop"}, "queue.overflow"},
	} {
		err := EndpointConfig{URL: "https://example.com/", Queue: tt.config}.Validate()
		var problem *ConfigError
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%+v: %v", tt.config, err)
		case tt.want != "" && (!errors.As(err, &problem) || problem.Key() != tt.want || problem.Hint() == ""):
			t.Errorf("%+v: %v, want one about %s", tt.config, err, tt.want)
		}
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]Size{"0": 0, "1048576": 1 << 20, "512KiB": 512 << 10, "16 MiB": 16 << 20, "10GiB": 10 << 30} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%q: %d, %v", text, s, err)
		}
		var again Size
		if err := again.UnmarshalText([]byte(s.String())); err != nil || again != want {
			t.Errorf("%q is spelt %q", text, s)
		}
	}
	for _, text := range []string{"", "-1", "1.5GiB", "10GB", "GiB", "99999999999GiB"} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is read as %d", text, s)
		}
	}
	if got := Size(1500).String(); got != "1500" {
		t.Errorf("1500 is spelt %q", got)
	}
}
