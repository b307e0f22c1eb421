package torture

import (
	"context"
	"fmt"
	"slices"
	"syscall"
	"time"

	"walhook/internal/failpoint"
)

// death is one life and how it ends.
type death func(*round)

// randomDeaths are those that are at no fail point.
var randomDeaths = []death{(*round).anytime, (*round).severed, (*round).starting, (*round).requesting, (*round).stopping, (*round).retrying}

// deaths are the lives of the plan, shuffled. Those that need a large transaction come one after the other, so that they share
// one: each kills before it is done, so the next life reads it again.
func (r *round) deaths() []death {
	var chain, all []death
	for _, p := range r.plan.points {
		d := func(r *round) { r.until(p) }
		if slices.Contains(largePoints, p) {
			chain = append(chain, d)
		} else {
			all = append(all, d)
		}
	}
	for range r.plan.random {
		all = append(all, randomDeaths[r.rnd.IntN(len(randomDeaths))])
	}
	r.rnd.Shuffle(len(chain), func(i, j int) { chain[i], chain[j] = chain[j], chain[i] })
	if len(chain) > 0 {
		all = append(all, func(r *round) {
			r.giant()
			for _, d := range chain {
				d(r)
			}
		})
	}
	r.rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// largePoints come by only with a large transaction.
var largePoints = []failpoint.Point{failpoint.Segment, failpoint.Merge, failpoint.Spill}

// hits is up to how many hits of a point are waited for: what comes by often is hit late as well.
var hits = map[failpoint.Point]int{
	failpoint.Spill: 8, failpoint.Decoded: 200, failpoint.Merge: 1, failpoint.Enqueue: 15, failpoint.CommitSent: 40, failpoint.Enqueued: 15,
	failpoint.HandedOver: 15, failpoint.Segment: 2, failpoint.Advanced: 2, failpoint.Confirm: 3, failpoint.Confirmed: 3, failpoint.Claimed: 3,
	failpoint.Request: 300, failpoint.Answered: 300, failpoint.Finish: 30, failpoint.Finished: 30,
}

// until kills lives at a point, until it has happened. What does not come by in time is killed at random, and
// tried again with the first hit.
func (r *round) until(p failpoint.Point) {
	r.t.Helper()
	const tries = 5
	n := 1 + r.rnd.IntN(hits[p])
	var last string
	for try := range tries {
		if try > 0 {
			n = 1
		}
		if p == failpoint.Confirm || p == failpoint.Confirmed {
			n = max(n, 2) // the first is the position that a session starts with
		}
		if try > 0 && slices.Contains(largePoints, p) {
			r.giant()
		}
		r.work.still.Store(p == failpoint.Advanced)
		r.work.eager.Store(try > 0) // what is written makes points come by; while all writers waited for deliveries, none did
		l := r.begin(fmt.Sprintf("%s:%d", p, n))
		l.wait(r.plan.patience)
		l.kill()
		r.work.still.Store(false)
		r.work.eager.Store(false)
		if r.gone(l) == p {
			r.tally.Add(kills, string(p), 1)
			return
		}
		if r.t.Failed() {
			return
		}
		r.tally.Add("other kills", "fail point not reached", 1)
		last = l.log.String()
	}
	r.t.Errorf("fail point %q was not hit in %d lives; the last one:\n%s", p, tries, last)
}

// anytime kills at a random time.
func (r *round) anytime() {
	l := r.begin("")
	l.wait(time.Duration(100+r.rnd.IntN(1500)) * time.Millisecond)
	r.end(l, "any time")
}

// severed kills after connections to the state have been cut again and again: of commits under way it is not known what
// became of them.
func (r *round) severed() {
	l := r.begin("")
	conn := connect(r.t, r.state)
	defer conn.Close(context.Background())
	cuts := 3 + r.rnd.IntN(10)
	for range cuts {
		if l.wait(time.Duration(50+r.rnd.IntN(200)) * time.Millisecond) {
			break
		}
		const cut = `SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity
			WHERE usename = $1 AND datname = current_database() AND backend_type = 'client backend' ORDER BY random() LIMIT 2) session`
		var n int
		if err := conn.QueryRow(context.Background(), cut, userOf(r.t, r.stateRole)).Scan(&n); err != nil {
			r.t.Fatal(err)
		}
		r.tally.Add("connections to the state cut", "all", n)
	}
	r.end(l, "after cut connections")
}

// retrying kills while dead letters are retried, and the command that does that, too.
func (r *round) retrying() {
	l := r.begin("")
	l.wait(time.Duration(300+r.rnd.IntN(500)) * time.Millisecond)
	cmd := r.retry()
	if cmd.wait(time.Duration(r.rnd.IntN(200)) * time.Millisecond); r.rnd.IntN(2) == 0 {
		cmd.kill()
	}
	l.wait(time.Duration(r.rnd.IntN(200)) * time.Millisecond)
	r.end(l, "with dead letters being retried")
	<-cmd.done
	if cmd.err != nil && cmd.signal() != syscall.SIGKILL {
		r.t.Errorf("deliveries retry: %v\n%s", cmd.err, cmd.log)
	}
}

// retry starts the command that retries dead letters.
func (r *round) retry() *life {
	return begin(r.t, r.in.Command("deliveries", "retry", "--endpoint", "third", "--yes"), 0, r.environment(0, ""))
}

// starting kills while the process starts.
func (r *round) starting() {
	l := r.begin("")
	l.wait(time.Duration(r.rnd.IntN(300)) * time.Millisecond)
	r.end(l, "while starting")
}

// requesting kills when the receiver has a request in hand.
func (r *round) requesting() {
	l := r.begin("")
	accept := r.rnd.IntN(2) == 0
	r.receiver.set(&trap{left: 1 + r.rnd.IntN(100), accept: accept, kill: l.kill})
	l.wait(r.plan.patience)
	r.receiver.set(nil)
	r.end(l, "in a request")
}

// stopping kills while the process stops in order.
func (r *round) stopping() {
	l := r.begin("")
	l.wait(time.Duration(500+r.rnd.IntN(500)) * time.Millisecond)
	if err := l.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		r.t.Errorf("stop: %v", err)
	}
	l.wait(time.Duration(r.rnd.IntN(150)) * time.Millisecond)
	l.kill()
	switch {
	case l.cmd.ProcessState.ExitCode() == 0:
		r.tally.Add("other ends", "stopped in order", 1)
	case l.signal() == syscall.SIGTERM:
		r.tally.Add("other ends", "terminated before it listened to signals", 1)
	default:
		r.end(l, "while stopping")
	}
}

// end kills, and counts.
func (r *round) end(l *life, how string) {
	l.kill()
	if r.gone(l) == "" {
		r.tally.Add("other kills", how, 1)
	}
}

// gone looks at how a life ended, and returns the fail point if one was hit. Whoever did not die by SIGKILL is no good.
func (r *round) gone(l *life) failpoint.Point {
	r.t.Helper()
	if l.signal() != syscall.SIGKILL {
		r.t.Errorf("life %d ended by itself: %v\n%s", l.n, l.err, l.log)
	}
	return l.hit()
}
