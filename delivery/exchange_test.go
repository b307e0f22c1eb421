package delivery

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// Attempts on a connection that lay idle share what they need besides the request, and nothing of one is in the next.
func TestExchangesServeAgain(t *testing.T) {
	hang, hung := atomic.Bool{}, make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // else the server does not see that the client has gone
		if hang.Load() {
			<-r.Context().Done()
			close(hung)
		}
		w.Write([]byte("ok"))
	}))
	defer server.Close()
	s := newSender(t, map[string]EndpointConfig{"erp": {URL: URL(server.URL), Timeout: Duration(5 * time.Second)}})
	r := s.endpoints["erp"]
	idle := func() *exchange {
		r.exchanges.mu.Lock()
		defer r.exchanges.mu.Unlock()
		if len(r.exchanges.idle) == 0 {
			return nil
		}
		return r.exchanges.idle[0]
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	send := func(ctx context.Context) *Attempt {
		t.Helper()
		a := s.Send(ctx, testDelivery("erp"))
		if a.Status != 200 || a.Error != "" || a.FirstByte <= 0 || a.FirstByte > a.Total {
			t.Errorf("attempt: %+v", a)
		}
		return a
	}
	if a := send(ctx); a.Connect <= 0 || idle() != nil {
		t.Errorf("connect %s: the exchange that dialled is kept: %v", a.Connect, idle() != nil)
	}
	send(ctx)
	first := idle()
	if first == nil {
		t.Fatal("the exchange is not kept")
	}
	if a := send(ctx); a.Connect != 0 || idle() != first {
		t.Errorf("connect %s; the same exchange: %v", a.Connect, idle() == first)
	}
	if first.timer.Stop() {
		t.Error("its timer runs while it is idle")
	}

	hang.Store(true)
	r.timeout = 50 * time.Millisecond
	if a := s.Send(ctx, testDelivery("erp")); a.Class != ClassTimeout || a.Status != 0 {
		t.Errorf("attempt that hangs: %+v", a)
	}
	<-hung
	hang.Store(false)
	r.timeout = 5 * time.Second
	if idle() != nil {
		t.Error("an exchange is kept whose time has run out")
	}
	send(ctx)
	send(ctx)
	second := idle()
	if second == nil || second == first {
		t.Fatal("no new exchange is kept")
	}

	// Another engine's context, or that of the same one after its lease was lost.
	cancel()
	if a := s.Send(ctx, testDelivery("erp")); a.Class != ClassReleased {
		t.Errorf("attempt of an engine that has stopped: %+v", a)
	}
	send(t.Context())
	send(t.Context())
	if x := idle(); x == nil || x == second || x.outer != t.Context() {
		t.Error("an exchange of a context that has ended is kept")
	}
	s.Close()
	if idle() != nil {
		t.Error("exchanges are kept by a sender that is closed")
	}
}
