package state

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"walhook/cdc"
	"walhook/delivery"
)

// ErrLeaseLost says that another process has taken this one for dead and freed its lanes. What is
// in memory may be sent by others by now: drop it and register again.
var ErrLeaseLost = errors.New("the lease of this process was lost: another process has taken over its lanes")

// ErrNotBound says that the state belongs to no source yet; see [DB.Bind].
var ErrNotBound = errors.New("the state is not bound to a source yet")

// ErrNotFound says that there is no such delivery, dead letter or parked event.
var ErrNotFound = errors.New("not found")

// Error is a failure of the state database, in words a user can act on.
type Error struct {
	Op        string // what was tried: "enqueue"
	Err       error
	hint      string
	temporary bool
}

// Error returns "op: cause".
func (e *Error) Error() string { return e.Op + ": " + e.Err.Error() }

// Unwrap returns the driver's error.
func (e *Error) Unwrap() error { return e.Err }

// Hint returns what to do about it; empty when nothing better is known than to read the message.
func (e *Error) Hint() string { return e.hint }

// Temporary says whether trying again may help: the server is away, full, busy or restarting.
func (e *Error) Temporary() bool { return e.temporary }

// VersionError says that the state schema is missing, or of another version than this program.
type VersionError struct {
	Schema     string
	Have, Want int // Have is 0 when there is no schema
}

// Error names both versions.
func (e *VersionError) Error() string {
	switch {
	case e.Have == 0:
		return fmt.Sprintf("the state schema %q does not exist", e.Schema)
	case e.Have < e.Want:
		return fmt.Sprintf("the state schema %q has version %d, this walhook needs %d", e.Schema, e.Have, e.Want)
	}
	return fmt.Sprintf("the state schema %q has version %d, this walhook knows only %d", e.Schema, e.Have, e.Want)
}

// Hint says which command mends it.
func (e *VersionError) Hint() string {
	if e.Have > e.Want {
		return "it was migrated by a newer walhook: install that version, or restore the schema's dump from before the upgrade"
	}
	return "run: walhook setup   (or walhook setup --dry-run, which prints the SQL for a DBA)"
}

// Temporary classes of SQLSTATE: connection, resources, operator intervention, serialization.
func temporaryCode(code string) bool {
	switch code {
	case "40001", "40P01", "55P03", "57014", "57P01", "57P02", "57P03", "57P05", "25P03", "25P04", "25006", "55006":
		return true
	}
	return strings.HasPrefix(code, "08") || strings.HasPrefix(code, "53") || strings.HasPrefix(code, "58")
}

// translate turns a driver's error into the package's; errors that are ours already, and nil, pass unchanged.
func (db *DB) translate(op string, err error) error {
	var own *Error
	var full *FullError
	switch {
	case err == nil, errors.As(err, &own), errors.As(err, &full):
		return err
	case errors.Is(err, ErrLeaseLost), errors.Is(err, ErrNotBound), errors.Is(err, ErrNotFound), errors.Is(err, delivery.ErrSuperseded):
		return err
	}
	e := &Error{Op: "state: " + op, Err: err}
	var pg *pgconn.PgError
	var connect *pgconn.ConnectError
	var network net.Error
	var away *cdc.AwayError
	if errors.As(err, &pg) && pg.Code == "57P01" || errors.Is(err, net.ErrClosed) {
		away = db.cfg.Gate.Away() // which has closed the connection
	}
	switch {
	case away != nil, errors.As(err, &away): // pgx puts the whole connection string around it
		e.Err, e.temporary, e.hint = away, true, away.Hint()
	case errors.As(err, &pg):
		e.temporary = temporaryCode(pg.Code)
		e.hint = db.hint(pg)
	case errors.Is(err, context.Canceled):
		// The caller ended it; trying again is the caller's affair.
	case errors.As(err, &connect), errors.As(err, &network), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), pgconn.SafeToRetry(err), closedConn(err):
		e.temporary = true
		e.hint = "the state database (state.dsn) does not answer; walhook goes on by itself once it does"
	}
	return e
}

// closedConn recognises pgx's unexported error for a connection that broke before.
func closedConn(err error) bool {
	s := err.Error()
	return strings.Contains(s, "conn closed") || strings.Contains(s, "broken pipe") || strings.Contains(s, "connection reset")
}

// hint returns the remedy for a server's error.
func (db *DB) hint(pg *pgconn.PgError) string {
	role, database := ident(db.role), ident(db.database)
	switch pg.Code {
	case "42P01", "3F000", "42883":
		return "run: walhook setup   (the state schema " + db.schema + " is missing or incomplete)"
	case "42501":
		if strings.Contains(pg.Message, "database") {
			return fmt.Sprintf("as the database's owner: GRANT CREATE ON DATABASE %s TO %s;   or: CREATE SCHEMA %s AUTHORIZATION %s;", database, role, db.schema, role)
		}
		return fmt.Sprintf("the schema must belong to the role that walhook uses; as a superuser: ALTER SCHEMA %s OWNER TO %s; and the same for its tables", db.schema, role)
	case "28P01", "28000":
		return "check user, password and pg_hba.conf for state.dsn"
	case "3D000":
		return fmt.Sprintf("CREATE DATABASE %s OWNER %s;   or correct state.dsn", database, role)
	case "53100":
		return fmt.Sprintf("the disk of the state database %s (state.dsn) is full: free space there; nothing is lost meanwhile, walhook goes on by itself", database)
	case "53300":
		return "the server has no free connections: raise max_connections or lower state.pool_size"
	case "25006":
		return "the state database is read-only (a standby?): state.dsn must lead to the primary"
	}
	return ""
}
