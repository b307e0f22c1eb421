package survival

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// writer commits small transactions all the time: one event each, and one more write of a document. When the source is
// away it waits and goes on. The tables are the ledger: what is in them at the end was committed, also where an answer was lost.
type writer struct {
	t    *testing.T
	dsn  string
	quit chan struct{}
	done sync.WaitGroup

	mu      sync.Mutex
	n       int
	latest  int64
	stopped bool
}

// ledger is what was committed.
type ledger struct {
	events map[int64]bool
	docs   map[int]int // id → last n
	writes int         // of documents
}

func startWriter(t *testing.T, dsn string) *writer {
	w := &writer{t: t, dsn: dsn, quit: make(chan struct{})}
	w.done.Go(w.run)
	t.Cleanup(w.stop)
	return w
}

func (w *writer) run() {
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			_ = conn.Close(context.Background())
		}
	}()
	for i := 0; ; i++ {
		select {
		case <-w.quit:
			return
		case <-time.After(40 * time.Millisecond):
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		var err error
		if conn == nil {
			if conn, err = pgx.Connect(ctx, w.dsn); err != nil {
				conn = nil
				cancel()
				continue
			}
		}
		if id, err := write(ctx, conn, i); err != nil {
			_ = conn.Close(ctx) // what became of the transaction, the table tells
			conn = nil
		} else {
			w.mu.Lock()
			w.n, w.latest = w.n+1, id
			w.mu.Unlock()
		}
		cancel()
	}
}

// write is one transaction, with a savepoint that is rolled back.
func write(ctx context.Context, conn *pgx.Conn, i int) (id int64, err error) {
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, "INSERT INTO event (note) VALUES (repeat('e', 200)) RETURNING id").Scan(&id); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "SAVEPOINT s"); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "INSERT INTO event (note) VALUES ('never')"); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "ROLLBACK TO s"); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "UPDATE doc SET n = n + 1 WHERE id = $1", i%5)
		return err
	})
	return id, err
}

func (w *writer) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.n
}

// last is the id of the last event that is known to be committed.
func (w *writer) last() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.latest
}

func (w *writer) stop() {
	w.mu.Lock()
	if !w.stopped {
		w.stopped = true
		close(w.quit)
	}
	w.mu.Unlock()
	w.done.Wait()
}

// committed reads the ledger.
func (w *writer) committed() ledger {
	w.t.Helper()
	l := ledger{events: map[int64]bool{}, docs: map[int]int{}}
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, w.dsn)
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, "SELECT id FROM event")
	if err != nil {
		w.t.Fatal(err)
	}
	var id int64
	if _, err := pgx.ForEachRow(rows, []any{&id}, func() error { l.events[id] = true; return nil }); err != nil {
		w.t.Fatal(err)
	}
	if rows, err = conn.Query(ctx, "SELECT id, n FROM doc"); err != nil {
		w.t.Fatal(err)
	}
	var doc, n int
	if _, err := pgx.ForEachRow(rows, []any{&doc, &n}, func() error { l.docs[doc] = n; l.writes += n; return nil }); err != nil {
		w.t.Fatal(err)
	}
	return l
}
