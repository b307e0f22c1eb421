package delivery

import (
	"crypto/tls"
	"net/http/httptrace"
	"sync"
	"time"
)

// timings watches one attempt's connection. net/http calls it from several goroutines, and dialling
// may go on after the attempt has ended.
type timings struct {
	began time.Time

	mu                       sync.Mutex
	dnsAt, connectAt, tlsAt  time.Time // when the step last began
	dns, connect, handshake  time.Duration
	connected, reused        bool
	idle                     bool      // the connection lay idle: none was dialled for this request
	repeated                 bool      // the request was sent a second time
	wrote, first             time.Time // the whole request; the answer's first byte
	resolving, dialling, tls bool

	conn *countedConn // that the request goes by; may be nil
	read uint64       // of it, before
}

// restart forgets everything: another attempt begins.
func (t *timings) restart() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.began = time.Now()
	t.dns, t.connect, t.handshake = 0, 0, 0
	t.connected, t.reused, t.idle, t.repeated = false, false, false, false
	t.resolving, t.dialling, t.tls = false, false, false
	t.wrote, t.first = time.Time{}, time.Time{}
	t.conn, t.read = nil, 0
}

// forgotten says that net/http has no more to tell: it dialled nothing for the request, and has written it and been answered.
func (t *timings) forgotten() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.idle && !t.repeated && !t.wrote.IsZero() && !t.first.IsZero()
}

// hooks are t's.
func (t *timings) hooks() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		DNSStart: func(httptrace.DNSStartInfo) {
			t.locked(func(now time.Time) { t.dnsAt, t.resolving = now, true })
		},
		DNSDone: func(httptrace.DNSDoneInfo) {
			t.locked(func(now time.Time) { t.dns, t.resolving = now.Sub(t.dnsAt), false })
		},
		ConnectStart: func(string, string) {
			t.locked(func(now time.Time) { t.connectAt, t.dialling = now, true })
		},
		ConnectDone: func(_, _ string, err error) {
			t.locked(func(now time.Time) { t.connect, t.dialling = now.Sub(t.connectAt), err != nil })
		},
		TLSHandshakeStart: func() {
			t.locked(func(now time.Time) { t.tlsAt, t.tls = now, true })
		},
		TLSHandshakeDone: func(tls.ConnectionState, error) {
			t.locked(func(now time.Time) { t.handshake, t.tls = now.Sub(t.tlsAt), false })
		},
		GotConn: func(info httptrace.GotConnInfo) {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.connected, t.reused, t.idle, t.first = true, info.Reused, info.WasIdle, time.Time{}
			if t.conn = counted(info.Conn); t.conn != nil {
				t.read = t.conn.begin()
			}
		},
		WroteRequest: func(httptrace.WroteRequestInfo) {
			t.locked(func(now time.Time) { t.wrote = now })
		},
		GotFirstResponseByte: func() {
			t.locked(func(now time.Time) { t.first = now })
		},
	}
}

func (t *timings) locked(f func(now time.Time)) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	f(now)
}

// stale says that the request failed on a connection that had been used before, without a byte of an answer.
func (t *timings) stale() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.connected && t.reused && t.first.IsZero()
}

// unasked says that an answer of HTTP/1 was there before the request, and closes its connection.
func (t *timings) unasked() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn == nil || t.conn.reads.Load() != t.read {
		return false
	}
	_ = t.conn.Close() // what else comes on it answers nothing that is asked there
	return true
}

// again forgets the connection that turned out to be stale.
func (t *timings) again() {
	t.locked(func(time.Time) {
		t.connected, t.reused, t.repeated, t.wrote, t.first = false, false, true, time.Time{}, time.Time{}
		t.conn, t.read = nil, 0
	})
}

// record writes the durations of the steps.
func (t *timings) record(a *Attempt) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.reused { // else another request's connection was waited for, and not used
		a.DNS, a.Connect, a.TLS = t.dns, t.connect, t.handshake
	}
	if !t.first.IsZero() {
		a.FirstByte = t.first.Sub(t.began)
	}
}

// stage names what the attempt was at, for messages.
func (t *timings) stage(answered bool) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case answered:
		return "reading the answer"
	case t.connected && !t.wrote.IsZero():
		return "waiting for the answer"
	case t.connected:
		return "sending the request"
	case t.tls:
		return "shaking hands over TLS"
	case t.dialling:
		return "connecting"
	case t.resolving:
		return "looking up the host"
	}
	return "waiting for a connection"
}
