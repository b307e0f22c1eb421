package harness

import (
	"net"
	"net/url"
	"sync"
	"testing"
)

// Proxy is a way to a server that can be cut, closed or made a black hole.
type Proxy struct {
	net.Listener
	t testing.TB

	mu      sync.Mutex
	to      string
	refuses bool // new connections are reset at once
	hole    bool // whatever is sent disappears; nothing is closed
	pairs   map[*proxied]struct{}
	count   Passed
	copies  sync.WaitGroup
}

// Passed is what has gone through a proxy.
type Passed struct {
	Up, Down int64 // bytes to the server, and from it
	Made     int   // connections
	Ended    int   // connections that either side has ended, or the proxy
	Refused  int   // connections that were not let in
}

// proxied is one connection through the proxy.
type proxied struct {
	in, out net.Conn
	lost    bool // nothing goes through any more, and neither side learns of it
}

// NewProxy leads to an address until the end of the test.
func NewProxy(t testing.TB, to string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Listener: l, t: t, to: to, pairs: map[*proxied]struct{}{}}
	p.copies.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.Cut()
		p.copies.Wait()
	})
	return p
}

func (p *Proxy) accept() {
	for {
		in, err := p.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		refuses, to := p.refuses, p.to
		if refuses {
			p.count.Refused++
		}
		p.mu.Unlock()
		if refuses {
			reset(in)
			continue
		}
		out, err := net.Dial("tcp", to)
		if err != nil {
			reset(in)
			continue
		}
		c := &proxied{in: in, out: out}
		p.mu.Lock()
		c.lost = p.hole
		p.pairs[c] = struct{}{}
		p.count.Made++
		p.mu.Unlock()
		p.copies.Go(func() { p.forward(c, in, out, &p.count.Up) })
		p.copies.Go(func() { p.forward(c, out, in, &p.count.Down) })
	}
}

// forward copies until the connection ends. Of a lost one it reads and forgets, and passes no end on.
func (p *Proxy) forward(c *proxied, from, to net.Conn, count *int64) {
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		lost := c.lost
		if !lost {
			*count += int64(n)
		}
		p.mu.Unlock()
		if n > 0 && !lost {
			if _, err := to.Write(buf[:n]); err != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	p.mu.Lock()
	if c.lost {
		p.mu.Unlock()
		return // the other side learns nothing; Cut closes it at the end
	}
	if _, open := p.pairs[c]; open {
		delete(p.pairs, c)
		p.count.Ended++
	}
	p.mu.Unlock()
	c.in.Close()
	c.out.Close()
}

// Cut closes all connections.
func (p *Proxy) Cut() {
	p.mu.Lock()
	pairs := p.pairs
	p.pairs = map[*proxied]struct{}{}
	p.count.Ended += len(pairs)
	p.mu.Unlock()
	for c := range pairs {
		reset(c.in)
		c.out.Close()
	}
}

// Passed says what has gone through so far.
func (p *Proxy) Passed() Passed {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

// Lead makes new connections lead to another address.
func (p *Proxy) Lead(to string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.to = to
}

// Refuse cuts and lets nobody in, until it is taken back.
func (p *Proxy) Refuse(on bool) {
	p.mu.Lock()
	p.refuses = on
	p.mu.Unlock()
	if on {
		p.Cut()
	}
}

// Swallow makes the network a black hole, as a firewall does that forgets its connections: whatever is sent disappears, and nothing is
// closed. When it is taken back, connections that are made from then on work; the others are lost.
func (p *Proxy) Swallow(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hole = on
	if on {
		for c := range p.pairs {
			c.lost = true
		}
	}
}

// Through changes a DSN to lead through the proxy.
func (p *Proxy) Through(dsn string) string {
	u, err := url.Parse(dsn)
	if err != nil {
		p.t.Fatal(err)
	}
	u.Host = p.Addr().String()
	return u.String()
}

// reset ends a connection as a machine does that knows nothing of it.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	c.Close()
}
