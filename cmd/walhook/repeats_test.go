package main

import (
	"testing"
	"time"
)

func TestRepeatedFailures(t *testing.T) {
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	now := began
	r := &repeats{now: func() time.Time { return now }}
	if say, since, unsaid := r.failed("lease"); !say || unsaid != 0 || !since.Equal(began) {
		t.Error("the first failure is not said")
	}
	for range 59 {
		now = now.Add(time.Second)
		if say, _, _ := r.failed("lease"); say {
			t.Fatalf("said again after %s", now.Sub(began))
		}
	}
	if say, _, _ := r.failed("statistics"); !say {
		t.Error("another task's first failure is not said")
	}
	now = now.Add(time.Second)
	if say, since, unsaid := r.failed("lease"); !say || unsaid != 59 || !since.Equal(began) {
		t.Errorf("after a minute: %v %s %d", say, since, unsaid)
	}
	now = now.Add(time.Minute)
	if say, since, unsaid := r.failed("lease"); !say || unsaid != 0 || !since.Equal(now) {
		t.Errorf("a failure that begins anew: %v %s %d", say, since, unsaid)
	}
}
