package state

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/cdc"
	"walhook/delivery"
	"walhook/internal/periodic"
	"walhook/status"
)

// Reader is the right to read the slot: of several processes on one state, one has it and the others stand by.
//
// The right is the column source.reader, and every batch compares itself with it: from the moment in which another
// process has taken the right, Enqueue fails, whether the position has been moved yet or not (invariant 2). So nothing depends on a
// clock, nor on the old reader's noticing.
//
// When it may be taken is told by an advisory lock that the reader holds in a session of its own. The session ends with the
// process, and the stand-by takes over at once. A process that hangs keeps its session: its lease tells, and a
// stand-by ends the session. The lock alone gives no right, and losing it takes none: a reader whose state database restarts
// goes on reading unless another was faster.
type Reader struct {
	p      *Process
	turn   turn
	conn   *pgx.Conn // holds the lock; nil while it is made anew
	locked bool
	cancel context.CancelFunc
	lost   chan struct{}
	once   sync.Once
}

// Position is where the stream goes on, read in the transaction that took the right.
func (r *Reader) Position() delivery.Position { return r.turn.position }

// Bound is the source that the state belonged to then.
func (r *Reader) Bound() Binding { return r.turn.bound }

// Lost is closed when another process has taken the right, and by Close.
func (r *Reader) Lost() <-chan struct{} { return r.lost }

// Check asks the state whether the right is still this process's: [delivery.ErrSuperseded] if not.
func (r *Reader) Check(ctx context.Context) error {
	var mine bool
	err := r.p.db.pool.QueryRow(ctx, r.p.db.sql(isReader), r.p.id).Scan(&mine)
	return r.p.db.translate("ask for the reader", r.verdict(mine, err))
}

// isReader says whether a process reads.
const isReader = `SELECT coalesce(reader = $1, false) FROM {schema}.source`

// NewTimeline notes that positions from now on are of another timeline of the source, after a failover (invariant 8).
func (r *Reader) NewTimeline(ctx context.Context, timeline uint32) error {
	const update = `UPDATE {schema}.source SET timeline = $2 WHERE reader = $1`
	tag, err := r.p.db.pool.Exec(ctx, r.p.db.sql(update), r.p.id, int64(timeline))
	return r.p.db.translate("note the timeline", r.verdict(tag.RowsAffected() == 1, err))
}

func (r *Reader) verdict(mine bool, err error) error {
	switch {
	case noRows(err):
		return ErrNotBound
	case err == nil && !mine:
		return fmt.Errorf("%w (this one is process %d)", delivery.ErrSuperseded, r.p.id)
	}
	return err
}

// Close gives the right up and returns when it is: a stand-by takes over at once. Call it when the stream has ended.
func (r *Reader) Close() error {
	r.once.Do(r.cancel)
	<-r.lost
	return nil
}

// watch starts the goroutine that keeps the lock and learns when the right was taken.
func (r *Reader) watch() {
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel, r.lost = cancel, make(chan struct{})
	go func() {
		defer close(r.lost)
		defer r.drop()
		r.keep(ctx)
	}()
}

func (r *Reader) keep(ctx context.Context) {
	pause := rolePoll
	for periodic.Wait(ctx, pause) {
		err := r.renew(ctx)
		switch {
		case errors.Is(err, delivery.ErrSuperseded), errors.Is(err, ErrNotBound):
			return
		case err != nil:
			r.drop()
			pause = r.p.db.regain
		default:
			pause = rolePoll
		}
	}
}

// renew asks over the lock's session, which is thereby known to live, and makes a new one when it broke.
func (r *Reader) renew(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, roleTimeout)
	defer cancel()
	if r.conn == nil {
		if r.conn, err = r.p.connect(ctx); err != nil {
			return err
		}
	}
	if !r.locked {
		if err := r.conn.QueryRow(ctx, tryLock, r.p.db.lockKey("reader")).Scan(&r.locked); err != nil {
			return err
		}
	}
	if !r.locked { // held by the session that broke, or by a stand-by that has not yet taken the right
		if _, err := r.endHung(ctx); err != nil {
			return err
		}
	}
	var mine bool
	err = r.conn.QueryRow(ctx, r.p.db.sql(isReader), r.p.id).Scan(&mine)
	return r.verdict(mine, err)
}

