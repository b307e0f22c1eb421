package main

import (
	"runtime"
	"runtime/debug"
	"sync/atomic"

	"walhook/cdc"
)

const (
	// heapLimit is what the Go runtime may take at the defaults: with some 20 MiB of the program itself, which the kernel counts as
	// resident too, walhook stays under 64 MiB.
	heapLimit = 36 << 20
	// Of endpoints and connections this many are in it; each further one has its share of memory.
	endpointsIncluded, endpointShare     = 64, 96 << 10
	connectionsIncluded, connectionShare = 160, 24 << 10
	// gcPercent is how much the heap may grow, in percent of what is in use, before garbage is collected, as long as it is within the limit.
	// With Go's own 100 the collector took a tenth of the time, and the limit bounds what walhook takes all the same.
	gcPercent = 200
)

// limitMemory makes the runtime collect garbage more often rather than let the heap grow to twice of what is in use
// (invariant 9). It is a backstop and no bound: what is held is bounded where it is held. An operator's GOMEMLIMIT and GOGC stand.
func limitMemory(cfg *Config, env environment) {
	if _, set := env("GOGC"); !set {
		debug.SetGCPercent(gcPercent)
	}
	if _, set := env("GOMEMLIMIT"); !set {
		ownLimit.Store(true)
		debug.SetMemoryLimit(heapLimitFor(cfg))
	}
}

// ownLimit says that the limit is walhook's own, not an operator's.
var ownLimit atomic.Bool

// roomToWork is what the limit leaves above what is held for good.
const roomToWork = 28 << 20

// limitMemoryAnew adapts the limit to what rules and catalog take, once they are there: thousands of rules are held for good, and a limit
// below what is held would make the runtime collect garbage for ever.
func limitMemoryAnew(cfg *Config) {
	if !ownLimit.Load() {
		return
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	debug.SetMemoryLimit(max(heapLimitFor(cfg), int64(m.HeapAlloc)+roomToWork))
}

// heapLimitFor is heapLimit, and more for a configuration that asks for more.
func heapLimitFor(cfg *Config) int64 {
	limit := int64(heapLimit)
	if memory := int64(cfg.Source.Memory); memory > cdc.DefaultMemory {
		limit += 2 * (memory - cdc.DefaultMemory)
	}
	limit += 2 * max(cfg.relatedCache()-defaultRelatedCache, 0)
	connections := 0
	for _, e := range cfg.Endpoints {
		connections += e.WithDefaults().Concurrency
	}
	limit += int64(max(len(cfg.Endpoints)-endpointsIncluded, 0)) * endpointShare
	return limit + int64(max(connections-connectionsIncluded, 0))*connectionShare
}
