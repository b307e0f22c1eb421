package survival

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"walhook/internal/harness"
)

// The DSN names two hosts, as of a primary and the one that may take its place: walhook goes to whichever lets it in, without being told.
func TestHostFailover(t *testing.T) {
	t.Parallel()
	a, b := harness.NewProxy(t, sharedServer(t)), harness.NewProxy(t, sharedServer(t))
	both := func(options string) func(string) string {
		return func(dsn string) string {
			u, err := url.Parse(dsn)
			if err != nil {
				t.Fatal(err)
			}
			return strings.Replace(dsn, u.Host, a.Addr().String()+","+b.Addr().String(), 1) + options
		}
	}
	w := newWorld(t, options{dialSource: both("&target_session_attrs=read-write"), dialState: both("")})
	for _, p := range []*harness.Proxy{a, b, a} {
		before := w.status().Source.Reconnects
		a.Refuse(p == a)
		b.Refuse(p == b)
		w.arrives()
		w.ready()
		if n := w.status().Source.Reconnects; n == before {
			t.Error("the stream was not attached again")
		}
	}
	w.complete()
}

// The network between walhook and both servers becomes a black hole: nothing is closed, nothing is answered. New connections work after
// ten seconds. walhook notices by itself, at the latest when the longest of its limits is over.
func TestBlackHole(t *testing.T) {
	t.Parallel()
	long(t)
	source, state := harness.NewProxy(t, sharedServer(t)), harness.NewProxy(t, sharedServer(t))
	w := newWorld(t, options{dialSource: source.Through, dialState: state.Through})
	for _, p := range []*harness.Proxy{source, state} {
		began := time.Now()
		p.Swallow(true)
		time.Sleep(10 * time.Second)
		p.Swallow(false)
		w.arrivesWithin(4 * time.Minute)
		t.Logf("recovered %s after the network was lost", time.Since(began).Round(time.Second))
		w.ready()
	}
	w.complete()
}
