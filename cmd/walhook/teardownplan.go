package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"walhook/cdc"
	"walhook/state"
)

// teardownPlan is what goes, what would be lost with it, and what is left.
type teardownPlan struct {
	Database  string             `json:"database"`
	Slot      string             `json:"slot,omitempty"`           // that is dropped
	Retained  int64              `json:"retained_bytes,omitempty"` // WAL that it keeps
	State     *stateToDrop       `json:"state,omitempty"`          // nil when it stays, or there is none
	Steps     []plannedStep      `json:"steps"`
	Left      []string           `json:"left"`
	Processes []teardownInTheWay `json:"processes"` // that must be stopped first

	steps []cdc.Step
}

// stateToDrop is the state schema and what would be lost with it.
type stateToDrop struct {
	Database string               `json:"database"`
	Schema   string               `json:"schema"`
	Pending  []state.PendingCount `json:"pending"`
	Dead     int64                `json:"dead_letters"`
	Parked   int64                `json:"parked_events"`
	Copy     bool                 `json:"copy,omitempty"` // it was copied together with the database: the original has what waits in it
}

type plannedStep struct {
	As  string `json:"as"` // owner, replication
	SQL string `json:"sql"`
	Why string `json:"why,omitempty"`
}

// teardownInTheWay is a walhook that runs.
type teardownInTheWay struct {
	Host   string `json:"host,omitempty"`
	PID    int    `json:"pid,omitempty"`
	Server int    `json:"server_pid,omitempty"` // the server's process that streams, when nothing else is known
	Back   string `json:"back_in,omitempty"`    // it stays away from the database for so long
}

// plan looks at what there is. It needs no rules: they may not fit the database any more.
func (t *teardown) plan(ctx context.Context) (*teardownPlan, error) {
	facts, err := cdc.InspectAs(ctx, t.owner, t.role, t.cfg.Source.Slot, t.cfg.Source.Publication, nil)
	if err != nil {
		return nil, environmentError(err, "")
	}
	if err := facts.OnStandby(ctx, t.repl); err != nil {
		return nil, environmentError(err, "")
	}
	p := &teardownPlan{Database: facts.Database, Steps: []plannedStep{}, Processes: []teardownInTheWay{}}
	p.steps, p.Left = cdc.TeardownSteps(facts, t.role)
	if p.Left == nil {
		p.Left = []string{}
	}
	for _, s := range p.steps {
		p.Steps = append(p.Steps, plannedStep{As: s.As, SQL: s.SQL, Why: s.Why})
		if s.As == cdc.AsReplication {
			p.Slot, p.Retained = facts.Slot.Name, facts.Retained()
		}
	}
	if err := t.planState(ctx, p, facts); err != nil {
		return nil, err
	}
	dropped := ""
	if p.State != nil && t.cfg.stateInSource() {
		dropped = p.State.Schema
	}
	held, err := cdc.HeldPrivileges(ctx, t.owner, facts, t.role, dropped)
	if err != nil {
		return nil, environmentError(err, "")
	}
	p.Left = append(p.Left, held...)
	if p.Slot != "" && len(p.Processes) == 0 {
		pid, err := t.awaitSlot(ctx, facts.Slot.PID)
		if err != nil {
			return nil, err
		}
		if pid != 0 {
			p.Processes = append(p.Processes, teardownInTheWay{Server: pid})
		}
	}
	return p, nil
}

// planState looks at the state schema. One that belongs to another source is dropped only as a part of a copied database.
func (t *teardown) planState(ctx context.Context, p *teardownPlan, facts *cdc.Facts) error {
	to, schema := targetOf(t.cfg.State.DSN.reveal()), t.cfg.State.Schema
	if t.keepState {
		p.Left = append(p.Left, fmt.Sprintf("state schema %s in database %s, as --keep-state says. Its slot is gone after this: a new setup makes another, and `walhook run --adopt` then sends what waits in it", schema, to.database))
		return nil
	}
	if t.db == nil {
		return nil
	}
	c, err := t.db.Contents(ctx)
	if isCode(err, "42501") && t.ownerDSN != "" && t.cfg.stateInSource() { // restored with --no-owner: it is the owner's
		cfg := t.cfg.state(currentBuild().Version)
		cfg.DSN = t.ownerDSN
		db, e := state.Open(ctx, cfg)
		if e != nil {
			return environmentError(e, "")
		}
		closeState(t.db)
		t.db = db
		c, err = t.db.Contents(ctx)
	}
	if isCode(err, "42501") {
		p.Left = append(p.Left, fmt.Sprintf("state schema %s in database %s, which belongs to another role: give its owner's login with --dsn", schema, to.database))
		return nil
	}
	if err != nil {
		return environmentError(err, "")
	}
	if c.Version < 0 {
		return nil
	}
	found := bindingOf(facts, nil, t.cfg.Source.Slot)
	copied := c.Source != nil && (c.Source.SystemID != found.SystemID || c.Source.DatabaseOID != found.DatabaseOID)
	if copied {
		system, oid, err := state.Locate(ctx, t.cfg.state(currentBuild().Version))
		if err != nil {
			return environmentError(err, "")
		}
		if system != facts.SystemID || oid != facts.DatabaseOID {
			p.Left = append(p.Left, fmt.Sprintf("state schema %s in database %s, which belongs to another source: database %s with slot %s", schema, to.database, c.Source.DatabaseName, c.Source.Slot))
			return nil
		}
	}
	p.State = &stateToDrop{Database: to.database, Schema: schema, Pending: c.Pending, Dead: c.Dead, Parked: c.Parked, Copy: copied}
	if p.State.Pending == nil {
		p.State.Pending = []state.PendingCount{}
	}
	if copied {
		return nil // its processes are the original's
	}
	for _, r := range c.Processes {
		in := teardownInTheWay{Host: r.Host, PID: r.PID}
		if r.Away > 0 {
			in.Back = r.Away.Round(time.Second).String()
		}
		p.Processes = append(p.Processes, in)
	}
	return nil
}

