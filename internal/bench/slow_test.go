package bench

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/internal/pgtest"
)

// slowConcurrency is how many requests a slow receiver takes at a time.
const slowConcurrency = 64

// backlogSlow empties a backlog into receivers that take their time, so that most of it waits in tables and comes back by claims. How well it is
// scheduled shows in the requests under way, whatever the machine makes of the receiver's pauses; what it makes of them shows in the floor.
func (b *bench) backlogSlow() {
	s := b.report.scenario("b", "a backlog of single-row transactions, receivers that take their time")
	for _, kind := range []struct{ pause, concurrency, events, records int }{
		{10, slowConcurrency, b.events * 2 / 5, b.records},
		{20, slowConcurrency, b.events / 5, b.records},
		{4, 8, b.events / 8, b.records / 10},
	} {
		most := float64(kind.concurrency*1000) / float64(kind.pause)
		what := fmt.Sprintf("%d ms, %d at a time", kind.pause, kind.concurrency)
		path := fmt.Sprintf("/slow/%d/", kind.pause)
		share := func(d drained) []figure {
			return append([]figure{{"share of what is possible", d.rate / most}, {"the receiver's pause ms", d.paused},
				{"share of what its pauses allow", d.rate / (float64(kind.concurrency*1000) / d.paused)}}, d.figures()...)
		}
		for range b.rounds {
			b.mark()
			b.backlog(kind.events, kind.records)
			if kind.pause == 10 {
				d := b.floor(kind.events, path+"floor", kind.concurrency)
				s.add("floor, "+what, share(d)...)
			}
			d := b.drain(kind.events, path+"walhook", kind.concurrency)
			s.add("walhook, "+what, append([]figure{{"share under way", d.busy / float64(kind.concurrency)}}, share(d)...)...)
		}
		s.target(fmt.Sprintf("share of %d requests under way", kind.concurrency), s.median("walhook, "+what, "share under way"), true, 0.9)
		if kind.concurrency != slowConcurrency {
			continue // a few requests at a time: what the network and the timer add to the pause counts
		}
		s.target(fmt.Sprintf("share of %d / %d ms = %.0f/s", kind.concurrency, kind.pause, most), s.median("walhook, "+what, "share of what is possible"), true, 0.9)
		s.target(fmt.Sprintf("share of what pauses of %d ms allow as the machine keeps them", kind.pause), s.median("walhook, "+what, "share of what its pauses allow"), true, 0.9)
	}
}

// besideIdle empties backlogs while somebody holds a transaction open on the state's database.
func (b *bench) besideIdle() {
	s := b.report.scenario("f", "a backlog of %d single-row transactions (2/5 of it for the receiver that takes 10 ms), with and without a transaction (REPEATABLE READ, with an xid) left open on the state's database all the time", b.events)
	for _, kind := range []struct {
		name, path  string
		concurrency int
	}{{"at once", "/ok/walhook", 32}, {"10 ms", "/slow/10/walhook", slowConcurrency}} {
		events := b.events
		if kind.concurrency == slowConcurrency {
			events = events * 2 / 5
		}
		b.mark()
		b.backlog(events, b.records)
		without, with := kind.name+", nothing open", kind.name+", idle transaction"
		for range b.rounds {
			s.add(without, b.drain(events, kind.path, kind.concurrency).figures()...)
			b.prepared = b.idle
			s.add(with, b.drain(events, kind.path, kind.concurrency).figures()...)
			b.prepared = nil
		}
		s.target("throughput with it, "+kind.name, s.ratio(with, without, "webhooks/s"), true, 0.8)
	}
}

// idle opens a transaction on the state's database and returns what ends it.
func (w *world) idle() (end func()) {
	w.t.Helper()
	conn := pgtest.Connect(w.t, w.server.DSN(state))
	tx, err := conn.BeginTx(context.Background(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		w.t.Fatal(err)
	}
	w.number(conn, "SELECT txid_current() % 2")
	return func() {
		if err := tx.Rollback(context.Background()); err != nil {
			w.t.Error(err)
		}
		if err := conn.Close(context.Background()); err != nil {
			w.t.Error(err)
		}
	}
}

// neighbours measures a healthy endpoint beside three that are not.
func (b *bench) neighbours() {
	const healthy, pause, concurrency = "/slow/5/healthy", 5, 16
	events, seconds := b.events/10, b.seconds
	s := b.report.scenario("d", "a healthy endpoint (%d ms, %d at a time) alone, beside three more of its kind, and beside one that takes 10 s, one that is dead and one that fails every other request: a backlog of %d transactions, then %d a second for %d s",
		pause, concurrency, events, streamRate, seconds)
	alone := []string{endpoint("healthy", healthy, concurrency)}
	kin := slices.Clone(alone)
	for _, name := range []string{"x", "y", "z"} {
		kin = append(kin, endpoint(name, "/slow/5/"+name, concurrency))
	}
	sick := append([]string{endpoint("stalls", "/slow/10000/stalls", concurrency), endpoint("flaky", "/flaky/flaky", concurrency),
		fmt.Sprintf("[endpoints.dead]\nurl = \"http://127.0.0.1:1/\"\nconcurrency = %d\n", concurrency)}, alone...)
	for range b.rounds {
		for _, c := range []struct {
			name      string
			endpoints []string
		}{{"alone", alone}, {"beside three healthy", kin}, {"beside three sick", sick}} {
			b.mark()
			b.backlog(events, b.records)
			b.reset()
			l := b.walhook(c.endpoints...)
			b.arrived(healthy, events, l.alive)
			rate := b.correct(healthy, events).rate()
			if c.name == "beside three sick" {
				for path, least := range map[string]int64{"/flaky/flaky": concurrency, "/slow/10000/stalls": concurrency} {
					var seen summary
					if b.ask("summary", path, &seen); seen.Requests < least {
						b.t.Errorf("%s had %d requests: it was no neighbour", path, seen.Requests)
					}
				}
			}
			time.Sleep(time.Second) // what is left of the backlog, for the others
			b.ask("reset", "", nil)
			var used drained
			g := b.gauge(b.role, l.pid)
			began, earlier := time.Now(), b.stages()
			figures := b.latency(healthy, b.records, seconds, l.alive)
			g.read(&used, 1)
			figures = append(figures, figure{"CPU ms/s", (used.own + used.server) / 1e3 / time.Since(began).Seconds()})
			staged := b.staged(earlier)
			for _, name := range []string{"receive", "match", "commit"} { // the same for all endpoints
				figures = append(figures, figure{name + " p50 ms", staged[name][0].value})
			}
			l.kill() // a stop would wait for requests of 10 s
			s.add(c.name, append([]figure{{"webhooks/s", rate}}, figures...)...)
		}
	}
	s.target("rate beside three sick ones, share of alone", s.ratio("beside three sick", "alone", "webhooks/s"), true, 0.9)
	for _, q := range []string{"p50 acknowledged", "p99 acknowledged"} {
		s.target("latency, "+q+", alone's share of that beside three sick ones", s.ratio("alone", "beside three sick", q), true, 0.9)
		s.target("latency, "+q+", that beside three healthy ones, share of that beside three sick ones", s.ratio("beside three healthy", "beside three sick", q), true, 0.9)
	}
}
