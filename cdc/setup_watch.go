package cdc

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// watchEvery is how often a waiting statement's blockers are looked up.
const watchEvery = 500 * time.Millisecond

// watched runs sql under a timeout setting and meanwhile finds out, over a second connection, whom it
// waits for. It returns the last ones seen. When ctx ends, the statement is cancelled on the server,
// so that nothing is left behind that might still succeed.
func watched(ctx context.Context, conn *pgx.Conn, setting string, limit time.Duration, sql string, waiting func([]Blocker)) (who []Blocker, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	detached := context.WithoutCancel(ctx)
	if _, err := conn.Exec(detached, fmt.Sprintf("SET %s = %d", setting, limit.Milliseconds())); err != nil {
		return nil, err
	}
	done := make(chan error, 1)
	go func() {
		_, err := conn.Exec(detached, sql)
		done <- err
	}()
	w := watcher{cfg: conn.Config(), pid: conn.PgConn().PID()}
	defer w.close()
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	cancelled := ctx.Done()
	for {
		select {
		case err := <-done:
			if !conn.IsClosed() {
				if _, resetErr := conn.Exec(detached, "RESET "+setting); resetErr != nil && err == nil {
					err = resetErr
				}
			}
			if err != nil && ctx.Err() != nil {
				err = ctx.Err()
			}
			return who, err
		case <-cancelled:
			cancelled = nil
			if err := cancelStatement(detached, conn); err != nil {
				// It ends by its own timeout then.
				continue
			}
		case <-ticker.C:
			now, err := w.look(ctx)
			if err != nil || len(now) == 0 {
				continue // only the explanation is missing
			}
			if waiting != nil && !slices.EqualFunc(who, now, sameBlocker) {
				waiting(now)
			}
			who = now
		}
	}
}

func sameBlocker(a, b Blocker) bool { return a.PID == b.PID && a.Prepared == b.Prepared }

func cancelStatement(ctx context.Context, conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return conn.PgConn().CancelRequest(ctx)
}

// watcher is the second connection, opened when it is first needed.
type watcher struct {
	cfg  *pgx.ConnConfig
	pid  uint32
	conn *pgx.Conn
}

func (w *watcher) look(ctx context.Context) ([]Blocker, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if w.conn == nil {
		conn, err := pgx.ConnectConfig(ctx, w.cfg)
		if err != nil {
			return nil, err
		}
		w.conn = conn
	}
	var pids []int32
	if err := w.conn.QueryRow(ctx, "SELECT pg_catalog.pg_blocking_pids($1)", int32(w.pid)).Scan(&pids); err != nil {
		w.close()
		return nil, err
	}
	if len(pids) == 0 {
		return nil, nil
	}
	return blockers(ctx, w.conn, pids)
}

func (w *watcher) close() {
	if w.conn != nil {
		// Nothing is lost with this connection.
		_ = closeConn(w.conn.PgConn())
		w.conn = nil
	}
}
