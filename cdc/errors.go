package cdc

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// SlotProblem says what is wrong with a slot.
type SlotProblem string

// The problems a slot can have.
const (
	SlotMissing SlotProblem = "missing"                // no such slot (42704)
	SlotLost    SlotProblem = "lost"                   // the server removed WAL that it needed (55000, wal_status lost)
	SlotInUse   SlotProblem = "in use"                 // another process streams from it (55006)
	SlotForeign SlotProblem = "of another kind"        // a physical slot, another plugin's, or another database's
	SlotCopy    SlotProblem = "a standby's copy"       // of the primary's slot
	SlotTooOld  SlotProblem = "older than publication" // it replays WAL from before the publication existed (42704 in the stream)
)

// SlotError says that the slot cannot be used as it is.
type SlotError struct {
	Slot    string
	Problem SlotProblem
	Detail  string // what was found, for people
	Remedy  string // what to do, with the SQL
	Raise   string // what to do before that; may be empty
	Err     error  // the server's error; may be nil

	// Of a missing, lost or too old slot: what the state holds, and where WAL ends. 0 when that is not known.
	Position, End LSN
}

func (e *SlotError) Error() string {
	return fmt.Sprintf("replication slot %q is %s: %s%s", e.Slot, e.Problem, e.Detail, e.gap())
}

// Unwrap returns the server's error, if there was one.
func (e *SlotError) Unwrap() error { return e.Err }

// Hint returns the remedy. A new slot begins later than the state ends: that is to be accepted by a person.
func (e *SlotError) Hint() string {
	if e.Position != 0 {
		return e.Raise + repair + "\nOr without a repair: " + e.Remedy + "; then: " + adoptSlot
	}
	return e.Raise + e.Remedy
}

// Temporary says that waiting may help: the slot is in use by a process that may end, or on a standby that may be promoted.
func (e *SlotError) Temporary() bool { return e.Problem == SlotInUse || e.Problem == SlotCopy }

// PositionProblem says why a position does not fit the server.
type PositionProblem string

// The problems a position can have.
const (
	PositionNone     PositionProblem = "there is no position"            // nothing is known about what was processed
	PositionBehind   PositionProblem = "position is behind the slot"     // the slot was confirmed further: state lost or restored, or slot recreated
	PositionAhead    PositionProblem = "position is ahead of the server" // beyond the end of WAL: another or a restored cluster
	PositionTimeline PositionProblem = "position is on another timeline" // past the switch point, or of a timeline that is no ancestor
)

// PositionError says that streaming from a position would lose changes
// silently (invariants 1 and 8, trap 5).
type PositionError struct {
	Problem  PositionProblem
	Position LSN    // what the state holds
	Server   LSN    // what the server says: confirmed_flush_lsn, end of WAL, or switch point
	Detail   string // for people, with the size of the gap
	Remedy   string
}

func (e *PositionError) Error() string { return fmt.Sprintf("%s: %s", e.Problem, e.Detail) }

// Hint returns the remedy.
func (e *PositionError) Hint() string { return e.Remedy }

// IdentityError says that the server is not the one that the state belongs to (invariant 8).
type IdentityError struct {
	What      string // "system identifier", "database oid"
	Want, Got string
}

func (e *IdentityError) Error() string {
	return fmt.Sprintf("the source is another one: its %s is %s, the state belongs to %s", e.What, e.Got, e.Want)
}

// Hint says what to do about it.
func (e *IdentityError) Hint() string {
	return "point source.dsn at the database that the state belongs to; after a deliberate move walhook check tells how to go on"
}

// RefusedError says that the server refuses for a reason that only a person
// can mend: a wrong password, a missing privilege or publication, wal_level.
type RefusedError struct {
	Reason string
	Remedy string
	Err    error // the server's error; may be nil
}

func (e *RefusedError) Error() string {
	if e.Err != nil {
		return e.Reason + ": " + e.Err.Error()
	}
	return e.Reason
}

// Unwrap returns the server's error, if there was one.
func (e *RefusedError) Unwrap() error { return e.Err }

// Hint returns the remedy.
func (e *RefusedError) Hint() string { return e.Remedy }

