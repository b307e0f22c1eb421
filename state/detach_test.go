package state

import (
	"errors"
	"strings"
	"testing"
	"time"

	"walhook/cdc"
	"walhook/internal/pgtest"
)

// TestDetach: the wish is seen until its time is over or it is taken back; a later one replaces it.
func TestDetach(t *testing.T) {
	db := openState(t, nil)
	ctx := t.Context()
	if d, err := db.Detached(ctx); d != nil || err != nil {
		t.Fatalf("%+v %v", d, err)
	}
	for _, long := range []time.Duration{time.Minute, time.Hour} {
		if err := db.Detach(ctx, Detachment{For: long, Why: long.String()}); err != nil {
			t.Fatal(err)
		}
		d, err := db.Detached(ctx)
		if err != nil || d == nil || d.For > long || d.For < long-time.Minute || d.Why != long.String() {
			t.Errorf("%+v %v", d, err)
		}
	}
	for _, want := range []bool{true, false} {
		if ended, err := db.Attach(ctx); ended != want || err != nil {
			t.Errorf("%v %v", ended, err)
		}
	}
	if err := db.Detach(ctx, Detachment{For: time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		d, err := db.Detached(ctx)
		if err != nil || time.Now().After(end) {
			t.Fatalf("%+v %v", d, err)
		}
		if d == nil {
			break
		}
	}
}

// TestContents: what would be lost with the schema, and who works on it, also one whose lease has ended while it is away.
func TestContents(t *testing.T) {
	db := openState(t, nil)
	ctx := t.Context()
	p, err := db.Register(ctx)
	if err != nil {
		t.Fatal(err)
	}
	look := func() *Contents {
		t.Helper()
		c, err := db.Contents(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if c := look(); len(c.Processes) != 1 || c.Processes[0].Away != 0 || c.Version < 1 {
		t.Errorf("%+v", c)
	}
	exec(t, db, `UPDATE {schema}.process SET started_at = now() - interval '2 hours', lease_until = now() - interval '1 hour'`)
	if c := look(); len(c.Processes) != 0 {
		t.Errorf("%+v", c.Processes)
	}
	if err := db.Detach(ctx, Detachment{For: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if c := look(); len(c.Processes) != 1 || c.Processes[0].Away < time.Minute {
		t.Errorf("%+v", c.Processes)
	}
	if err := p.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if dropped, err := db.Drop(ctx); !dropped || err != nil {
		t.Errorf("%v %v", dropped, err)
	}
	if c := look(); c.Version >= 0 {
		t.Errorf("%+v", c)
	}
}

// TestGateOfTheState: sessions of a state that shares the source's database stay away with the source's. What is tried meanwhile says
// why it fails, and is worth another try.
func TestGateOfTheState(t *testing.T) {
	shut := make(chan *cdc.AwayError, 10)
	gate := cdc.NewGate(time.Hour, time.Hour, func(a *cdc.AwayError) { shut <- a })
	db := openState(t, func(c *Config) { c.Gate = gate })
	exec(t, db, `SELECT 1`)
	admin := pgtest.Connect(t, db.cfg.DSN)
	const ours = `FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'walhook/state'`
	if _, err := admin.Exec(t.Context(), "SELECT pg_terminate_backend(pid) "+ours); err != nil {
		t.Fatal(err)
	}
	_, err := db.StoredPosition(t.Context())
	var away *cdc.AwayError
	if !errors.As(err, &away) || !isTemporary(err) || !strings.HasPrefix(err.Error(), "state: read position: walhook stays away") {
		t.Errorf("got %v", err)
	}
	<-shut
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		var n int
		if err := admin.QueryRow(t.Context(), "SELECT count(*) "+ours).Scan(&n); err != nil || time.Now().After(end) {
			t.Fatalf("%d sessions, %v", n, err)
		}
		if n == 0 {
			break
		}
	}
	if _, err := db.StoredPosition(t.Context()); !errors.As(err, &away) {
		t.Errorf("got %v", err)
	}
	gate.Open()
	if _, err := db.StoredPosition(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestLocate(t *testing.T) {
	db := openEmpty(t, nil)
	system, oid, err := Locate(t.Context(), db.cfg)
	var want int64
	if e := db.pool.QueryRow(t.Context(), "SELECT oid::int8 FROM pg_database WHERE datname = current_database()").Scan(&want); e != nil {
		t.Fatal(e)
	}
	if err != nil || system == "" || int64(oid) != want {
		t.Errorf("%s %d %v, want oid %d", system, oid, err, want)
	}
}
