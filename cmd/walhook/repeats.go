package main

import (
	"sync"
	"time"
)

// repeatEvery is how often a failure that goes on is logged again.
const repeatEvery = time.Minute

// repeats keeps tasks that are tried again every second from filling the log while a server is away: a failure is logged when it
// begins, and then once a minute with how often it has happened since. Safe for concurrent use.
type repeats struct {
	now func() time.Time // time.Now when nil

	mu    sync.Mutex
	tasks map[string]*repeated
}

// repeated is one task that fails.
type repeated struct {
	first, said, last time.Time
	unsaid            int
}

// failed notes that a task has failed, and says whether that is to be logged: with since and unsaid, if it was not each time. A task
// that has not failed for a minute begins anew.
func (r *repeats) failed(task string) (say bool, since time.Time, unsaid int) {
	now := time.Now()
	if r.now != nil {
		now = r.now()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tasks == nil {
		r.tasks = map[string]*repeated{}
	}
	t := r.tasks[task]
	if t == nil || now.Sub(t.last) >= repeatEvery {
		t = &repeated{first: now}
		r.tasks[task] = t
	}
	t.last = now
	if !t.said.IsZero() && now.Sub(t.said) < repeatEvery {
		t.unsaid++
		return false, t.first, t.unsaid
	}
	unsaid = t.unsaid
	t.said, t.unsaid = now, 0
	return true, t.first, unsaid
}

// failing logs a task that will be tried again soon.
func (p *pipeline) failing(task, message string, err error) {
	say, since, unsaid := p.repeats.failed(task)
	if !say {
		return
	}
	e := withHint(p.warn(err), err).Str("task", task)
	if unsaid > 0 {
		e = e.Time("since", since).Int("not_logged", unsaid)
	}
	e.Msg(message)
}
