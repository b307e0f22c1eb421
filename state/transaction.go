package state

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// transaction is a read-committed transaction that sends its statements in pipelined batches: BEGIN goes
// with the first of them. Its COMMIT has a certain outcome: when the connection breaks
// before the answer, the server is asked what became of it.
type transaction struct {
	db   *DB
	conn *pgxpool.Conn
	xid  int64 // 0 until the first batch has been answered
}

// DoubtError says that it could not be found out whether a transaction was committed, because the
// caller's time ended while the server was away.
type DoubtError struct {
	XID int64
	Err error // why the commit had no answer
}

// Error says so.
func (e *DoubtError) Error() string {
	return fmt.Sprintf("whether transaction %d was committed is not known: %v", e.XID, e.Err)
}

// Unwrap returns why the commit had no answer.
func (e *DoubtError) Unwrap() error { return e.Err }

// transact runs fn in a transaction and commits it when fn returns nil.
func (db *DB) transact(ctx context.Context, op string, fn func(*transaction) error) (err error) {
	defer func() { err = db.translate(op, err) }()
	conn, err := db.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	t := &transaction{db: db, conn: conn}
	defer conn.Release() // a connection that is not idle is closed by the pool
	if err := fn(t); err != nil {
		t.rollback(ctx)
		return err
	}
	return t.commit(ctx)
}

// send runs the batch that queue fills; handlers attached to its queries run in their order.
func (t *transaction) send(ctx context.Context, queue func(*pgx.Batch)) error {
	b := &pgx.Batch{}
	if t.xid == 0 {
		b.Queue("BEGIN ISOLATION LEVEL READ COMMITTED")
		b.Queue("SELECT txid_current()").QueryRow(func(row pgx.Row) error { return row.Scan(&t.xid) })
	}
	queue(b)
	if b.Len() == 0 {
		return nil
	}
	return t.conn.SendBatch(ctx, b).Close()
}

// rollback ends the transaction; the pool discards the connection if that fails.
func (t *transaction) rollback(ctx context.Context) {
	if t.conn.Conn().IsClosed() || t.conn.Conn().PgConn().TxStatus() == 'I' {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := t.conn.Conn().PgConn().Exec(ctx, "ROLLBACK").Close(); err != nil {
		_ = t.conn.Conn().Close(ctx) // the server rolls back when the session ends
	}
}

// commit commits. It does not listen to the context while the answer is out: a commit that is given up on is a commit in doubt.
func (t *transaction) commit(ctx context.Context) error {
	if t.xid == 0 {
		return nil // nothing was sent
	}
	cctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	results, err := t.conn.Conn().PgConn().Exec(cctx, "COMMIT").ReadAll()
	var pg *pgconn.PgError
	switch {
	case err == nil && results[0].CommandTag.String() == "COMMIT":
		return nil
	case err == nil:
		return fmt.Errorf("commit was answered with %s", results[0].CommandTag)
	case errors.As(err, &pg) && pg.Severity == "ERROR": // any other failure, also one that pgx calls safe to retry, may have come after the commit
		t.rollback(ctx)
		return err
	}
	if f := t.db.cfg.Trace.CommitInDoubt; f != nil {
		f(err)
	}
	switch status, known := t.db.fate(ctx, t.xid); {
	case !known:
		return &DoubtError{XID: t.xid, Err: err}
	case status:
		return nil
	}
	return err
}

// fate finds out whether a transaction was committed. It asks until the server answers or, when the context has ended, for a
// grace more.
func (db *DB) fate(ctx context.Context, xid int64) (committed, known bool) {
	grace, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(db.grace, cancel) })
	defer stop()
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		if committed, known = db.ask(grace, xid); known {
			return committed, true
		}
		select {
		case <-grace.Done():
			return false, false
		case <-time.After(wait):
		}
	}
}

// ask looks a transaction's fate up once.
func (db *DB) ask(ctx context.Context, xid int64) (committed, known bool) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	const status = `SELECT coalesce(txid_status($1), 'aborted')`
	var s string
	err := db.pool.QueryRow(ctx, status, xid).Scan(&s)
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &pg) && pg.Code == "22023":
		return false, true // "in the future": a server that never saw it (a standby that was promoted)
	case err != nil, s == "in progress":
		return false, false
	}
	return s == "committed", true
}