// awaitSlot waits a moment for a slot that a walhook which was just stopped still holds. It returns the server's process that
// streams from it.
func (t *teardown) awaitSlot(ctx context.Context, pid int) (int, error) {
	const look = `SELECT coalesce((SELECT active_pid FROM pg_catalog.pg_replication_slots WHERE slot_name = $1), 0)`
	for end := time.Now().Add(slotPatience); pid != 0 && time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-time.After(250 * time.Millisecond):
		}
		if err := t.owner.QueryRow(ctx, look, t.cfg.Source.Slot).Scan(&pid); err != nil {
			return 0, environmentError(fmt.Errorf("look at the slot: %w", err), "")
		}
	}
	return pid, nil
}

// running is the refusal to work under a walhook that runs; nil when none does.
func (p *teardownPlan) running(c *Config) error {
	if len(p.Processes) == 0 {
		return nil
	}
	first := p.Processes[0]
	if first.Server != 0 {
		return environmentError(fmt.Errorf("process %d of the server streams from slot %q: a walhook runs", first.Server, c.Source.Slot),
			fmt.Sprintf("stop it first (systemctl stop walhook); if it is gone and its connection lingers: SELECT pg_terminate_backend(%d)", first.Server))
	}
	what := fmt.Sprintf("walhook runs: process %d on %s", first.PID, first.Host)
	if n := len(p.Processes) - 1; n > 0 {
		what += fmt.Sprintf(", and %d more", n)
	}
	if first.Back != "" {
		what += fmt.Sprintf("; it stays away from the database and comes back in %s", first.Back)
	}
	how := fmt.Sprintf("kill %d", first.PID)
	if host, err := os.Hostname(); err != nil || host != first.Host {
		how += ", there"
	}
	return environmentError(errors.New(what), fmt.Sprintf("stop it first: systemctl stop walhook, or %s; one that was killed counts as gone when its lease ends (state.lease)", how))
}

func (p *teardownPlan) empty() bool { return len(p.steps) == 0 && p.State == nil }

// print writes for people what goes and what would be lost. line begins each line.
func (p *teardownPlan) print(w io.Writer, line string) error {
	var b strings.Builder
	if p.empty() {
		fmt.Fprintf(&b, "%snothing to remove from database %s\n", line, p.Database)
	} else {
		fmt.Fprintf(&b, "%sto be removed from database %s:\n", line, p.Database)
	}
	for _, s := range p.steps {
		fmt.Fprintf(&b, "%s  %s\n", line, s.Brief())
	}
	if s := p.State; s != nil {
		fmt.Fprintf(&b, "%s  state schema %s in database %s, with\n", line, s.Schema, s.Database)
		for _, n := range s.Pending {
			fmt.Fprintf(&b, "%s    %s to %s, not sent yet\n", line, plurals(n.Deliveries, "delivery", "deliveries"), n.Endpoint)
		}
		fmt.Fprintf(&b, "%s    %s, %s, and the log\n", line, plurals(s.Dead, "dead letter", "dead letters"), plurals(s.Parked, "parked event", "parked events"))
		if s.Copy {
			fmt.Fprintf(&b, "%s    (a copy: the original database has all that)\n", line)
		}
	}
	for i, left := range p.Left {
		if i == 0 {
			fmt.Fprintf(&b, "%sleft:\n", line)
		}
		fmt.Fprintf(&b, "%s  %s\n", line, left)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// plurals writes a number with its noun.
func plurals(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// isCode says that the server answered with an SQLSTATE.
func isCode(err error, code string) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == code
}
