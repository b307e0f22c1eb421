package state

import "sync"

// estimate is what a process believes is kept per endpoint: the sizes as it read them last, and what it has enqueued since. It is never too
// low by more than what commands and other processes have enqueued within a second, so a limit is not overrun unseen. It is safe for
// concurrent use.
type estimate struct {
	mu    sync.Mutex
	sizes *sizes // nil until they are read
	grown tally  // enqueued by this process, ever
}

// near says whether a batch comes close to a limit, as far as is known.
func (e *estimate) near(more tally) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.sizes == nil {
		return true
	}
	for name, u := range more {
		if e.sizes.near(name, u.Pending, u.PendingBytes) {
			return true
		}
	}
	return false
}

// enqueued counts a batch.
func (e *estimate) enqueued(more tally) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.grown == nil {
		e.grown = tally{}
	}
	for name, u := range more {
		e.grown.at(name).add(*u)
		if e.sizes != nil {
			e.sizes.at(name).add(*u)
			e.sizes.total.add(*u)
		}
	}
}

// mark returns what this process had enqueued before sizes are read.
func (e *estimate) mark() map[string]Usage {
	e.mu.Lock()
	defer e.mu.Unlock()
	before := make(map[string]Usage, len(e.grown))
	for name, u := range e.grown {
		before[name] = *u
	}
	return before
}

// learn takes sizes that were read after a mark. What was enqueued between is counted twice rather than not at all.
func (e *estimate) learn(s *sizes, before map[string]Usage) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for name, u := range e.grown {
		more := Usage{Pending: u.Pending - before[name].Pending, PendingBytes: u.PendingBytes - before[name].PendingBytes}
		s.at(name).add(more)
		s.total.add(more)
	}
	e.sizes = s
}
