package state

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"walhook/internal/failpoint"
)

// transaction is a read-committed transaction that sends its statements in pipelined batches: BEGIN goes
// with the first of them. Its COMMIT has a certain outcome: when the connection breaks
// before the answer, the server is asked what became of it.
type transaction struct {
	db   *DB
	conn *pgxpool.Conn
	xid  int64 // 0 until the first batch has been answered
}

// DoubtError says that it could not be found out whether a transaction was committed: the caller's time ended while the server
// was away, or the server has crashed, and may mean another transaction by the same id.
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
	if encoded(b.QueuedQueries[b.Len()-1]) >= largeBatch {
		letGo(b)
	}
	to := t.conn.Conn().PgConn().Frontend()
	spare := makeRoom(b, to)
	err := t.conn.SendBatch(ctx, b).Close()
	if err == nil {
		spare.release(to)
	}
	return err
}

// letGo ends a batch whose last statement has large arguments. The driver keeps a connection's last arguments, encoded, until the connection is
// used again (invariant 9); those of an empty statement are small. Of those before, one buffer stays in reach of each connection until a statement with as many arguments comes.
func letGo(b *pgx.Batch) { b.Queue("SELECT") }

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
	answer := t.conn.Conn().PgConn().Exec(cctx, "COMMIT")
	failpoint.Hit(failpoint.CommitSent)
	results, err := answer.ReadAll()
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
	switch status, known := t.db.fate(ctx, t.xid, incarnationOf(t.conn.Conn())); {
	case !known:
		return &DoubtError{XID: t.xid, Err: err}
	case status:
		return nil
	}
	return err
}

// fate finds out whether a transaction was committed. It asks until the server answers or, when the context has ended, for a
// grace more. Of a transaction of an earlier incarnation of the server it can only be known that it was not.
func (db *DB) fate(ctx context.Context, xid int64, incarnation string) (done, known bool) {
	grace, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(db.grace, cancel) })
	defer stop()
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		v, now := db.ask(grace, xid)
		switch {
		case v == aborted:
			return false, true
		case v != unknown && (now != incarnation || incarnation == ""):
			return false, false
		case v == committed:
			return true, true
		}
		select {
		case <-grace.Done():
			return false, false
		case <-time.After(wait):
		}
	}
}

// verdict is what the server says of a transaction's id.
type verdict int

const (
	unknown verdict = iota // it does not answer
	running                // the transaction has not ended yet
	aborted
	committed // or another one under the same id, if the server has crashed since
)

// ask looks a transaction's fate up once, and says which incarnation of the server has answered.
func (db *DB) ask(ctx context.Context, xid int64) (v verdict, incarnation string) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	const status = `SELECT coalesce(txid_status($1), 'aborted')`
	var s string
	err := db.pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
		incarnation = incarnationOf(conn.Conn())
		return conn.QueryRow(ctx, status, xid).Scan(&s)
	})
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &pg) && pg.Code == "22023":
		return aborted, incarnation // "in the future": a server that never saw it (a standby that was promoted)
	case err != nil:
		return unknown, ""
	case s == "in progress":
		return running, incarnation
	case s == "committed":
		return committed, incarnation
	}
	return aborted, incarnation
}
