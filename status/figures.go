package status

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// figures are one reading of the state schema.
type figures struct {
	endpoints []EndpointState
	rules     []RuleState
	position  PositionState
	at        time.Time // of the last reading that worked
	err       error     // of the last reading; the figures are then those of at
}

func (f figures) info() StateInfo {
	i := StateInfo{
		Reachable: f.err == nil && !f.at.IsZero(), At: utc(f.at), Bound: f.position.Bound,
		SchemaVersion: f.position.SchemaVersion, Bytes: f.position.Bytes, Processes: f.position.Processes, Queue: f.position.Queue, Log: f.position.Log,
	}
	if f.err != nil {
		i.Error = f.err.Error()
	}
	return i
}

// queryTimeout bounds one reading, so that a state database that hangs makes
// pages say so rather than hang.
const queryTimeout = 5 * time.Second

// cache reads the state schema at most once per ttl, however many ask. Callers
// that come while a reading is under way wait for it.
type cache struct {
	reader Reader
	ttl    time.Duration

	mu    sync.Mutex // held while reading: one reading at a time
	last  figures
	tried time.Time
}

// get returns the figures, at most ttl old, or older ones with the error that
// kept them from being read again.
func (c *cache) get(ctx context.Context, now time.Time) figures {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reader == nil || !c.tried.IsZero() && now.Sub(c.tried) < c.ttl {
		return c.last
	}
	// The reading outlives the request that asked for it: others wait for it too.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), queryTimeout)
	defer cancel()
	read, err := c.read(ctx)
	c.tried = now
	if err != nil {
		c.last.err = err
		return c.last
	}
	read.at = now
	c.last = read
	return read
}

func (c *cache) read(ctx context.Context) (figures, error) {
	var f figures
	var errs [3]error
	f.position, errs[0] = c.reader.Position(ctx)
	if errs[0] != nil {
		return f, errs[0] // the others would fail alike, after a time-out each
	}
	f.endpoints, errs[1] = c.reader.Endpoints(ctx)
	f.rules, errs[2] = c.reader.Rules(ctx)
	return f, errors.Join(errs[:]...)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
