package delivery

import (
	"context"
	"crypto/tls"
	"net"
	"sync/atomic"
)

// countedConn counts what is read from a connection. An answer of HTTP/1 for which nothing was read since the request began was there before: the receiver had
// sent it with its answer to the request before, and net/http took it for that to this one. It drops such a connection when it sees one in time.
type countedConn struct {
	net.Conn
	reads atomic.Uint64
	began atomic.Uint64 // reads when the last request began, and one more; 0 for none
}

// begin notes that a request begins, and returns what was read before. Where nothing was read for the last request its answer was none, and whoever has it may
// not know that yet: this one would get the answer to that. The connection is closed, and the request goes by another.
func (c *countedConn) begin() uint64 {
	now := c.reads.Load()
	if c.began.Swap(now+1) == now+1 {
		_ = c.Close()
	}
	return now
}

// Read implements [net.Conn].
func (c *countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.reads.Add(1)
	}
	return n, err
}

// counting dials connections that count.
func counting(dial func(ctx context.Context, network, address string) (net.Conn, error)) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &countedConn{Conn: conn}, nil
	}
}

// counted is what counts beneath a connection of net/http's; nil for none. HTTP/2 knows which request an answer is for.
func counted(conn net.Conn) *countedConn {
	if t, ok := conn.(*tls.Conn); ok {
		if t.ConnectionState().NegotiatedProtocol == "h2" {
			return nil
		}
		conn = t.NetConn()
	}
	c, _ := conn.(*countedConn)
	return c
}