// drop ends the session, and with it the lock.
func (r *Reader) drop() {
	if r.conn != nil {
		closeConn(r.conn)
	}
	r.conn, r.locked = nil, false
}

// endHung ends the session that holds the lock if it belongs to a process without a valid lease, one that hangs or that has lost its
// place and does not know, or if it is an earlier one of this process, which the server takes for alive. A process that
// has just got the lock and not yet taken the right has a valid lease. The role that the sessions run as may end its own without
// further rights.
func (r *Reader) endHung(ctx context.Context) (ended bool, err error) {
	const end = `SELECT count(pg_catalog.pg_terminate_backend(a.pid)) > 0 FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
		WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
			AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
			AND l.classid::bigint = ($1::bigint >> 32) & 4294967295 AND l.objid::bigint = $1::bigint & 4294967295
			AND (a.application_name = $2 || $3::bigint AND a.pid <> pg_catalog.pg_backend_pid()
				OR NOT EXISTS (SELECT FROM {schema}.process p WHERE a.application_name = $2 || p.id AND p.lease_until > now()))`
	err = r.conn.QueryRow(ctx, r.p.db.sql(end), r.p.db.lockKey("reader"), sessionName, r.p.id).Scan(&ended)
	return ended, err
}

const tryLock = `SELECT pg_catalog.pg_try_advisory_lock($1)`

const (
	// rolePoll is how often a stand-by tries to become the reader, and the reader makes sure that it is.
	rolePoll = 500 * time.Millisecond
	// roleRetry is the stand-by's pause after a failure. It leaves the reader, which regains its lock sooner, a head start when
	// the state database has been away.
	roleRetry  = time.Second
	roleRegain = 250 * time.Millisecond
	// roleTimeout bounds what a reader asks, so that a server that hangs is left for a new session.
	roleTimeout = 10 * time.Second
)

// sessionName begins the application_name of sessions that hold or want the lock; the process's id follows.
const sessionName = cdc.ApplicationName + "/process "

// connect opens a session for the lock.
func (p *Process) connect(ctx context.Context) (*pgx.Conn, error) {
	cfg := p.db.pool.Config().ConnConfig
	cfg.RuntimeParams["application_name"] = fmt.Sprint(sessionName, p.id)
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	// A machine that vanished must not hold the lock for the two hours of TCP's default. The reader asks twice a second, so a second of silence is
	// strange already, and to lose the lock costs little: a stand-by that takes over is as good.
	const keepalive = `; SET tcp_keepalives_idle = 1; SET tcp_keepalives_interval = 1; SET tcp_keepalives_count = 3; SET tcp_user_timeout = '4s'`
	if err := conn.PgConn().Exec(ctx, p.db.cfg.session()+keepalive).Close(); err != nil {
		closeConn(conn)
		return nil, err
	}
	return conn, nil
}

// closeConn ends a session; the server notices in any case.
func closeConn(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = conn.Close(ctx) // the connection may be broken already
}

// readerOf reads who has the right to read; nil when nobody with a valid lease has.
func (db *DB) readerOf(ctx context.Context, tx pgx.Tx) (*status.ReaderState, error) {
	const read = `SELECT r.id, r.host, r.pid FROM {schema}.source s JOIN {schema}.process r ON r.id = s.reader WHERE r.lease_until > now()`
	var s status.ReaderState
	err := tx.QueryRow(ctx, db.sql(read)).Scan(&s.Process, &s.Host, &s.PID)
	if noRows(err) {
		return nil, nil
	}
	return &s, err
}

// Group names this state schema among all that there are: the same for every process that works on it, and another
// for a copy of it. The reader's session at the source bears it, so that a new reader can tell what its predecessor left behind from
// anybody else's.
func (db *DB) Group(ctx context.Context) (string, error) {
	const read = `SELECT (SELECT system_identifier FROM pg_catalog.pg_control_system())::text, d.oid::text, n.oid::text
		FROM pg_catalog.pg_database d, pg_catalog.pg_namespace n WHERE d.datname = pg_catalog.current_database() AND n.nspname = $1`
	var parts [3]string
	if err := db.pool.QueryRow(ctx, read, db.cfg.Schema).Scan(&parts[0], &parts[1], &parts[2]); err != nil {
		return "", db.translate("identify the state", err)
	}
	return fmt.Sprintf("%016x", uint64(db.lockKey(strings.Join(parts[:], "/")))), nil
}
