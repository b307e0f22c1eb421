package state

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// Reader is the right to read the slot: of several processes on one state, one has it and the others stand by. It
// is a lock of a session of its own, so it ends with the process or its connection. It saves the
// stand-by from fighting over the slot; what makes a superseded reader harmless is the compare-and-set of Enqueue (invariant 2).
type Reader struct {
	conn   *pgx.Conn
	cancel context.CancelFunc
	lost   chan struct{}
	once   sync.Once
}

// TryReader takes the right to read if nobody has it; it returns nil without an error when somebody has.
func (db *DB) TryReader(ctx context.Context) (*Reader, error) {
	cfg := db.pool.Config().ConnConfig
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, db.translate("connect as reader", err)
	}
	// A machine that vanished must not hold the lock for the two hours of TCP's default.
	const keepalive = `SELECT set_config('search_path', '', false); SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3`
	var mine bool
	if err = conn.PgConn().Exec(ctx, keepalive).Close(); err == nil {
		err = conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", db.lockKey("reader")).Scan(&mine)
	}
	if err != nil || !mine {
		closeConn(conn)
		return nil, db.translate("become reader", err)
	}
	watch, cancel := context.WithCancel(context.Background())
	r := &Reader{conn: conn, cancel: cancel, lost: make(chan struct{})}
	go func() {
		defer close(r.lost)
		defer closeConn(conn)
		// Nothing is ever sent to this session: waiting for it ends when the connection does.
		for watch.Err() == nil {
			if _, err := conn.WaitForNotification(watch); err != nil {
				return
			}
		}
	}()
	return r, nil
}

// Lost is closed when the right is gone: the connection broke, or Close was called.
func (r *Reader) Lost() <-chan struct{} { return r.lost }

// Close gives the right back and waits until it is.
func (r *Reader) Close() error {
	r.once.Do(r.cancel)
	<-r.lost
	return nil
}

// closeConn ends a session; the server notices in any case.
func closeConn(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = conn.Close(ctx) // the connection may be broken already
}
