package main

import (
	"fmt"
	"math"
	"runtime"
	"runtime/debug"
	"testing"

	"walhook/delivery"
)

func TestHeapLimit(t *testing.T) {
	endpoints := func(n, concurrency int) map[string]delivery.EndpointConfig {
		all := map[string]delivery.EndpointConfig{}
		for i := range n {
			all[fmt.Sprint("e", i)] = delivery.EndpointConfig{Concurrency: concurrency}
		}
		return all
	}
	for _, c := range []struct {
		name string
		cfg  Config
		want int64
	}{
		{"defaults", Config{}, 36 << 20},
		{"a few endpoints", Config{Endpoints: endpoints(10, 0)}, 36 << 20},
		{"less for a transaction", Config{Source: SourceSection{Memory: 1 << 20}}, 36 << 20},
		{"more for a transaction", Config{Source: SourceSection{Memory: 24 << 20}}, 68 << 20},
		{"many endpoints", Config{Endpoints: endpoints(96, 1)}, 39 << 20},
		{"many connections", Config{Endpoints: endpoints(1, 288)}, 39 << 20},
	} {
		if got := heapLimitFor(&c.cfg); got != c.want {
			t.Errorf("%s: %d MiB, want %d", c.name, got>>20, c.want>>20)
		}
	}
}

// What the operator has set in GOMEMLIMIT stands.
func TestMemoryLimitOfTheOperator(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	debug.SetMemoryLimit(math.MaxInt64)
	limitMemory(&Config{}, func(string) (string, bool) { return "100MiB", true })
	if got := debug.SetMemoryLimit(-1); got != math.MaxInt64 {
		t.Errorf("the limit was set to %d", got)
	}
	limitMemory(&Config{}, func(string) (string, bool) { return "", false })
	if got := debug.SetMemoryLimit(-1); got != heapLimit {
		t.Errorf("the limit is %d", got)
	}
}

// A limit below what rules and catalog hold for good would make the runtime collect garbage for ever.
func TestMemoryLimitLeavesRoomToWork(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer func() {
		debug.SetMemoryLimit(before)
		ownLimit.Store(false)
	}()
	limitMemory(&Config{}, func(string) (string, bool) { return "", false })
	held := make([]byte, 64<<20)
	limitMemoryAnew(&Config{})
	if got := debug.SetMemoryLimit(-1); got < int64(len(held))+roomToWork {
		t.Errorf("a limit of %d MiB with %d MiB held", got>>20, len(held)>>20)
	}
	runtime.KeepAlive(held)
}
