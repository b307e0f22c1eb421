package delivery

import (
	"context"
	"net/http/httptrace"
	"sync"
	"time"
)

// exchange is what an attempt needs besides its request: a context that ends with the endpoint's timeout, and the timings of its connection.
//
// One whose request went out on a connection that lay idle, and was answered to the end, serves further attempts: net/http
// has let go of it. To make all of it anew each time is a sixth of what an attempt allocates.
type exchange struct {
	timings
	outer  context.Context // the engine's
	ctx    context.Context // what the request goes by
	cancel context.CancelCauseFunc
	timer  *time.Timer
}

// exchanges are those of an endpoint that wait for an attempt. There are no more of them than there have been requests at the same time.
type exchanges struct {
	mu   sync.Mutex
	idle []*exchange
}

// begin starts an attempt's time. end must follow.
func (e *exchanges) begin(outer context.Context, timeout time.Duration) *exchange {
	if x := e.take(); x != nil {
		if x.outer == outer {
			x.restart()
			x.timer.Reset(timeout)
			return x
		}
		x.cancel(nil)
	}
	x := &exchange{outer: outer}
	x.restart()
	x.ctx, x.cancel = context.WithCancelCause(outer)
	cancel := x.cancel
	x.timer = time.AfterFunc(timeout, func() { cancel(errTimeout) })
	x.ctx = httptrace.WithClientTrace(x.ctx, x.hooks())
	return x
}

// end ends an attempt's time. complete says that the answer was read to its end.
func (e *exchanges) end(x *exchange, complete bool) {
	if !x.timer.Stop() || !complete || !x.forgotten() || x.outer.Err() != nil {
		x.cancel(nil)
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.idle = append(e.idle, x)
}

func (e *exchanges) take() *exchange {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := len(e.idle)
	if n == 0 {
		return nil
	}
	x := e.idle[n-1]
	e.idle[n-1] = nil
	e.idle = e.idle[:n-1]
	return x
}

// close ends those that are idle.
func (e *exchanges) close() {
	for x := e.take(); x != nil; x = e.take() {
		x.cancel(nil)
	}
}
