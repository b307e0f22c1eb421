package state

import (
	"bufio"
	"context"
	"errors"
	"os"
	osexec "os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"walhook/delivery"
	"walhook/internal/pgtest"
)

// leaseRow moves a process's lease in the table by an interval.
func leaseRow(t *testing.T, db *DB, p *Process, interval string) {
	t.Helper()
	exec(t, db, "UPDATE {schema}.process SET started_at = started_at - interval '1 day', lease_until = now() + $2::text::interval WHERE id = $1", p.id, interval)
}

// A process whose lease has ended loses its lanes to others, once, and learns of it.
func TestInvariant4ExpiredProcessLosesItsLanes(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	d := f.delivery("a", "m/1")
	f.enqueue(t, all, d, f.delivery("a", "m/2"))
	if left := time.Until(p.LeaseUntil()); left < 29*time.Second || left > 30*time.Second {
		t.Errorf("the lease lasts %s", left)
	}

	other := register(t, db) // p is alive
	wantLanes(t, claim(t, other, "a", 5, 5), "")
	// A lease that ended can be renewed as long as nobody has noticed.
	leaseRow(t, db, p, "-1 second")
	if err := p.renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := other.expireOthers(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantLanes(t, claim(t, other, "a", 5, 5), "")

	leaseRow(t, db, p, "-1 second")
	if err := other.expireOthers(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantLanes(t, claim(t, other, "a", 5, 5), "a:m/1=1 a:m/2=2")
	// Before p notices, it can acquire nothing, and change nothing of what it lost.
	wantLanes(t, f.enqueue(t, all, f.delivery("a", "m/3")), "")
	wantLanes(t, claim(t, p, "a", 5, 5), "")
	wantLanes(t, finish(t, p, 5, outcome(d, delivery.Delivered)), "")
	if n := rows(t, db, "queue"); n != 3 {
		t.Errorf("%d queue rows", n)
	}
	if err := p.Run(t.Context()); !errors.Is(err, ErrLeaseLost) && err != nil {
		t.Errorf("run: %v", err)
	}
	if err := p.renew(t.Context()); !errors.Is(err, ErrLeaseLost) || !p.LeaseUntil().IsZero() {
		t.Errorf("renew: %v, lease until %s", err, p.LeaseUntil())
	}
	if _, err := f.try(t.Context(), all, f.delivery("a", "m/4")); !errors.Is(err, ErrLeaseLost) {
		t.Errorf("enqueue: %v", err)
	}
	if _, err := p.Claim(t.Context(), "a", 1, 1); !errors.Is(err, ErrLeaseLost) {
		t.Errorf("claim: %v", err)
	}
	consistent(t, db)
}

// An orderly end hands the lanes over at once.
func TestCloseGivesLanesBack(t *testing.T) {
	db := openState(t, nil)
	p, other := register(t, db), register(t, db)
	f := newFeed(t, p)
	f.enqueue(t, all, f.delivery("a", "m/1"))
	run := make(chan error, 1)
	go func() { run <- p.Run(context.Background()) }()
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-run; err != nil {
		t.Errorf("run ended with %v", err)
	}
	if !p.LeaseUntil().IsZero() {
		t.Error("the lease goes on")
	}
	wantLanes(t, claim(t, other, "a", 5, 5), "a:m/1=1")
}

func TestRunRenewsAndTakesOver(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	cfg := Config{DSN: pgtest.Database(t), Lease: time.Second}
	var expired atomic.Int64
	cfg.Trace.Expired = func(_ []int64, n int64) { expired.Add(n) }
	db, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Bind(t.Context(), testBinding, BindOptions{Created: true}); err != nil {
		t.Fatal(err)
	}
	dead, p := register(t, db), register(t, db)
	f := newFeed(t, dead)
	f.enqueue(t, all, f.delivery("a", "m/1"))
	ctx, cancel := context.WithCancel(t.Context())
	run := make(chan error, 1)
	go func() { run <- p.Run(ctx) }()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if lanes := claim(t, p, "a", 1, 1); len(lanes) == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the dead process's lane was not taken over")
		}
	}
	if until := time.Until(p.LeaseUntil()); until <= 0 || expired.Load() != 1 {
		t.Errorf("lease for %s, %d lanes traced", until, expired.Load())
	}
	cancel()
	if err := <-run; err != nil {
		t.Errorf("run: %v", err)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestMain of a child process: register, acquire a lane, say so, wait to be killed.
const childEnv = "WALHOOK_STATE_TEST_CHILD"

func TestChild(t *testing.T) {
	dsn := os.Getenv(childEnv)
	if dsn == "" {
		t.Skip("runs only as a child of TestKilledProcessIsRecognisedAtOnce")
	}
	db := open(t, Config{DSN: dsn})
	p := register(t, db)
	f := newFeed(t, p)
	f.enqueue(t, all, f.delivery("a", "m/1"))
	os.Stdout.WriteString("\nready\n")
	time.Sleep(time.Minute)
}

// On one machine nobody waits for the lease of a process that was killed.
func TestKilledProcessIsRecognisedAtOnce(t *testing.T) {
	if place() == "" {
		t.Skip("this system does not tell whether a process runs")
	}
	db := openState(t, nil)
	child := osexec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChild$")
	child.Env = append(os.Environ(), childEnv+"="+db.cfg.DSN)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	for s := bufio.NewScanner(out); s.Scan() && !strings.Contains(s.Text(), "ready"); {
	}
	p := register(t, db)
	wantLanes(t, claim(t, p, "a", 5, 5), "") // it lives
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	if err := p.expireOthers(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantLanes(t, claim(t, p, "a", 5, 5), "a:m/1=1")
}

func TestKnowsDead(t *testing.T) {
	me := thisProcess()
	if me.place == "" {
		t.Skip("this system does not tell whether a process runs")
	}
	for name, tc := range map[string]struct {
		other programme
		dead  bool
	}{
		"myself":         {me, false},
		"no such pid":    {programme{1 << 22, me.place, "5"}, true},
		"reused pid":     {programme{me.pid, me.place, me.birth + "0"}, true},
		"another place":  {programme{1 << 22, me.place + "x", "5"}, false},
		"unknown place":  {programme{1 << 22, "", "5"}, false},
		"unknown birth":  {programme{1 << 22, me.place, ""}, false},
		"the init child": {programme{1, me.place, birth(1)}, false},
	} {
		if me.knowsDead(tc.other) != tc.dead {
			t.Errorf("%s: dead is %v", name, !tc.dead)
		}
	}
}
