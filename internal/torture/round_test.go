package torture

import (
	_ "embed"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/internal/failpoint"
	"walhook/internal/harness"
	"walhook/internal/pgtest"
)

//go:embed schema.sql
var schema string

// timeout is the endpoints'. It is long, so that only a receiver that means to be too late is.
const timeout = 5 * time.Second

// configuration has two endpoints that never give up, and a third one. One table goes to all and one to the first; of the last
// one single writes go to two, and net changes to the first of them, in the same lanes.
const configuration = `
[log]
level = "warn"

[state]
dsn = "${WALHOOK_STATE}"

[endpoints.first]
url = "{{receiver}}/first"
secrets = ["` + harness.Secret + `"]
headers = { X-Life = "${WALHOOK_LIFE}" }
timeout = "5s"
concurrency = 16
retry = { initial = "50ms", factor = 1.5, max = "500ms", attempts = 1000, jitter = 0.5 }

[endpoints.second]
url = "{{receiver}}/second"
secrets = ["` + harness.Secret + `"]
headers = { X-Life = "${WALHOOK_LIFE}" }
timeout = "5s"
concurrency = 8
retry = { initial = "50ms", factor = 1.5, max = "500ms", attempts = 1000, jitter = 0.5 }

# What failed twice is dead, and its record waits until somebody has it retried.
[endpoints.third]
url = "{{receiver}}/third"
secrets = ["` + harness.Secret + `"]
headers = { X-Life = "${WALHOOK_LIFE}" }
timeout = "5s"
concurrency = 8
on_dead = "hold"
retry = { initial = "20ms", attempts = 2 }

[[rules]]
name = "orders"
table = "sale_order"
on = ["create", "write", "unlink"]
endpoints = ["first", "second", "third"]

[[rules]]
name = "lines"
table = "sale_order_line"
on = ["create", "write", "unlink"]
endpoint = "first"

[[rules]]
name = "tags"
table = "sale_order_tag_rel"
on = ["create", "write", "unlink"]
endpoint = "first"

[[rules]]
name = "tags_each"
table = "sale_order_tag_rel"
on = ["create", "write", "unlink"]
each_write = true
endpoints = ["first", "second"]
`

// kills is the group of the summary that counts kills at fail points.
const kills = "kills at fail points"

// round is a database, a workload, and lives that end in kills.
type round struct {
	t     *testing.T
	rnd   *rand.Rand
	tally *harness.Tally
	plan  plan

	in        *harness.Installation
	state     string // the state's database, DSN of the superuser
	stateRole string // of walhook's role
	temp      string // folder for temporary files
	receiver  *receiver
	work      *workload
	watch     *watch
	lives     int
}

// plan is what a round does.
type plan struct {
	points   []failpoint.Point // where to kill, each until it has happened
	random   int               // further kills
	writers  int
	rows     int           // of large transactions
	separate bool          // the state has a database of its own
	patience time.Duration // with a fail point
}

func newRound(t *testing.T, seed uint64, c *harness.Tally, p plan) *round {
	t.Helper()
	r := &round{t: t, rnd: rand.New(rand.NewPCG(seed, 1<<32)), tally: c, plan: p, temp: t.TempDir()}
	super := pgtest.Database(t)
	pgtest.Exec(t, super, schema)
	r.receiver = newReceiver(t, seed)
	r.in = harness.Install(t, super, harness.Options{Tags: "failpoint", Source: fmt.Sprintf("memory = \"32KiB\"\ntemp_dir = %q\nidle_advance = \"300ms\"", r.temp),
		Config: strings.ReplaceAll(configuration, "{{receiver}}", r.receiver.URL)})
	r.state, r.stateRole = super, r.in.Role
	if p.separate {
		r.state = pgtest.Database(t)
		role, name := userOf(t, r.in.Role), databaseOf(t, r.state)
		pgtest.Exec(t, r.state, fmt.Sprintf("ALTER DATABASE %s OWNER TO %s", name, role))
		r.stateRole = pgtest.Server(t).DSNFor(role, "", name)
	}
	setup := r.in.Command("setup", "--dsn", r.in.Owner)
	setup.Env = r.environment(0, "")
	if out, err := setup.CombinedOutput(); err != nil {
		t.Fatalf("setup: %v\n%s", err, out)
	}
	r.work = startWorkload(t, super, p.writers, seed)
	r.watch = startWatch(t, super, r.state, r.in.Slot, r.work)
	return r
}

func userOf(t *testing.T, dsn string) string { return parseDSN(t, dsn).User }

func databaseOf(t *testing.T, dsn string) string { return parseDSN(t, dsn).Database }