// BlockedError says that a statement waited too long for others' transactions.
type BlockedError struct {
	What     string // the statement, for people
	Blockers []Blocker
	Err      error
}

func (e *BlockedError) Error() string {
	if len(e.Blockers) == 0 {
		return fmt.Sprintf("%s: gave up waiting: %v", e.What, e.Err)
	}
	who := make([]string, len(e.Blockers))
	for i, b := range e.Blockers {
		who[i] = b.String()
	}
	return fmt.Sprintf("%s: gave up waiting for %s", e.What, strings.Join(who, "; "))
}

// Unwrap returns the server's error.
func (e *BlockedError) Unwrap() error { return e.Err }

// Temporary says that the same statement may succeed later.
func (e *BlockedError) Temporary() bool { return true }

// Hint says how to get past the blockers.
func (e *BlockedError) Hint() string {
	if len(e.Blockers) == 0 {
		return "try again when the database is quieter"
	}
	return fmt.Sprintf("try again when these transactions have ended, or end the oldest: SELECT pg_terminate_backend(%d)", e.Blockers[0].PID)
}

// temporaryError marks an error as one that a retry may mend.
type temporaryError struct{ error }

func (e temporaryError) Unwrap() error { return e.error }
func (temporaryError) Temporary() bool { return true }

// errShutdown ends a session because the server waits for us before it can stop.
var errShutdown = errors.New("the server is shutting down")

// errSilent ends a session because the server has not answered for too long.
var errSilent = errors.New("the server does not answer")

// errStreamEnded is the server's orderly end of the stream.
var errStreamEnded = errors.New("the server ended the stream")

// isTemporary says whether an error asks to be retried.
func isTemporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

// isFinal says whether only a person can mend an error of the source.
// Everything else is retried for ever: servers restart and networks heal.
func isFinal(err error) bool {
	var slot *SlotError
	if errors.As(err, &slot) {
		return !slot.Temporary()
	}
	var position *PositionError
	var identity *IdentityError
	var refused *RefusedError
	return errors.As(err, &position) || errors.As(err, &identity) || errors.As(err, &refused)
}

// sqlState returns the SQLSTATE of a server error, or "".
func sqlState(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// RefusesRole says of an error with SQLSTATE 28000 that the role does not exist or may not log in. It is pg_hba.conf that refuses
// otherwise. The server's words may be in any language; the name of its function is not.
func RefusesRole(err *pgconn.PgError) bool { return err.Routine == "InitializeSessionUserId" }

// connectError gives the errors of a connection attempt that only a person can
// mend their remedy, and leaves the others as they are.
func connectError(err error, user, database string) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err
	}
	switch pg.Code {
	case "28P01":
		return &RefusedError{Reason: fmt.Sprintf("the server refuses the password of role %q", user), Err: err,
			Remedy: fmt.Sprintf("correct the password in source.dsn, or set it: ALTER ROLE %s PASSWORD '…'", quoteIdent(user))}
	case "28000":
		remedy := fmt.Sprintf("add a line to pg_hba.conf and reload: host %s %s <address>/32 scram-sha-256", database, user)
		if RefusesRole(pg) {
			remedy = fmt.Sprintf("create the role: CREATE ROLE %[1]s LOGIN REPLICATION PASSWORD '…'; or if it exists: ALTER ROLE %[1]s LOGIN", quoteIdent(user))
		}
		return &RefusedError{Reason: fmt.Sprintf("the server does not let role %q in", user), Err: err, Remedy: remedy}
	case "3D000":
		return &RefusedError{Reason: fmt.Sprintf("there is no database %q", database), Err: err,
			Remedy: "correct the database's name in source.dsn"}
	case "42501":
		if strings.Contains(pg.Message, "database") {
			return &RefusedError{Reason: fmt.Sprintf("role %q may not connect to database %q", user, database), Err: err,
				Remedy: fmt.Sprintf("GRANT CONNECT ON DATABASE %s TO %s", quoteIdent(database), quoteIdent(user))}
		}
		return &RefusedError{Reason: fmt.Sprintf("role %q may not replicate", user), Err: err,
			Remedy: fmt.Sprintf("ALTER ROLE %s REPLICATION", quoteIdent(user))}
	}
	return err
}
