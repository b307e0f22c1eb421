package cdc

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"walhook/internal/pgtest"
)

// TestSetupLetsWritersPass: while an idle transaction keeps setup from altering a table, Odoo's writes to it wait no longer
// than one attempt takes; they pass between the attempts (trap 18).
func TestSetupLetsWritersPass(t *testing.T) {
	e := newEstate(t, `CREATE TABLE partner (id int PRIMARY KEY, n int); INSERT INTO partner VALUES (1, 0)`)
	needs := []TableNeed{{Schema: "public", Table: "partner", Full: true}}
	steps := ownerSteps(SetupSteps(e.inspect(needs), needs, e.role))
	idle := pgtest.Connect(t, e.dsn+"&application_name=odoo-idle")
	ctx := context.Background()
	tx, err := idle.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(ctx, "SELECT * FROM partner"); err != nil {
		t.Fatal(err)
	}
	writer := pgtest.Connect(t, e.dsn+"&application_name=odoo")
	// Whoever had to wait for the idle transaction's end would fail: it ends after setup.
	if _, err := writer.Exec(ctx, "SET statement_timeout = '20s'"); err != nil {
		t.Fatal(err)
	}
	var stop atomic.Bool
	var writes atomic.Int32
	written := make(chan error, 1)
	go func() {
		for !stop.Load() {
			if _, err := writer.Exec(ctx, "UPDATE partner SET n = n + 1"); err != nil {
				written <- err
				return
			}
			writes.Add(1)
			time.Sleep(time.Millisecond)
		}
		written <- nil
	}()
	retries := 0
	err = Apply(ctx, Logins{Owner: e.ownerConn}, steps, ApplyOptions{LockTimeout: time.Second, Patience: 4 * time.Second, Report: func(r Report) {
		if r.State == "retry" {
			retries++
		}
	}})
	during := writes.Load()
	stop.Store(true)
	if werr := <-written; werr != nil {
		t.Errorf("a write: %v", werr)
	}
	var blocked *BlockedError
	if !errors.As(err, &blocked) || !strings.Contains(err.Error(), "odoo-idle") || !strings.Contains(blocked.Hint(), "pg_terminate_backend") {
		t.Errorf("setup: %v", err)
	}
	if retries < 1 || during < 2 {
		t.Errorf("%d retries, %d writes meanwhile", retries, during)
	}
	if err := tx.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	// What was done before the table was in the way is not done twice.
	e.apply(ownerSteps(SetupSteps(e.inspect(needs), needs, e.role)))
	if identity := e.inspect(needs).table("public", "partner").Identity; identity != "f" {
		t.Errorf("identity %s", identity)
	}
	down, _ := TeardownSteps(e.inspect(nil), e.role)
	e.apply(down)
	if identity := e.inspect(needs).table("public", "partner").Identity; identity != "d" {
		t.Errorf("identity %s after teardown", identity)
	}
}

// TestIdentityLostLater: a table that loses its key after setup cannot be written to any more. Check says so, with the way out.
func TestIdentityLostLater(t *testing.T) {
	e := newEstate(t, `CREATE TABLE partner (id int PRIMARY KEY, n int)`)
	needs := []TableNeed{{Schema: "public", Table: "partner"}}
	e.apply(ownerSteps(SetupSteps(e.inspect(needs), needs, e.role)))
	e.asOwner("INSERT INTO partner VALUES (1, 1)")
	e.asOwner("ALTER TABLE partner DROP CONSTRAINT partner_pkey")
	if _, err := e.ownerConn.Exec(t.Context(), "UPDATE partner SET n = 2"); sqlState(err) != "55000" {
		t.Fatalf("the server gives %v", err)
	}
	found := findings(Preflight(e.inspect(needs), needs))
	f, ok := found["writes_fail"]
	if !ok || f.Severity != SeverityError || !strings.Contains(f.Hint, "DROP TABLE ONLY") {
		t.Fatalf("found %v", found)
	}
	if f, ok := found["no_primary_key"]; !ok || f.Severity != SeverityError {
		t.Errorf("found %v", found)
	}
	e.asOwner(f.Hint)
	e.asOwner("UPDATE partner SET n = 3")
	// Setup does the same: it does not publish such a table, whatever rules want.
	e.asOwner("ALTER PUBLICATION " + quoteIdent(e.slot) + " ADD TABLE partner")
	e.apply(ownerSteps(SetupSteps(e.inspect(needs), needs, e.role)))
	e.asOwner("UPDATE partner SET n = 4")
}
