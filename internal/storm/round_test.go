package storm

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/internal/harness"
)

// sign is the record of events that are only to show that something arrives.
const sign = "-1"

// plan is what a round does.
type plan struct {
	writers, actions int // and actions of each
	rows             int // of a huge transaction
	faults           int
	hurry            bool           // leaves out costly faults
	only             *regexp.Regexp // the faults to draw from, by name; nil: all
	each             bool           // every kind once, in place of drawn ones
	catchUp          bool           // draws what is rarest
	list             []Fault        // in place of drawn ones
	images           bool           // one table is not altered: what its rows were before is kept by walhook
}

// round is one storm.
type round struct {
	*World
	plan   plan
	faults []Fault
	watch  *watch
}

// play runs a round: writers and faults, then calm, then the check.
func play(t *testing.T, seed uint64, p plan, list []Fault, counts *harness.Tally) {
	t.Helper()
	// What rows were that have changed while there was no slot is not known, and images are made anew then.
	p.images = !slices.ContainsFunc(list, func(f Fault) bool { return kindOf(f.Name()) == "slot lost" })
	r := &round{World: newWorld(t, seed, p, counts), plan: p, faults: list}
	if err := saveList(r.Dir, list); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() && p.catchUp {
			t.Logf("to repeat it: %s=1s %s=1 %s=%d %s=%s", envDuration, envSides, envSeed, seed, envList, listFile(r.Dir))
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute)
	defer cancel()
	for _, one := range r.Walhooks {
		one.start()
	}
	r.watch = startWatch(r.World)
	if err := r.Arrives(ctx); err != nil {
		t.Fatal(err)
	}
	if p.images {
		if err := r.Await(ctx, "images of rows", func(ctx context.Context) (ok bool, err error) {
			err = r.State.Query(ctx, &ok, "SELECT count(*) = 1 AND bool_and(filled_at IS NOT NULL) FROM walhook.image_table")
			return ok, err
		}); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	r.rage(ctx)
	raged := time.Since(began)
	if !t.Failed() {
		r.settle(ctx)
	}
	r.watch.end()
	if !t.Failed() {
		r.verify(ctx)
	}
	counts.Add("rounds", "that went well", 1)
	counts.Add("rounds", fmt.Sprintf("of which with %d writers", p.writers), 1)
	t.Logf("seed %d: %d writers, %d actions each; raged %s, settled in %s", seed, p.writers, p.actions, raged.Round(time.Millisecond), (time.Since(began) - raged).Round(time.Millisecond))
	if t.Failed() {
		r.keepEvidence()
	}
}

// rage lets writers write and faults happen, each at its progress: nobody goes further until it has begun.
func (r *round) rage(ctx context.Context) {
	r.T.Helper()
	rnd := rand.New(rand.NewPCG(r.Seed, 1<<41))
	faults, total := r.faults, r.Work.Total()
	log, err := os.Create(filepath.Join(r.Dir, "faults.log"))
	if err != nil {
		r.T.Fatal(err)
	}
	defer log.Close()
	at := func(i int) int64 { return int64(total * (i + 1) / (len(faults) + 1)) }
	r.Work.limit.Store(at(0))
	r.Work.start()
	for i, f := range faults {
		for int64(r.Work.Progress()) < at(i) {
			if r.Work.done() || r.T.Failed() || ctx.Err() != nil {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		if r.T.Failed() {
			return
		}
		if rnd.IntN(2) > 0 { // the others come upon a walhook that has not recovered yet
			r.breathe(ctx)
		}
		if i+1 < len(faults) {
			r.Work.limit.Store(at(i + 1))
		} else {
			r.Work.limit.Store(int64(total))
		}
		began := time.Now()
		n, err := f.Inject(ctx, r.World, rand.New(rand.NewPCG(r.Seed, 1<<42+uint64(i))))
		fmt.Fprintf(log, "%s progress %d of %d: %s: %d, %s, %v\n", began.Format(time.RFC3339Nano), r.Work.Progress(), total, f.Name(), n, time.Since(began), err)
		r.tally.Add(byName, f.Name(), n)
		r.tally.Add(byKind, kindOf(f.Name()), n)
		r.tally.Add(injections, f.Name(), 1)
		r.tally.Add(lasted, f.Name(), int(time.Since(began).Milliseconds()))
		if err != nil {
			r.T.Errorf("fault %s: %v", f.Name(), err)
			return
		}
	}
	for !r.Work.done() && !r.T.Failed() {
		time.Sleep(5 * time.Millisecond)
		if ctx.Err() != nil {
			r.T.Error("the writers do not come to an end")
		}
	}
}

// breathe lets walhook get on with its work for a while.
func (r *round) breathe(ctx context.Context) {
	const enough = 30
	from := r.Receivers.total()
	for end := time.Now().Add(time.Second); time.Now().Before(end) && ctx.Err() == nil && r.Receivers.total() < from+enough; {
		time.Sleep(5 * time.Millisecond)
	}
}

// settle mends everything, and waits until walhook has nothing left to do. Then it is stopped in order.
func (r *round) settle(ctx context.Context) {
	r.T.Helper()
	if err := r.mend(ctx); err != nil {
		r.T.Error(err)
		return
	}
	r.Receivers.heal()
	if err := r.Arrives(ctx); err != nil {
		r.T.Error(err)
		return
	}
	if err := r.CaughtUp(ctx); err != nil {
		r.T.Error(err)
		return
	}
	if err := r.Await(ctx, "an empty queue", func(ctx context.Context) (bool, error) {
		var dead, left int
		if err := r.State.Query(ctx, &dead, "SELECT count(*) FROM walhook.dead_letter"); err != nil {
			return false, err
		}
		if dead > 0 {
			r.tally.Add("dead letters", "retried", dead)
			if _, err := r.Walhook(ctx, "deliveries", "retry", "--all", "--yes"); err != nil {
				return false, err
			}
		}
		if err := r.resume(ctx); err != nil {
			return false, err
		}
		err := r.State.Query(ctx, &left, `SELECT (SELECT count(*) FROM walhook.queue) + (SELECT count(*) FROM walhook.waiting) + (SELECT count(*) FROM walhook.dead_letter) +
			(SELECT count(*) FROM walhook.job WHERE state NOT IN ('done', 'cancelled')) + (SELECT count(*) FROM walhook.resync_gone)`)
		return left == 0, err
	}); err != nil {
		r.T.Error(err)
		return
	}
	// One that was killed has to be missed first, and its successor to have come, or it leaves a row behind that nobody can take away any more.
	if err := r.Await(ctx, "the processes to be those that run", func(ctx context.Context) (bool, error) {
		var known, run []int
		for _, p := range r.Walhooks {
			run = append(run, p.Pid())
		}
		err := r.State.Query(ctx, &known, "SELECT coalesce(array_agg(pid), '{}') FROM walhook.process")
		slices.Sort(known)
		slices.Sort(run)
		return slices.Equal(known, run), err
	}); err != nil {
		r.T.Error(err)
		return
	}
	for _, p := range r.Walhooks {
		p.stop()
	}
	for _, p := range r.Walhooks {
		select {
		case <-p.done:
		case <-time.After(patience):
			r.T.Errorf("walhook %d does not stop", p.N)
		}
	}
}

// resume has jobs go on that have failed, as a table was away when its turn came.
func (r *round) resume(ctx context.Context) error {
	var failed []string
	if err := r.State.Query(ctx, &failed, "SELECT coalesce(array_agg(id || ' ' || error), '{}') FROM walhook.job WHERE state = 'failed' AND kind <> 'image'"); err != nil {
		return err
	}
	for _, job := range failed {
		id, why, _ := strings.Cut(job, " ")
		r.tally.Add("jobs that failed, and were resumed", why, 1)
		if _, err := r.Walhook(ctx, "backfill", "resume", id); err != nil {
			return err
		}
	}
	return nil
}

// stop ends the process in order.
func (p *Process) stop() {
	p.End()
	p.Signal(syscall.SIGTERM)
}

// verify holds what has arrived, and what walhook says of itself, against the ledger.
func (r *round) verify(ctx context.Context) {
	r.T.Helper()
	v, err := r.evidence(ctx)
	if err != nil {
		r.T.Error(err)
		return
	}
	found := check(v)
	for _, p := range v.problems {
		found.add("%s", p)
	}
	r.state(ctx, found)
	for _, p := range r.Walhooks {
		for _, odd := range p.Odd() {
			r.tally.Add("lives that ended by themselves", odd[strings.LastIndex(odd, ": ")+2:], 1)
			switch {
			case strings.HasSuffix(odd, "exit status 3"), strings.HasSuffix(odd, "exit status 1"):
			case strings.HasSuffix(odd, "exit status 2") && misfortune.MatchString(p.life(odd)):
			default:
				found.add("%s", odd)
			}
		}
		log := p.Log(1 << 30)
		for _, word := range []string{"panic:", "fatal error:", "DATA RACE", "goroutine 1 ["} {
			if i := strings.Index(log, word); i >= 0 {
				found.add("walhook %d: %.3000s", p.N, log[i:])
			}
		}
		r.tally.Add("processes", "lives", p.Lives())
	}
	for _, said := range found.said {
		r.T.Error(said)
	}
	if found.more > 0 {
		r.T.Errorf("… and %d more", found.more)
	}
	r.sum(v)
}

// misfortune is what a process says that began while a table was away for a moment, or while its configuration was broken on purpose.
var misfortune = regexp.MustCompile(`unknown table "|model "[a-z.]+" has no table|no endpoint "nowhere"|oops|log\.level`)

// evidence gathers it.
func (r *round) evidence(ctx context.Context) (v evidence, err error) {
	ledger, err := readLedger(ctx, r.Source)
	if err != nil {
		return v, err
	}
	v.want, v.ledger = expect(ledger), ledger
	r.mu.Lock()
	v.lost, v.walks = slices.Clone(r.lost), slices.Clone(r.walks)
	r.mu.Unlock()
	for _, l := range ledger {
		what := map[byte]string{'i': "inserts", 'u': "updates", 'd': "deletes", 't': "truncates", 'm': "messages"}[l.op]
		switch {
		case l.op == 'u' && l.old.stamp == l.new.stamp:
			what = "updates of write_date alone"
		case l.parent != "":
			what = "deletes by cascade"
		}
		r.tally.Add("rows", what, 1)
	}
	for i := range v.want {
		e := &v.want[i]
		e.excused = slices.ContainsFunc(v.lost, func(s span) bool { return e.n > s.from && e.n <= s.to })
	}
	v.arrivals, v.problems = r.Receivers.heard()
	v.rejoined = map[string]bool{}
	for _, p := range r.Walhooks {
		for n, life := range strings.Split(p.Log(1<<30), "--- life ") { // what comes before the first is empty
			if strings.Contains(life, "this process was superseded: joining again") {
				v.rejoined[fmt.Sprintf("%d.%d", p.N, n)] = true
			}
		}
	}
	conn, err := r.State.Connect(ctx)
	if err != nil {
		return v, err
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, gapsQuery)
	if err != nil {
		return v, err
	}
	v.gaps, err = pgx.CollectRows(rows, pgx.RowToStructByPos[gap])
	return v, err
}

// state finds what walhook has left behind, or says of itself.
func (r *round) state(ctx context.Context, found *complaints) {
	for _, table := range []string{"queue", "lane", "waiting", "dead_letter", "parked", "process"} {
		var n int
		if err := r.State.Query(ctx, &n, "SELECT count(*) FROM walhook."+table); err != nil {
			found.add("%v", err)
		} else if n > 0 {
			found.add("the table %s has %d rows left", table, n)
		}
	}
	if out, err := r.Walhook(ctx, "deliveries", "verify"); err != nil {
		found.add("%v%.0s", err, out)
	}
	if left, err := os.ReadDir(r.temp); err != nil || len(left) > 0 {
		found.add("temporary files that were left over: %v, %v", left, err)
	}
	var confirmed, position string
	if err := r.Source.Query(ctx, &confirmed, "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = $1", r.Slot); err != nil {
		found.add("%v", err)
	}
	if err := r.State.Query(ctx, &position, "SELECT lsn::text FROM walhook.source"); err != nil {
		found.add("%v", err)
	}
	if confirmed != position {
		found.add("after an orderly stop confirmed_flush is %s and the position %s", confirmed, position)
	}
}

// sum adds the round to the summary.
func (r *round) sum(v evidence) {
	first := map[*event]bool{}
	for _, a := range v.arrivals {
		if !first[a.event] {
			first[a.event] = true
			r.tally.Add("events", a.Rule, 1)
			if a.again {
				r.tally.Add("events of resyncs and backfills", a.Op, 1)
			}
		} else {
			r.tally.Add("arrivals", "repetitions", 1)
		}
		if a.late {
			r.tally.Add("arrivals", "late", 1)
		}
	}
	r.tally.Add("arrivals", "first", len(first))
	missing := 0
	for _, e := range v.want {
		if e.excused {
			missing++
		}
	}
	r.tally.Add("events expected", "all", len(v.want))
	r.tally.Add("events expected", "of which may be missing", missing)
	for _, g := range v.gaps {
		r.tally.Add("gaps", g.Reason, g.To-g.From+1)
	}
	r.tally.Add("samples", "of the three positions", r.watch.samples)
	written := r.tally.Group("transactions")
	r.tally.Add("workload", "transactions with COPY", written["copy"]+written["huge"])
	r.tally.Add("workload", "huge transactions", written["huge"])
	if r.plan.writers == 200 {
		for _, k := range kinds {
			r.tally.Add("workload", "transactions while 200 sessions write", written[k.name])
		}
	}
}

// keepEvidence writes the ledger and the arrivals beside the logs.
func (r *round) keepEvidence() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	save := func(name string, write func(f *os.File) error) {
		f, err := os.Create(filepath.Join(r.Dir, name))
		if err == nil {
			err = write(f)
			f.Close()
		}
		if err != nil {
			r.T.Logf("keep %s: %v", name, err)
		}
	}
	save("arrivals.jsonl", func(f *os.File) error {
		r.Receivers.mu.Lock()
		defer r.Receivers.mu.Unlock()
		e := json.NewEncoder(f)
		for _, a := range r.Receivers.log {
			if err := e.Encode(map[string]any{"event": a.event, "number": a.number.N, "epoch": a.number.Epoch, "life": a.life, "accepted": a.accepted, "late": a.late}); err != nil {
				return err
			}
		}
		return nil
	})
	for name, of := range map[string]struct {
		cluster *Cluster
		sql     string
	}{
		"ledger.tsv":     {r.Source, "COPY (SELECT l.*, d.xid FROM ledger l JOIN done d USING (writer, action) ORDER BY n) TO STDOUT"},
		"deliveries.tsv": {r.State, "COPY (SELECT seq, id, endpoint, sequence, rule, model, record, event, commit_lsn, xid FROM walhook.delivery ORDER BY seq) TO STDOUT"},
		"attempts.tsv":   {r.State, "COPY (SELECT * FROM walhook.recent_attempt ORDER BY at) TO STDOUT"},
		"queue.tsv":      {r.State, "COPY (SELECT * FROM walhook.pending_delivery) TO STDOUT"},
		"jobs.tsv":       {r.State, "COPY (SELECT * FROM walhook.job ORDER BY id) TO STDOUT"},
		"resyncs.tsv":    {r.State, "COPY (SELECT * FROM walhook.resync ORDER BY n) TO STDOUT"},
		"parked.tsv":     {r.State, "COPY (SELECT * FROM walhook.parked) TO STDOUT"},
	} {
		save(name, func(f *os.File) error {
			conn, err := of.cluster.Connect(ctx)
			if err != nil {
				return err
			}
			defer conn.Close(ctx)
			_, err = conn.PgConn().CopyTo(ctx, f, of.sql)
			return err
		})
	}
}
