package state

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"walhook/delivery"
	"walhook/internal/pgtest"
	"walhook/status"
)

// poolGoroutine belongs to the pool, which outlives the test's body.
var poolGoroutine = goleak.IgnoreTopFunction("github.com/jackc/pgx/v5/pgxpool.(*Pool).backgroundHealthCheck")

// takes makes a process the reader, by no other means than the right itself.
func takes(t *testing.T, p *Process) delivery.Position {
	t.Helper()
	turn, err := p.takeRole(t.Context(), p.db.pool)
	if err != nil {
		t.Fatal(err)
	}
	return turn.position
}

// contend starts to contend; the answer comes over the channel.
func contend(t *testing.T, p *Process, trace ReaderTrace) <-chan *Reader {
	t.Helper()
	won := make(chan *Reader, 1)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r, err := p.Contend(ctx, trace)
		if err != nil && ctx.Err() == nil {
			t.Errorf("process %d contends: %v", p.id, err)
		}
		won <- r
	}()
	t.Cleanup(func() { cancel(); <-done })
	return won
}

// wins waits for the right.
func wins(t *testing.T, won <-chan *Reader) *Reader {
	t.Helper()
	select {
	case r := <-won:
		if r == nil {
			t.Fatal("not the reader")
		}
		t.Cleanup(func() { _ = r.Close() })
		return r
	case <-time.After(30 * time.Second):
		t.Fatal("nobody took over for 30 s")
	}
	return nil
}

// loses waits until a reader knows that it is none any more.
func loses(t *testing.T, r *Reader) {
	t.Helper()
	select {
	case <-r.Lost():
	case <-time.After(30 * time.Second):
		t.Fatal("the reader did not learn that it was superseded for 30 s")
	}
}

// until polls for a condition.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited 30 s for %s", what)
		}
	}
}

// lockHolder is the application_name of the session that holds the lock of a state; "" if none does.
func lockHolder(t *testing.T, db *DB) (name string) {
	t.Helper()
	const read = `SELECT coalesce((SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND granted
		AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND application_name LIKE 'walhook/process %'), '')`
	if err := db.pool.QueryRow(t.Context(), read).Scan(&name); err != nil {
		t.Fatal(err)
	}
	return name
}

// Invariant 2: the batch of a process that is no longer the reader fails and writes nothing, although nobody has moved the position yet.
func TestInvariant2OnlyTheReaderEnqueues(t *testing.T) {
	db := openState(t, nil)
	old, young := register(t, db), register(t, db)
	f := newFeed(t, old)
	f.enqueue(t, all, f.delivery("a", "m/1"))
	f.enqueue(t, all, f.delivery("a", "m/2")) // the row is found by its place now
	g := newFeed(t, young)
	if g.at != f.at {
		t.Fatalf("the new reader begins at %+v, the old one ended at %+v", g.at, f.at)
	}
	var superseded error
	for name, batch := range map[string]*delivery.Batch{
		"deliveries": {From: f.at, To: delivery.Position{LSN: f.at.LSN + 8}, Deliveries: []*delivery.Delivery{f.delivery("a", "m/9")}},
		"parked":     {From: f.at, To: delivery.Position{LSN: f.at.LSN + 8}, Parked: []*delivery.Parked{{ID: "p1", Rule: "r"}}},
		"progress":   {From: f.at, To: delivery.Position{LSN: f.at.LSN + 8}},
	} {
		if _, superseded = old.Enqueue(t.Context(), batch, all); !errors.Is(superseded, delivery.ErrSuperseded) || isTemporary(superseded) {
			t.Errorf("%s: got %v, want ErrSuperseded", name, superseded)
		}
	}
	if n := rows(t, db, "delivery") + rows(t, db, "queue")*10 + rows(t, db, "lane")*100 + rows(t, db, "parked")*1000; n != 222 {
		t.Errorf("rows after refused batches: %d", n)
	}
	if at, err := db.StoredPosition(t.Context()); at != f.at || err != nil {
		t.Errorf("position %+v, %v; want %+v", at, err, f.at)
	}
	d := g.delivery("a", "m/3")
	wantLanes(t, g.enqueue(t, all, d), "a:m/3=3")
	// The old one takes its turn again, from where the other ended.
	f.at = takes(t, old)
	wantLanes(t, f.enqueue(t, all, f.delivery("a", "m/4")), "a:m/4=4")
	if _, err := g.try(t.Context(), all, g.delivery("a", "m/5")); !errors.Is(err, delivery.ErrSuperseded) {
		t.Errorf("got %v", err)
	}
	consistent(t, db)
}