func parseDSN(t *testing.T, dsn string) *pgx.ConnConfig {
	t.Helper()
	c, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// environment is what a life is started with; the configuration asks for it.
func (r *round) environment(life int, arm string) []string {
	return append(os.Environ(), fmt.Sprintf("WALHOOK_LIFE=%d", life), "WALHOOK_STATE="+r.stateRole, "WALHOOK_FAILPOINT="+arm)
}

// play kills one life after the other, and lets the last one finish.
func (r *round) play() {
	r.t.Helper()
	for i, d := range r.deaths() {
		d(r)
		if i%4 == 0 { // whatever a death has left behind is in order
			r.prove()
		}
		if r.t.Failed() {
			return
		}
	}
	r.settle()
}

// begin starts the next life, armed with NAME:N or with "".
func (r *round) begin(arm string) *life {
	r.t.Helper()
	r.lives++
	return begin(r.t, r.in.Command("run", "--log-format", "console"), r.lives, r.environment(r.lives, arm))
}

// giant writes a large transaction meanwhile.
func (r *round) giant() {
	name := fmt.Sprintf("giant %d", r.rnd.Uint32())
	r.tally.Add("transactions", "large", 1)
	r.work.wg.Go(func() {
		if err := giant(r.work.dsn, r.plan.rows, name); err != nil {
			r.t.Error(err)
		}
	})
}

// settle ends the workload and the failures, waits until everything has arrived, stops walhook in order, and verifies.
func (r *round) settle() {
	r.t.Helper()
	began := time.Now()
	defer func() { r.t.Logf("%d lives, settled in %s", r.lives, time.Since(began).Round(time.Millisecond)) }()
	r.work.stop()
	r.receiver.heal()
	want := r.ledger()
	l := r.begin("")
	conn := pgtest.Connect(r.t, r.state)
	r.await(l, fmt.Sprintf("%d events", len(want)), func() bool {
		if count(r.t, conn, "SELECT count(*) FROM walhook.dead_letter") > 0 {
			if cmd := r.retry(); !cmd.wait(time.Minute) || cmd.err != nil {
				cmd.kill()
				r.t.Fatalf("deliveries retry: %v\n%s", cmd.err, cmd.log)
			}
		}
		return r.receiver.acceptedEvents() >= len(want)
	})
	r.await(l, "an empty queue", func() bool { return count(r.t, conn, "SELECT count(*) FROM walhook.queue") == 0 })
	if err := l.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		r.t.Fatal(err)
	}
	if !l.wait(40 * time.Second) {
		r.t.Errorf("the last life does not stop")
	}
	l.kill()
	if l.err != nil {
		r.t.Errorf("the last life: %v\n%s", l.err, l.log)
	}
	r.watch.end()
	left, err := os.ReadDir(r.temp)
	if err != nil || len(left) > 0 {
		r.t.Errorf("temporary files that were left over: %v, %v", left, err)
	}
	r.verify(want)
	r.sum(want)
}

// await waits for what must come to pass while a life lasts.
func (r *round) await(l *life, what string, done func() bool) {
	r.t.Helper()
	for end := time.Now().Add(2 * time.Minute); !done(); time.Sleep(20 * time.Millisecond) {
		select {
		case <-l.done:
			r.t.Fatalf("waiting for %s: walhook ended: %v\n%s", what, l.err, l.log)
		default:
		}
		if time.Now().After(end) {
			_ = l.cmd.Process.Signal(syscall.SIGQUIT)
			<-l.done
			r.t.Fatalf("waited two minutes for %s, accepted are %d\n%s", what, r.receiver.acceptedEvents(), l.log)
		}
	}
}

// sum adds the round to the summary.
func (r *round) sum(want []expected) {
	arrivals := r.receiver.arrivals()
	accepted := 0
	for _, a := range arrivals {
		if a.accepted {
			accepted++
		}
	}
	r.tally.Add("events", "expected and arrived", len(want))
	r.tally.Add("events", "accepted again (duplicates)", accepted-r.receiver.acceptedEvents())
	for name, n := range r.receiver.fates {
		r.tally.Add("requests", name, n)
	}
	for name, n := range r.work.counts() {
		r.tally.Add("transactions", name, int(n))
	}
	r.tally.Add("rolled back", "transactions", int(r.work.rolledBack.Load()))
	r.tally.Add("rolled back", "savepoints", int(r.work.savepoints.Load()))
	r.tally.Add("samples", "confirmed_flush had moved", r.watch.moved)
	r.tally.Add("samples", "it had not", r.watch.samples-r.watch.moved)
	r.tally.Add("dead letters that were retried", "all", int(count(r.t, pgtest.Connect(r.t, r.state), "SELECT count(*) FROM walhook.attempt WHERE result = 'dead'")))
	r.tally.Add("rounds", "that went well", 1)
}
