package delivery

import (
	"context"
	"slices"
	"sync"
)

// memFlow is a FlowStore in memory beside a memStore.
type memFlow struct {
	store *memStore

	mu        sync.Mutex
	states    map[string]FlowState
	paused    map[string]string
	blocked   map[string]string // as it was when the version was counted last
	processes int
	events    []string
	saves     int
	away      bool
}

func newMemFlow(s *memStore) *memFlow {
	return &memFlow{store: s, states: map[string]FlowState{}, paused: map[string]string{}, blocked: map[string]string{}, processes: 1}
}

func (f *memFlow) ReadFlow(context.Context) (map[string]FlowState, int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.away {
		return nil, 0, errAway
	}
	f.store.mu.Lock()
	defer f.store.mu.Unlock()
	now := map[string]string{}
	for name, reason := range f.store.disabled {
		now[name] = reason
	}
	for name, reason := range f.paused {
		now[name] = reason
	}
	out := map[string]FlowState{}
	for _, names := range []map[string]string{now, f.blocked} {
		for name := range names {
			if s := f.states[name]; now[name] != f.blocked[name] {
				s.Version++
				f.states[name] = s
			}
			f.blocked[name] = now[name]
		}
	}
	for name, s := range f.states {
		s.Blocked = now[name]
		_, s.Paused = f.paused[name]
		out[name] = s
	}
	return out, f.processes, nil
}

func (f *memFlow) SaveFlow(_ context.Context, endpoint string, s FlowState, event string) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.away {
		return false, errAway
	}
	if s.Version != f.states[endpoint].Version {
		return false, nil
	}
	s.Version++
	f.states[endpoint] = s
	f.saves++
	if event != "" {
		f.events = append(f.events, event+" "+endpoint)
	}
	return true, nil
}

// set changes a state as another process, or a command, does.
func (f *memFlow) set(endpoint string, change func(*FlowState)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.states[endpoint]
	change(&s)
	s.Version++
	f.states[endpoint] = s
}

func (f *memFlow) get(endpoint string) FlowState {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.states[endpoint]
}

func (f *memFlow) told() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.events)
}

// pause and resume are the commands.
func (f *memFlow) pause(endpoint, reason string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.paused[endpoint] = reason
}

func (f *memFlow) resume(endpoint string) {
	f.mu.Lock()
	delete(f.paused, endpoint)
	f.mu.Unlock()
	f.store.mu.Lock()
	delete(f.store.disabled, endpoint)
	f.store.mu.Unlock()
	f.set(endpoint, func(s *FlowState) {
		if !s.OpenUntil.IsZero() {
			s.OpenUntil = f.store.now()
		}
	})
}

// faultyFlow fails at times, before or after it has done what it was asked to.
type faultyFlow struct {
	*memFlow
	fails func() bool
}

func (f faultyFlow) ReadFlow(ctx context.Context) (map[string]FlowState, int, error) {
	if f.fails() {
		return nil, 0, errAway
	}
	return f.memFlow.ReadFlow(ctx)
}

func (f faultyFlow) SaveFlow(ctx context.Context, endpoint string, s FlowState, event string) (bool, error) {
	if f.fails() {
		return false, errAway
	}
	saved, err := f.memFlow.SaveFlow(ctx, endpoint, s, event)
	if f.fails() {
		return false, errAway
	}
	return saved, err
}
