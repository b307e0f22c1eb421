package bench

import (
	"context"
	"fmt"
	"time"

	"walhook/delivery"
	"walhook/internal/pgtest"
	queue "walhook/state"
)

// fill puts deliveries into the state as Enqueue would, five to a lane, without WAL of a source: lanes are due in the order of their numbers.
const fill = `WITH d AS (
		INSERT INTO walhook.delivery (seq, day, id, endpoint, lane, rule, event, model, record, op, late, commit_lsn, xid, commit_at, enqueued_at, content_type, body, epoch, sequence)
		SELECT n, (now() AT TIME ZONE 'UTC')::date, 'filled_' || n, 'a', 'item/' || n %% (%[1]d / 5), 'item', 'item.write', 'item', (n %% (%[1]d / 5))::text, 'write', false, '0/1', 1, now(), now(), 'application/json',
			convert_to('{"type":"item.write","data":{"record":{"id":' || n %% (%[1]d / 5) || ',"version":' || (n - 1) / (%[1]d / 5) + 1 || '}},"filler":"' || repeat('x', 300) || '"}', 'UTF8'), 1, n
		FROM generate_series(1, %[1]d) n RETURNING endpoint, lane, seq, day, length(body) AS bytes
	)
	INSERT INTO walhook.queue (endpoint, lane, seq, day, bytes) SELECT endpoint, lane, seq, day, bytes FROM d;
	INSERT INTO walhook.lane (endpoint, key, due) SELECT 'a', 'item/' || n, now() - interval '1 hour' + n * interval '1 millisecond' FROM generate_series(0, %[1]d / 5 - 1) n;
	INSERT INTO walhook.tally (endpoint, pending, pending_bytes) SELECT endpoint, count(*), sum(bytes) FROM walhook.queue GROUP BY 1;
	UPDATE walhook.source SET last_seq = %[1]d, numbers = '{"a": "%[1]d"}'`

// waiting measures how the queue behaves when a million deliveries wait, against fewer.
func (b *bench) waiting() {
	const few, some, many, sent, claims = 1000, 50_000, 1_000_000, 40_000, 49
	rounds := (b.rounds + 1) / 2
	s := b.report.scenario("e", "%d, %d and %d deliveries waiting, five to a record: ms to claim 100 records; then up to %d sent to a receiver that answers at once", few, some, many, sent)
	name := func(n int) string { return fmt.Sprintf("%d waiting", n) }
	for range rounds {
		for _, n := range []int{many, some, few} {
			b.mark()
			b.reset()
			pgtest.Exec(b.t, b.server.DSN(state), fmt.Sprintf(fill, n))
			for _, table := range []string{"queue", "lane", "delivery"} {
				pgtest.Exec(b.t, b.server.DSN(state), "VACUUM ANALYZE walhook."+table) // as autovacuum would soon
			}
			b.exec("CHECKPOINT")
			before, _ := b.meter.of(b.role)
			took := b.claims(claims)
			after, _ := b.meter.of(b.role)
			target := min(sent, n)
			var d drained
			g := b.gauge(b.role, 0)
			l := b.walhook(endpoint("a", "/ok/walhook", 32))
			g.pid = l.pid
			b.arrived("/ok/walhook", target, l.alive)
			g.read(&d, target)
			l.stop()
			var sum summary
			b.ask("summary", "/ok/walhook", &sum)
			if sum.Distinct < target || sum.Misplaced > 0 {
				b.t.Errorf("%+v; want %d in order", sum, target)
			}
			s.add(name(n), figure{"claim ms", median(took)}, figure{"claim and release CPU ms", (after - before) * 1000 / claims}, figure{"webhooks/s", sum.rate()}, figure{"CPU", d.own + d.server}, figure{"resting MiB", d.resting}, figure{"peak MiB", d.peak})
		}
	}
	s.target("time of a claim, 1,000,000 waiting against 1,000", s.ratio(name(many), name(few), "claim ms"), false, 1.5)
	s.target("CPU of claiming and releasing, 1,000,000 waiting against 1,000", s.ratio(name(many), name(few), "claim and release CPU ms"), false, 1.5)
	s.target("memory, 1,000,000 waiting against 50,000", s.ratio(name(many), name(some), "peak MiB"), false, 1.2)
	s.target("rate, 1,000,000 waiting against 50,000", s.ratio(name(many), name(some), "webhooks/s"), true, 0.8)
}

// claims measures claims of 100 lanes, which are given back.
func (b *bench) claims(times int) []float64 {
	b.t.Helper()
	ctx := context.Background()
	db, err := queue.Open(ctx, queue.Config{DSN: b.server.DSNFor(b.role, "", state)})
	if err != nil {
		b.t.Fatal(err)
	}
	defer db.Close()
	p, err := db.Register(ctx)
	if err != nil {
		b.t.Fatal(err)
	}
	var took []float64
	for range times {
		began := time.Now()
		lanes, err := p.Claim(ctx, "a", 100, 4)
		took = append(took, float64(time.Since(began).Microseconds())/1000)
		if err != nil || len(lanes) != 100 {
			b.t.Fatalf("claimed %d lanes: %v", len(lanes), err)
		}
		var back []delivery.Outcome
		for _, lane := range lanes {
			back = append(back, delivery.Outcome{Delivery: lane.Deliveries[0], Result: delivery.Released, LaneDone: true})
		}
		if _, err := p.Finish(ctx, back, 1); err != nil {
			b.t.Fatal(err)
		}
	}
	if err := p.Close(ctx); err != nil {
		b.t.Error(err)
	}
	return took
}
