package delivery

import (
	"sync"
	"sync/atomic"
	"time"
)

// retirement is how an engine gives way to another one of the same process, with other endpoints or rules.
type retirement struct {
	begun chan struct{} // closed by Retire
	shut  chan struct{} // closed when no request begins any more
	once  sync.Once
	over  sync.Once
	limit atomic.Int64 // of requests under way, in place of Grace
}

// noMore notes that no request begins any more.
func (r *retirement) noMore() { r.over.Do(func() { close(r.shut) }) }

// Retire makes Run stop, as if its context had ended, but leaves requests under way all the time that they may need, at most limit: another
// engine goes on meanwhile. Once Retire has returned, this one begins no more requests.
func (e *Engine) Retire(limit time.Duration) {
	e.retiring.limit.Store(int64(limit))
	e.retiring.once.Do(func() { close(e.retiring.begun) })
	if e.running.Load() {
		<-e.retiring.shut
	}
}

// Hurry gives the requests under way of an engine that has retired no longer than Grace from now on.
func (e *Engine) Hurry() { time.AfterFunc(e.opts.Grace, func() { e.cut(errStopping) }) }

func (e *Engine) retired() bool {
	select {
	case <-e.retiring.begun:
		return true
	default:
		return false
	}
}

// patience is how long requests under way may go on when the engine stops.
func (e *Engine) patience() time.Duration {
	return max(e.opts.Grace, time.Duration(e.retiring.limit.Load()))
}
