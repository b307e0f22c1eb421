package cdc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Logins are the connections that steps run on; both may be the same.
type Logins struct {
	Owner       *pgx.Conn // nil: steps for the owner fail with a hint
	Replication *pgx.Conn
}

// ApplyOptions says how long to wait for others. Zero values have the defaults.
type ApplyOptions struct {
	LockTimeout time.Duration // how long one attempt waits for a lock, with others queueing behind it; 3 s
	Patience    time.Duration // how long attempts go on; 1 min
	SlotTimeout time.Duration // how long the creation of the slot waits for open transactions; 1 min
	Report      func(Report)  // progress, for people; may be nil. Called from another goroutine while a statement waits
}

// Report is what happens to a step.
type Report struct {
	Step    Step
	State   string    // "start", "waiting", "retry", "done"
	Waiting []Blocker // of waiting: for whom
}

// Apply runs steps in order, each in a transaction of its own. It stops at the first that fails.
//
// ALTER TABLE queues behind every transaction that has used the table, and then everybody queues behind
// it; so each attempt waits shortly, and in between the others get their turn (trap 18).
// What still cannot have its lock ends in a *[BlockedError] that names who is in the way.
func Apply(ctx context.Context, logins Logins, steps []Step, o ApplyOptions) error {
	setDefault(&o.LockTimeout, 3*time.Second)
	setDefault(&o.Patience, time.Minute)
	setDefault(&o.SlotTimeout, time.Minute)
	for _, s := range steps {
		conn := logins.Owner
		if s.As == AsReplication {
			conn = logins.Replication
		}
		if conn == nil {
			return &RefusedError{Reason: fmt.Sprintf("no login as %s for: %s", s.As, s.SQL),
				Remedy: "give `walhook setup --dsn` the owner's login, or let the owner run the SQL of `walhook setup --dry-run`"}
		}
		report := func(state string, waiting []Blocker) {
			if o.Report != nil {
				o.Report(Report{Step: s, State: state, Waiting: waiting})
			}
		}
		report("start", nil)
		var err error
		if s.slot != "" {
			_, err = CreateSlot(ctx, conn, s.slot, SlotOptions{Timeout: o.SlotTimeout, Failover: s.standby, Primary: logins.Owner, Waiting: func(b []Blocker) { report("waiting", b) }})
		} else if s.replication {
			err = applyReplication(ctx, conn, s.SQL)
		} else {
			err = applyStep(ctx, conn, s, o, report)
		}
		if err != nil {
			return stepError(s, conn, err)
		}
		report("done", nil)
	}
	return nil
}

// applyStep tries one statement until it has its locks or patience ends.
func applyStep(ctx context.Context, conn *pgx.Conn, s Step, o ApplyOptions, report func(string, []Blocker)) error {
	end := time.Now().Add(o.Patience)
	for {
		who, err := watched(ctx, conn, "lock_timeout", o.LockTimeout, s.SQL, func(b []Blocker) { report("waiting", b) })
		switch state := sqlState(err); {
		case err == nil:
			return nil
		case state != "55P03" && state != "40P01": // lock timeout, deadlock
			return err
		case time.Now().After(end):
			return &BlockedError{What: s.SQL, Blockers: who, Err: err}
		}
		report("retry", who)
		if !sleep(ctx, nil, between(time.Second, 3*time.Second)) {
			return ctx.Err()
		}
	}
}

// stepError says which step failed, and what to do where that is known.
func stepError(s Step, conn *pgx.Conn, err error) error {
	switch user := conn.Config().User; sqlState(err) {
	case "42501":
		hint := "run `walhook setup --dsn` with the login of the tables' owner or of a superuser, or let them run the SQL of `walhook setup --dry-run`"
		if s.As == AsReplication {
			hint = fmt.Sprintf("ALTER ROLE %s REPLICATION", quoteIdent(user))
		}
		return &RefusedError{Reason: fmt.Sprintf("role %q may not run: %s", user, s.SQL), Remedy: hint, Err: err}
	case "55006":
		return &RefusedError{Reason: "the slot is in use", Remedy: "stop walhook first, or end its session: SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = …", Err: err}
	case "25006":
		return &RefusedError{Reason: fmt.Sprintf("the server is a standby, where nothing can be changed: %s", s.SQL), Remedy: "run `walhook setup --dsn` with the owner's login on the primary", Err: err}
	case "53400":
		return &RefusedError{Reason: "no replication slot is free", Remedy: "drop one that nobody needs, or raise max_replication_slots and restart the server", Err: err}
	}
	var blocked *BlockedError
	if errors.As(err, &blocked) {
		return err
	}
	if errors.Is(err, errInUse) {
		return &RefusedError{Reason: fmt.Sprintf("%s: somebody streams from the slot, and the server alters none that is in use", s.SQL), Remedy: "stop walhook, run `walhook setup` again, and start it"}
	}
	return fmt.Errorf("%s: %w", s.SQL, err)
}

// SlotOptions says how long the creation of a slot may wait. Zero values have the defaults.
type SlotOptions struct {
	Timeout  time.Duration   // 1 min
	Failover bool            // standbys may keep a copy of it (17 and later)
	Primary  *pgx.Conn       // of a standby on which the slot is made, which waits for the primary then; nil where there is no connection to it
	Waiting  func([]Blocker) // for whom it waits, as that changes; may be nil. Called from another goroutine
}

// CreateSlot creates a slot for pgoutput and returns where it begins. The server
// waits until all transactions have ended that are writing now, in any database; CreateSlot tells for
// whom, and gives up after the timeout with a *[BlockedError]. The publication must exist (trap 8).
func CreateSlot(ctx context.Context, conn *pgx.Conn, slot string, o SlotOptions) (LSN, error) {
	setDefault(&o.Timeout, time.Minute)
	if !slotName.MatchString(slot) {
		return 0, fmt.Errorf("create slot: %q is no slot name: 1 to 63 lower-case letters, digits and underscores", slot)
	}
	var standby bool
	if err := conn.QueryRow(ctx, "SELECT pg_catalog.pg_is_in_recovery()").Scan(&standby); err != nil {
		return 0, fmt.Errorf("create slot %q: %w", slot, err)
	}
	if standby && o.Primary != nil && o.Primary != conn {
		if err := AwaitReplay(ctx, conn, o.Primary); err != nil {
			return 0, err
		}
		stop := urge(ctx, o.Primary)
		defer stop()
	}
	who, err := watched(ctx, conn, "statement_timeout", o.Timeout, createSlotSQL(slot, o.Failover), o.Waiting)
	if sqlState(err) == "57014" && ctx.Err() == nil {
		if standby && len(who) == 0 {
			return 0, noSnapshot(slot, err)
		}
		return 0, &BlockedError{What: fmt.Sprintf("create slot %q", slot), Blockers: who, Err: err}
	}
	if err != nil {
		return 0, fmt.Errorf("create slot %q: %w", slot, err)
	}
	var at LSN
	err = conn.QueryRow(ctx, "SELECT confirmed_flush_lsn::text FROM pg_catalog.pg_replication_slots WHERE slot_name = $1", slot).Scan(&at)
	if err != nil {
		return 0, fmt.Errorf("read slot %q: %w", slot, err)
	}
	return at, nil
}
