package storm

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// Each toxic does what the storm counts on, and is gone when it is taken away.
func TestToxics(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); c.Close() }() // an echo; how it ends is the other side's business
		}
	}()
	for _, test := range []struct {
		kind       string
		attributes map[string]int
		works      func(took time.Duration, n int, err error) bool
	}{
		{"latency", map[string]int{"latency": 150}, func(took time.Duration, n int, _ error) bool { return took >= 150*time.Millisecond && n == 4000 }},
		{"bandwidth", map[string]int{"rate": 20}, func(took time.Duration, n int, _ error) bool { return took >= 150*time.Millisecond && n == 4000 }},
		{"slicer", map[string]int{"average_size": 500, "size_variation": 100, "delay": 10_000}, func(took time.Duration, n int, _ error) bool { return took >= 40*time.Millisecond && n == 4000 }},
		{"limit_data", map[string]int{"bytes": 1000}, func(_ time.Duration, n int, err error) bool { return n == 1000 && errors.Is(err, io.ErrUnexpectedEOF) }},
		{"timeout", map[string]int{"timeout": 0}, func(_ time.Duration, n int, err error) bool { return n == 0 && errors.Is(err, os.ErrDeadlineExceeded) }},
		{"reset_peer", map[string]int{"timeout": 0}, func(_ time.Duration, n int, err error) bool {
			return n == 0 && (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF))
		}},
	} {
		t.Run(test.kind, func(t *testing.T) {
			t.Parallel()
			link := newLink(t, l.Addr().String())
			ask := func(patience time.Duration) (took time.Duration, n int, err error) {
				c, err := net.Dial("tcp", link.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				if _, err := c.Write(make([]byte, 4000)); err != nil {
					return 0, 0, err
				}
				n, err = io.ReadFull(c, make([]byte, 4000))
				return time.Since(began), n, err
			}
			patience := 30 * time.Second
			if test.kind == "timeout" {
				patience = 300 * time.Millisecond
			}
			heal, err := link.poison(test.kind, "downstream", test.attributes)
			if err != nil {
				t.Fatal(err)
			}
			if took, n, err := ask(patience); !test.works(took, n, err) {
				t.Errorf("%d bytes after %s, %v", n, took, err)
			}
			if err := heal(); err != nil {
				t.Fatal(err)
			}
			if _, n, err := ask(30 * time.Second); n != 4000 || err != nil {
				t.Errorf("afterwards: %d bytes, %v", n, err)
			}
			if p := link.Passed(); p.Made != 2 || p.Up < 8000 {
				t.Errorf("%+v", p)
			}
		})
	}
}
