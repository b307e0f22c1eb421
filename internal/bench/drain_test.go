package bench

import (
	"fmt"
	"time"

	"walhook/internal/pgtest"
)

// drained is what a round that empties a backlog has shown.
type drained struct {
	rate    float64 // webhooks a second, from the first to the last one
	paused  float64 // milliseconds that the receiver has taken for a request, on average; 0 of one that answers at once
	busy    float64 // requests under way on average, as the sender sees it
	logged  float64 // seconds after the last one until its outcome was committed
	own     float64 // CPU of the contender's process, microseconds per delivery
	server  float64 // of the backends that serve it
	behind  float64 // of the server's processes that serve all: writers, checkpointer, autovacuum
	sink    float64 // of the receiver
	resting float64 // MiB resident at the end
	peak    float64 // MiB resident at most
}

func (d drained) figures() []figure {
	return []figure{{"webhooks/s", d.rate}, {"CPU", d.own + d.server}, {"process", d.own}, {"backends", d.server}, {"background", d.behind},
		{"receiver", d.sink}, {"peak MiB", d.peak}, {"until logged s", d.logged}}
}

// gauge takes CPU times at the begin of a round.
type gauge struct {
	w                    *world
	role                 string
	pid, sinkPID         int
	own, server, bg, rcv float64
}

func (w *world) gauge(role string, pid int) *gauge {
	g := &gauge{w: w, role: role, pid: pid, sinkPID: w.receiver.cmd.Process.Pid}
	g.own, _ = cpuOf(pid) // nothing of one that is not there yet
	g.server, g.bg = w.meter.of(role)
	g.rcv, _ = cpuOf(g.sinkPID)
	return g
}

// read fills in what was used since, for so many deliveries.
func (g *gauge) read(d *drained, deliveries int) {
	own, _ := cpuOf(g.pid)
	server, bg := g.w.meter.of(g.role)
	rcv, _ := cpuOf(g.sinkPID)
	per := 1e6 / float64(deliveries)
	d.own, d.server, d.behind, d.sink = (own-g.own)*per, (server-g.server)*per, max(bg-g.bg, 0)*per, (rcv-g.rcv)*per
	d.resting, d.peak = memoryOf(g.pid)
}

// arrived waits for so many requests on a path.
func (w *world) arrived(path string, n int, alive func()) {
	w.t.Helper()
	w.until(fmt.Sprintf("%d requests", n), func() bool {
		alive()
		var count int
		w.ask("count", path, &count)
		return count >= n
	})
}

// correct holds what arrived on a path against what had to.
func (w *world) correct(path string, n int) summary {
	w.t.Helper()
	var s summary
	w.ask("summary", path, &s)
	if s.Distinct != n || s.Misplaced > 0 || s.BadSigned != "" || s.Signed < n/signedEvery/2 {
		w.t.Errorf("%s: %+v; want %d events in order, signed", path, s, n)
	}
	return s
}

func (s summary) rate() float64 {
	return float64(s.Accepted-1) / time.Duration(s.Last-s.First).Seconds()
}

// drain lets walhook empty the backlog of events that the slot holds, to one endpoint.
func (w *world) drain(events int, path string, concurrency int) (d drained) {
	w.t.Helper()
	w.reset()
	if w.prepared != nil {
		defer w.prepared()()
	}
	g := w.gauge(w.role, 0)
	l := w.walhook(endpoint("a", path, concurrency))
	g.pid = l.pid
	w.arrived(path, events, l.alive)
	conn := pgtest.Connect(w.t, w.server.DSN(state))
	w.until("the queue to be empty", func() bool {
		return w.number(conn, "SELECT count(*) FROM (SELECT FROM walhook.queue LIMIT 1) q") == 0
	})
	emptied := time.Now().UnixNano()
	g.read(&d, events)
	s := w.correct(path, events)
	d.rate, d.paused, d.logged = s.rate(), s.Paused, time.Duration(emptied-s.Last).Seconds()
	if n := w.number(conn, "SELECT count(DISTINCT seq) FROM walhook.attempt WHERE result = 'delivered' AND status = 200 AND response_body = 'ok\n'::bytea AND total_us > 0"); n != events {
		w.t.Errorf("%d of %d deliveries are in the log of attempts", n, events)
	}
	d.busy = float64(w.number(conn, "SELECT sum(total_us) FROM walhook.attempt")) / (float64(s.Last-s.First) / 1e3)
	if err := conn.Close(w.t.Context()); err != nil {
		w.t.Error(err)
	}
	w.passed(events)
	l.stop()
	return d
}

// floor lets the floor read the same.
func (w *world) floor(events int, path string, workers int) (d drained) {
	w.t.Helper()
	w.reset()
	g := w.gauge(roleFloor, 0)
	c := w.startFloor(path, workers)
	g.pid = c.cmd.Process.Pid
	w.arrived(path, events, func() {})
	g.read(&d, events)
	var s summary
	w.ask("summary", path, &s)
	if s.Distinct != events {
		w.t.Errorf("%s: %d of %d events arrived", path, s.Distinct, events)
	}
	d.rate, d.paused = s.rate(), s.Paused
	c.end()
	return d
}

// startFloor lets the floor read its slot.
func (w *world) startFloor(path string, workers int) *child {
	w.t.Helper()
	return spawn(w.t, "floor", "BENCH_DSN="+w.server.DSNFor(roleFloor, "", database), "BENCH_SLOT="+slotFloor, "BENCH_PUBLICATION=walhook",
		"BENCH_URL=http://"+w.addr+path, fmt.Sprintf("BENCH_WORKERS=%d", workers))
}

// queueTable lets rows pass through a table.
func (w *world) queueTable(rows int) []figure {
	w.t.Helper()
	w.exec(queueSchema, "CHECKPOINT")
	before, _ := w.meter.of(roleQueue)
	c := spawn(w.t, "queue", "BENCH_DSN="+w.server.DSNFor(roleQueue, "", database), fmt.Sprintf("BENCH_ROWS=%d", rows))
	var q queued
	decode(w.t, c.line(), &q)
	own, _ := cpuOf(c.cmd.Process.Pid)
	after, _ := w.meter.of(roleQueue)
	c.end()
	n := float64(rows)
	return []figure{{"rows/s", n / (q.Copy + q.Complete)}, {"CPU", (own + after - before) * 1e6 / n}, {"process", own * 1e6 / n}, {"backends", (after - before) * 1e6 / n}, {"COPY in rows/s", n / q.Copy}}
}