// A batch that is being committed while the right is taken counts in whole or not at all, and the new reader knows which.
func TestInvariant2RoleTakenDuringABatch(t *testing.T) {
	for name, commit := range map[string]bool{"committed": true, "rolled back": false} {
		t.Run(name, func(t *testing.T) {
			db := openState(t, nil)
			old, young := register(t, db), register(t, db)
			f := newFeed(t, old)
			to := delivery.Position{LSN: f.at.LSN + 16}
			tx, err := db.pool.Begin(t.Context()) // a batch that stands still between its statement and COMMIT
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Rollback(context.Background())
			if tag, err := tx.Exec(t.Context(), db.sql("UPDATE {schema}.source SET lsn = $2::text::pg_lsn WHERE reader = $1"), old.id, to.LSN.String()); err != nil || tag.RowsAffected() != 1 {
				t.Fatal(tag, err)
			}
			taken := make(chan delivery.Position, 1)
			go func() {
				turn, err := young.takeRole(context.Background(), db.pool)
				if err != nil {
					t.Error(err)
				}
				taken <- turn.position
			}()
			until(t, "the new reader to wait for the batch", func() bool {
				var n int
				const waits = `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`
				if err := db.pool.QueryRow(t.Context(), waits).Scan(&n); err != nil {
					t.Fatal(err)
				}
				return n == 1
			})
			want, end := f.at, tx.Rollback
			if commit {
				want, end = to, tx.Commit
			}
			if err := end(t.Context()); err != nil {
				t.Fatal(err)
			}
			if at := <-taken; at != want {
				t.Errorf("the new reader begins at %+v, want %+v", at, want)
			}
		})
	}
}

// A batch that waits while the right is being taken fails when it is.
func TestInvariant2BatchWaitsForTheRole(t *testing.T) {
	db := openState(t, nil)
	old, young := register(t, db), register(t, db)
	f := newFeed(t, old)
	f.enqueue(t, all, f.delivery("a", "m/1"))
	tx, err := db.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.Background())
	if _, err := young.takeRole(t.Context(), tx); err != nil {
		t.Fatal(err)
	}
	batch := make(chan error, 1)
	go func() {
		_, err := f.try(context.Background(), all, f.delivery("a", "m/2"))
		batch <- err
	}()
	until(t, "the batch to wait for the right", func() bool {
		var n int
		const waits = `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`
		if err := db.pool.QueryRow(t.Context(), waits).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n == 1
	})
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-batch; !errors.Is(err, delivery.ErrSuperseded) {
		t.Errorf("got %v, want ErrSuperseded", err)
	}
	if n := rows(t, db, "delivery"); n != 1 {
		t.Errorf("%d deliveries logged", n)
	}
}

// The stand-by knows who reads, and takes over when the reader gives up.
func TestReaderHandsOver(t *testing.T) {
	leaks := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, leaks, poolGoroutine) }) // after everything else
	db := openState(t, nil)
	p, q := register(t, db), register(t, db)
	first := wins(t, contend(t, p, ReaderTrace{}))
	if first.Position().LSN != testStart || first.Bound() != testBinding {
		t.Errorf("begins at %+v of %+v", first.Position(), first.Bound())
	}
	f := &feed{p: p, at: first.Position()}
	f.enqueue(t, none, f.delivery("a", "m/1"))
	told := make(chan *status.ReaderState, 10)
	won := contend(t, q, ReaderTrace{StandingBy: func(r *status.ReaderState) { told <- r }})
	if r := <-told; r == nil || r.Process != p.id || r.PID == 0 || r.Host == "" {
		t.Errorf("stands by for %+v", r)
	}
	if s, err := db.Position(t.Context()); err != nil || s.Reader == nil || s.Reader.Process != p.id {
		t.Errorf("position: %+v, %v", s, err)
	}
	// Another state's reader is another matter.
	other := open(t, Config{DSN: db.cfg.DSN, Schema: "other"})
	if err := other.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Bind(t.Context(), testBinding, BindOptions{}); err != nil {
		t.Fatal(err)
	}
	wins(t, contend(t, register(t, other), ReaderTrace{}))

	if err := first.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := wins(t, won)
	if second.Position() != f.at {
		t.Errorf("the second reader begins at %+v, want %+v", second.Position(), f.at)
	}
	if err := first.Check(t.Context()); !errors.Is(err, delivery.ErrSuperseded) {
		t.Errorf("the first one is told %v", err)
	}
	if err := second.Check(t.Context()); err != nil {
		t.Error(err)
	}
	// Only the reader may say that the source is on another timeline now.
	if err := first.NewTimeline(t.Context(), 7); !errors.Is(err, delivery.ErrSuperseded) {
		t.Errorf("the first one notes a timeline: %v", err)
	}
	if err := second.NewTimeline(t.Context(), 2); err != nil {
		t.Error(err)
	}
	if bound, _, err := db.Bound(t.Context()); err != nil || bound.Timeline != 2 {
		t.Errorf("bound to timeline %d, %v", bound.Timeline, err)
	}
	select {
	case <-second.Lost():
		t.Error("lost at once")
	default:
	}
}

// endSession ends the session that holds the lock, as an administrator or a cut network does.
func endSession(t *testing.T, db *DB) {
	t.Helper()
	pgtest.Exec(t, db.cfg.DSN, "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())")
}

