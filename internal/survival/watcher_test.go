package survival

import (
	"strings"
	"sync"
	"time"
)

// watcher looks at the status pages all the time. /healthz must always be true: the process lives. /readyz may say
// 503 only with a reason.
type watcher struct {
	w    *world
	quit chan struct{}
	done sync.WaitGroup

	mu     sync.Mutex
	looks  int
	false_ int
}

func watchPages(w *world) *watcher {
	p := &watcher{w: w, quit: make(chan struct{})}
	p.done.Go(p.run)
	w.t.Cleanup(p.stop)
	return p
}

func (p *watcher) run() {
	for {
		select {
		case <-p.quit:
			return
		case <-p.w.ended:
			return
		case <-time.After(500 * time.Millisecond):
		}
		alive, body := p.w.page("/healthz")
		ready, why := p.w.page("/readyz")
		if alive == 0 || ready == 0 { // nobody answers: it has closed its pages, and is about to end
			select {
			case <-p.w.ended:
			case <-p.quit:
			case <-time.After(10 * time.Second):
				alive, body = p.w.page("/healthz")
				ready, why = p.w.page("/readyz")
			}
		}
		select {
		case <-p.w.ended: // it was told to end, or the test complains of it
			return
		case <-p.quit:
			return
		default:
		}
		if alive != 200 {
			p.w.t.Errorf("/healthz: %d %s", alive, body)
		}
		switch {
		case ready == 503 && strings.Contains(why, `"reasons"`):
		case ready != 200:
			p.w.t.Errorf("/readyz: %d %s", ready, why)
		}
		p.mu.Lock()
		p.looks++
		if ready == 503 {
			p.false_++
		}
		p.mu.Unlock()
	}
}

// stop ends the looking.
func (p *watcher) stop() {
	select {
	case <-p.quit:
	default:
		close(p.quit)
	}
	p.done.Wait()
}
