package main

import (
	"fmt"
	"time"

	"walhook/status"
)

// failed notes one more failure to commit.
func failed(h status.HandlerState, err error) status.HandlerState {
	now := time.Now()
	since := h.Since
	if h.Error == "" {
		since = now
	}
	return status.HandlerState{Error: err.Error(), Hint: hintOf(err), At: now, Since: since}
}

// noteResults remembers how the last commit of what receivers have answered fared, for the status pages.
func (p *pipeline) noteResults(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		p.results = status.HandlerState{}
		return
	}
	p.results = failed(p.results, err)
}

// stuckAfter is how long commits of answers may fail before the process is not ready.
const stuckAfter = 5 * time.Second

// resultsStuck says why answers can't be committed; "" when they can.
func (p *pipeline) resultsStuck() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.results.Error == "" || time.Since(p.results.Since) < stuckAfter {
		return ""
	}
	why := p.results.Error
	if p.results.Hint != "" {
		why += " (" + p.results.Hint + ")"
	}
	return fmt.Sprintf("what receivers have answered has not been committed for %s: %s", time.Since(p.results.Since).Round(time.Second), why)
}