// A reader that loses its session and nothing else goes on reading, and takes the lock again.
func TestReaderKeepsTheRoleWithoutItsSession(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	r := wins(t, contend(t, p, ReaderTrace{}))
	f := &feed{p: p, at: r.Position()}
	before := lockHolder(t, db)
	endSession(t, db)
	f.enqueue(t, none, f.delivery("a", "m/1"))
	until(t, "the lock to be taken again", func() bool { return lockHolder(t, db) == before })
	f.enqueue(t, none, f.delivery("a", "m/2"))
	select {
	case <-r.Lost():
		t.Error("the right is gone")
	default:
	}
}

// A session that the server takes for alive although this process has given it up does not keep the lock from it.
func TestReaderEndsItsOwnLostSession(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	takes(t, p)
	lost := lockedBy(t, p)
	r := &Reader{p: p}
	defer r.drop()
	until(t, "the lock to be taken again", func() bool {
		if err := r.renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		return r.locked
	})
	if err := lost.Ping(t.Context()); err == nil {
		t.Error("the lost session lives")
	}
}

// lockedBy returns a session of a process that holds the lock, and nobody who asks over it.
func lockedBy(t *testing.T, p *Process) *pgx.Conn {
	t.Helper()
	conn, err := p.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeConn(conn) })
	var locked bool
	if err := conn.QueryRow(t.Context(), tryLock, p.db.lockKey("reader")).Scan(&locked); err != nil || !locked {
		t.Fatal(locked, err)
	}
	return conn
}

// With a stand-by, whose session the reader loses is the stand-by's chance: then the reader learns that it is none.
func TestReaderLearnsThatItIsSuperseded(t *testing.T) {
	db := openState(t, nil)
	db.regain = 2 * time.Second // longer than the stand-by's poll
	p, q := register(t, db), register(t, db)
	first := wins(t, contend(t, p, ReaderTrace{}))
	won := contend(t, q, ReaderTrace{})
	endSession(t, db)
	second := wins(t, won)
	loses(t, first)
	if err := second.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// A reader that hangs keeps its session: it ends with its lease.
func TestHungReaderIsReplacedWithItsLease(t *testing.T) {
	db := openState(t, nil)
	p, q := register(t, db), register(t, db)
	takes(t, p)
	conn := lockedBy(t, p) // what a reader that was stopped leaves
	f := &feed{p: p, at: takes(t, p)}
	f.enqueue(t, all, f.delivery("a", "m/1"))

	ended := make(chan struct{}, 10)
	told := make(chan *status.ReaderState, 10)
	won := contend(t, q, ReaderTrace{Ended: func() { ended <- struct{}{} }, StandingBy: func(r *status.ReaderState) { told <- r }})
	if r := <-told; r == nil || r.Process != p.id {
		t.Errorf("stands by for %+v", r)
	}
	if err := conn.Ping(t.Context()); err != nil {
		t.Errorf("the session of a reader with a valid lease was ended: %v", err)
	}
	leaseRow(t, db, p, "-1 second")
	r := wins(t, won)
	<-ended
	if r.Position() != f.at {
		t.Errorf("begins at %+v, want %+v", r.Position(), f.at)
	}
	if _, err := f.try(t.Context(), all, f.delivery("a", "m/2")); !errors.Is(err, delivery.ErrSuperseded) {
		t.Errorf("the old reader's batch: %v", err)
	}
	wantLanes(t, claim(t, q, "a", 5, 5), "a:m/1=1") // at once: its lanes went with it
	if _, err := p.Contend(t.Context(), ReaderTrace{}); !errors.Is(err, ErrLeaseLost) {
		t.Errorf("contending without a place: %v", err)
	}
}

// Between the lock and the right a new reader is not mistaken for the hung one that it replaces.
func TestNewReaderIsNotEnded(t *testing.T) {
	db := openState(t, nil)
	hung, young, third := register(t, db), register(t, db), register(t, db)
	takes(t, hung)
	leaseRow(t, db, hung, "-1 second")
	conn := lockedBy(t, young)
	c := &contender{Reader: &Reader{p: third}}
	defer c.drop()
	if won, err := c.try(t.Context()); won || err != nil {
		t.Fatal(won, err)
	}
	if _, err := young.takeRole(t.Context(), conn); err != nil {
		t.Errorf("the session was ended: %v", err)
	}
}

// Whoever contends for a state that belongs to no source is told so.
func TestContendUnbound(t *testing.T) {
	db := openEmpty(t, nil)
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := register(t, db).Contend(t.Context(), ReaderTrace{}); !errors.Is(err, ErrNotBound) {
		t.Errorf("got %v", err)
	}
}

// A state's name is the same for all its processes, and no other state's.
func TestGroup(t *testing.T) {
	db := openState(t, nil)
	names := map[string]bool{}
	for _, schema := range []string{"", "", "other"} {
		d := open(t, Config{DSN: db.cfg.DSN, Schema: schema})
		if err := d.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		name, err := d.Group(t.Context())
		if err != nil || len(name) != 16 {
			t.Fatalf("%q, %v", name, err)
		}
		names[name] = true
	}
	if len(names) != 2 {
		t.Errorf("names of two states: %v", names)
	}
}
