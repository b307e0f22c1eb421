package cdc

import (
	"net"
	"sync"
	"time"
)

// member is a connection that its gate closes when it shuts. It remembers when it was last heard of: news of its end may
// be old by the time that somebody reads it.
type member struct {
	net.Conn
	gate     *Gate
	admitted time.Time

	mu    sync.Mutex
	ended time.Time // the last read
	since time.Time // what it has brought came no earlier
}

// admit takes a new connection in, or closes it if the gate has shut meanwhile.
func (g *Gate) admit(conn net.Conn) (net.Conn, error) {
	now := time.Now()
	m := &member{Conn: conn, gate: g, admitted: now, ended: now, since: now}
	g.mu.Lock()
	away := g.away
	if away == nil {
		g.members[m] = struct{}{}
	}
	g.mu.Unlock()
	if away != nil {
		_ = conn.Close() // nothing was sent over it
		return nil, away
	}
	return m, nil
}

// Read reads, and takes the time.
func (m *member) Read(b []byte) (int, error) {
	began := time.Now()
	n, err := m.Conn.Read(b)
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.since = m.ended
	if now.Sub(began) > promptly {
		m.since = now // it was waited for: it has come just now
	}
	m.ended = now
	return n, err
}

// promptly is how long a read takes at most that finds something there already. News that are not older than fresh are
// news, whoever has come since.
const (
	promptly = 500 * time.Millisecond
	fresh    = time.Second
)

// Close closes the connection and forgets it.
func (m *member) Close() error {
	m.gate.mu.Lock()
	delete(m.gate.members, m)
	m.gate.mu.Unlock()
	return m.Conn.Close()
}

// stale says whether the news on a connection that it was ended may be of long ago: of a restart of the server, which the
// other sessions are over with. That is so when a session which is still there has begun since the connection was last heard
// of. If it was ended too, it will tell.
func (g *Gate) stale(conn net.Conn) bool {
	if secure, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = secure.NetConn()
	}
	m, ok := conn.(*member)
	if !ok {
		return false
	}
	m.mu.Lock()
	since := m.since
	m.mu.Unlock()
	if time.Since(since) < fresh {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for other := range g.members {
		if other != m && other.admitted.After(since) {
			return true
		}
	}
	return false
}
