package bench

import (
	"context"
	"slices"
	"time"

	"walhook/internal/pgtest"
)

// streamRate is how many transactions a second the stream has.
const streamRate = 200

// stream measures how long a webhook takes from the commit of its transaction to the receiver, at a steady rate.
func (b *bench) stream() {
	s := b.report.scenario("c", "%d transactions a second for %d s: ms from commit to receipt. \"acknowledged\": since the writer had its COMMIT answered; \"written\": since the commit record was made, before its fsync",
		streamRate, b.seconds)
	stages := b.report.scenario("c2", "of these, walhook's own histograms: receive from the commit until read, decode until the batch's turn, match until planned, commit to the state, queue until the request, send until the answer")
	for range b.rounds {
		b.mark()
		b.reset()
		floor := b.startFloor("/ok/floor", floorWorkers)
		s.add("floor", b.latency("/ok/floor", 0, b.seconds, func() {})...)
		floor.end()

		b.mark()
		b.reset()
		l := b.walhook(endpoint("a", "/ok/walhook", 16))
		s.add("walhook", b.latency("/ok/walhook", 0, b.seconds, l.alive)...)
		for _, name := range stageNames { // of the transactions before the measured ones, too: they are few
			stages.add(name, b.staged(nil)[name]...)
		}
		l.stop()
	}
	s.target("p50 in ms", s.median("walhook", "p50 acknowledged"), false, 2)
	s.target("p99 in ms", s.median("walhook", "p99 acknowledged"), false, 6)
}

// latency inserts records numbered from n+1 on at the rate, and looks at what arrives on a path that has seen nothing of them yet.
func (b *bench) latency(path string, n, seconds int, alive func()) []figure {
	b.t.Helper()
	conn := pgtest.Connect(b.t, b.server.DSN(database))
	ctx := context.Background()
	before, had := n, 0
	b.ask("count", path, &had)
	acknowledged := map[int64]time.Time{}
	write := func() {
		n++
		if _, err := conn.Exec(ctx, "INSERT INTO item VALUES ($1, 1, 'item', 7.5, 'draft', repeat('n', 80), 1, true, '2026-01-01')", n); err != nil {
			b.t.Fatal(err)
		}
		acknowledged[int64(n)] = time.Now()
	}
	for range 20 { // until everything is connected and compiled
		write()
		b.arrived(path, had+n-before, alive)
	}
	first := n + 1
	begun := time.Now()
	for i := range seconds * streamRate {
		time.Sleep(time.Until(begun.Add(time.Duration(i) * time.Second / streamRate)))
		write()
	}
	b.arrived(path, had+n-before, alive)
	var arrivals []arrival
	b.ask("arrivals", path, &arrivals)
	var since, whole []float64
	for _, a := range arrivals {
		if a.Record >= int64(first) {
			since = append(since, float64(a.At-acknowledged[a.Record].UnixNano())/1e6)
			whole = append(whole, float64(a.At-a.Made)/1e6)
		}
	}
	if len(since) != n-first+1 {
		b.t.Errorf("%s: %d arrivals, want %d", path, len(since), n-first+1)
	}
	if err := conn.Close(ctx); err != nil {
		b.t.Error(err)
	}
	slices.Sort(since)
	slices.Sort(whole)
	return []figure{{"p50 acknowledged", quantile(since, 0.5)}, {"p99 acknowledged", quantile(since, 0.99)}, {"max acknowledged", quantile(since, 1)},
		{"p50 written", quantile(whole, 0.5)}, {"p99 written", quantile(whole, 0.99)}}
}

// quantile of sorted values.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}
