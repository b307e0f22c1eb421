package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// workload writes to the tables from several sessions at once, as Odoo does: one business action is one
// transaction with many writes, savepoints everywhere, some of them rolled back, and some transactions whole.
//
// Beside one hot record, which it locks first, a writer writes only records of its own, so that no two wait for each other.
type workload struct {
	t      *testing.T
	dsn    string
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	brake atomic.Bool // too much waits to be delivered
	eager atomic.Bool // go on all the same
	still atomic.Bool // somebody wants quiet

	kinds      sync.Map // of committed transactions: name to *atomic.Int64
	rolledBack atomic.Int64
	savepoints atomic.Int64 // rolled back
}

// kind is one sort of business action.
type kind struct {
	name   string
	weight int
	do     func(w *writer, tx pgx.Tx) error
}

var kinds = []kind{
	{"order", 30, (*writer).order},
	{"savepoints", 20, (*writer).saves},
	{"copy", 6, (*writer).copyLines},
	{"mass update", 10, (*writer).mass},
	{"delete", 10, (*writer).remove},
	{"key change", 6, (*writer).rekey},
	{"tags", 12, (*writer).tags},
	{"quiet", 4, (*writer).quiet},
	{"burst", 8, nil}, // commits by itself
}

// connect opens a connection that somebody else closes.
func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// writer is one session.
type writer struct {
	*workload
	id   int
	rnd  *rand.Rand
	conn *pgx.Conn
}

func startWorkload(t *testing.T, dsn string, writers int, seed uint64) *workload {
	w := &workload{t: t, dsn: dsn}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	for i := range writers {
		one := w.writer(i, seed)
		w.wg.Go(one.run)
	}
	t.Cleanup(w.stop) // before their connections are closed
	return w
}

func (w *workload) writer(id int, seed uint64) *writer {
	one := &writer{workload: w, id: id, rnd: rand.New(rand.NewPCG(seed, uint64(id)+1))}
	one.conn = connect(w.t, w.dsn)
	w.t.Cleanup(func() { _ = one.conn.Close(context.Background()) })
	if _, err := one.conn.Exec(w.ctx, "SELECT setseed($1)", one.rnd.Float64()); err != nil {
		w.t.Fatal(err)
	}
	return one
}

// stop ends the writers; a second call does nothing.
func (w *workload) stop() {
	w.cancel()
	w.wg.Wait()
}

// count adds committed transactions of a kind.
func (w *workload) count(kind string, n int64) {
	c, _ := w.kinds.LoadOrStore(kind, &atomic.Int64{})
	c.(*atomic.Int64).Add(n)
}

// counts is the committed transactions by kind.
func (w *workload) counts() map[string]int64 {
	all := map[string]int64{}
	w.kinds.Range(func(k, v any) bool { all[k.(string)] = v.(*atomic.Int64).Load(); return true })
	return all
}

func (w *writer) run() {
	total := 0
	for _, k := range kinds {
		total += k.weight
	}
	for w.ctx.Err() == nil {
		if w.brake.Load() && !w.eager.Load() || w.still.Load() {
			time.Sleep(10 * time.Millisecond) // not to wait for something, but to load it less
			continue
		}
		n := w.rnd.IntN(total)
		for _, k := range kinds {
			if n -= k.weight; n < 0 {
				if err := w.action(k); err != nil && w.ctx.Err() == nil {
					w.t.Errorf("workload, %s: %v", k.name, err)
					return
				}
				break
			}
		}
		time.Sleep(time.Duration(w.rnd.IntN(4000)) * time.Microsecond)
	}
}

// action is one transaction, of which one in six is rolled back. The burst is a row of them.
func (w *writer) action(k kind) error {
	if k.do == nil {
		n := 5 + w.rnd.IntN(20)
		_, err := w.conn.Exec(context.Background(), fmt.Sprintf("CALL burst(%d)", n))
		w.count(k.name, int64(n))
		return err
	}
	// What was begun is finished, so that a stop leaves no doubt about the last transaction.
	ctx := context.Background()
	tx, err := w.conn.Begin(ctx)
	if err != nil {
		return err
	}
	if w.rnd.IntN(3) == 0 {
		if err := perform(tx, "UPDATE sale_order SET client_order_ref = 'w%d', amount_total = amount_total + 1 WHERE id = %d", w.id, 1+w.rnd.IntN(10)); err != nil {
			return err
		}
	}
	if err := k.do(w, tx); err != nil {
		return errors.Join(err, tx.Rollback(ctx))
	}
	if w.rnd.IntN(6) == 0 {
		w.rolledBack.Add(1)
		return tx.Rollback(ctx)
	}
	w.count(k.name, 1)
	return tx.Commit(ctx)
}

func perform(tx pgx.Tx, sql string, args ...any) error {
	sql = fmt.Sprintf(sql, args...)
	if _, err := tx.Conn().PgConn().Exec(context.Background(), sql).ReadAll(); err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	return nil
}

// order is a new order: inserted half empty, completed by several updates, with lines and tags.
func (w *writer) order(tx pgx.Tx) error {
	note := "NULL"
	if w.rnd.IntN(6) == 0 {
		note = "repeat(md5(random()::text), 100)"
	}
	var id int
	if err := tx.QueryRow(context.Background(), fmt.Sprintf("INSERT INTO sale_order (name, user_id, note, create_date) VALUES ('New', %d, %s, now() AT TIME ZONE 'UTC') RETURNING id", w.id, note)).Scan(&id); err != nil {
		return err
	}
	lines := 1 + w.rnd.IntN(6)
	if err := perform(tx, `UPDATE sale_order SET name = 'SO%[1]d', state = 'draft', partner_id = %[3]d WHERE id = %[1]d;
		INSERT INTO sale_order_line (order_id, user_id, name) SELECT %[1]d, %[2]d, 'line ' || i FROM generate_series(1, %[4]d) i;
		UPDATE sale_order_line SET product_uom_qty = 1 + id %% 7, price_unit = id / 3.0 WHERE order_id = %[1]d;
		INSERT INTO sale_order_tag_rel SELECT %[1]d, i, %[2]d FROM generate_series(1, %[5]d) i`, id, w.id, w.rnd.IntN(1000), lines, w.rnd.IntN(3)); err != nil {
		return err
	}
	for range w.rnd.IntN(4) {
		if err := perform(tx, "UPDATE sale_order SET amount_untaxed = coalesce(amount_untaxed, 0) + 10.5, amount_total = coalesce(amount_total, 0) + 12.50, state = 'sale' WHERE id = %d", id); err != nil {
			return err
		}
	}
	return nil
}

// saves nests savepoints and rolls some back, with everything that was done within.
func (w *writer) saves(tx pgx.Tx) error {
	return w.nest(tx, 1+w.rnd.IntN(3))
}

func (w *writer) nest(tx pgx.Tx, depth int) error {
	for range 1 + w.rnd.IntN(2) {
		name := fmt.Sprintf("s%d", depth)
		if err := perform(tx, "SAVEPOINT %s", name); err != nil {
			return err
		}
		var err error
		switch w.rnd.IntN(4) {
		case 0:
			err = w.order(tx)
		case 1:
			err = perform(tx, "UPDATE sale_order SET priority = '%d' WHERE user_id = %d AND random() < 0.1", w.rnd.IntN(100), w.id)
		case 2:
			err = w.tags(tx)
		default:
			err = perform(tx, "DELETE FROM sale_order_line WHERE user_id = %d AND random() < 0.02", w.id)
		}
		if err == nil && depth > 1 {
			err = w.nest(tx, depth-1)
		}
		if err != nil {
			return err
		}
		switch w.rnd.IntN(5) {
		case 0, 1:
			err = perform(tx, "ROLLBACK TO SAVEPOINT %s", name)
			w.savepoints.Add(1)
		case 2: // as when the ORM runs into a constraint
			var pg *pgconn.PgError
			if err = perform(tx, "INSERT INTO sale_order (id, user_id) SELECT id, user_id FROM sale_order WHERE user_id = %d LIMIT 1", w.id); errors.As(err, &pg) && pg.Code == "23505" {
				err = perform(tx, "ROLLBACK TO SAVEPOINT %s", name)
				w.savepoints.Add(1)
			}
		default:
			err = perform(tx, "RELEASE SAVEPOINT %s", name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// copyLines brings lines by COPY, whose rows share one LSN, and changes some of them.
func (w *writer) copyLines(tx pgx.Tx) error {
	n := 40 + w.rnd.IntN(200)
	batch := w.rnd.Int32()
	_, err := tx.CopyFrom(context.Background(), pgx.Identifier{"sale_order_line"}, []string{"order_id", "user_id", "sequence", "name"},
		pgx.CopyFromSlice(n, func(i int) ([]any, error) { return []any{batch, w.id, i, fmt.Sprintf("imported %d", i)}, nil }))
	if err != nil {
		return err
	}
	return perform(tx, "UPDATE sale_order_line SET qty_invoiced = 1 WHERE order_id = %[1]d AND sequence %% 3 = 0; DELETE FROM sale_order_line WHERE order_id = %[1]d AND sequence %% 5 = 0", batch)
}

// mass updates many rows in one statement, in both of the ORM's ways, and some of them again.
func (w *writer) mass(tx pgx.Tx) error {
	return perform(tx, `UPDATE sale_order_line SET discount = %[2]d WHERE user_id = %[1]d AND random() < 0.1;
		UPDATE sale_order o SET amount_tax = t.tax FROM (VALUES %[3]s) t (rest, tax) WHERE o.user_id = %[1]d AND o.id %% 8 = t.rest;
		UPDATE sale_order_line SET discount = NULL WHERE user_id = %[1]d AND discount = %[2]d AND random() < 0.3`, w.id, w.rnd.IntN(90), "(0, 1.10), (3, 2.25)")
}

// remove deletes: rows that were, rows that were just changed, rows of this very transaction, and rows that come back.
func (w *writer) remove(tx pgx.Tx) error {
	return perform(tx, `DELETE FROM sale_order_line WHERE user_id = %[1]d AND random() < 0.05;
		UPDATE sale_order SET state = 'cancel' WHERE user_id = %[1]d AND random() < 0.05;
		DELETE FROM sale_order WHERE user_id = %[1]d AND state = 'cancel';
		WITH made AS (INSERT INTO sale_order (name, user_id) VALUES ('gone at once', %[1]d) RETURNING id) SELECT count(*) FROM made;
		DELETE FROM sale_order WHERE user_id = %[1]d AND name = 'gone at once';
		CREATE TEMP TABLE back ON COMMIT DROP AS SELECT id FROM sale_order WHERE user_id = %[1]d ORDER BY id LIMIT 2;
		DELETE FROM sale_order WHERE id IN (SELECT id FROM back);
		INSERT INTO sale_order (id, user_id, name) SELECT id, %[1]d, 'back again' FROM back`, w.id)
}

// rekey changes keys, of some records twice.
func (w *writer) rekey(tx pgx.Tx) error {
	return perform(tx, `UPDATE sale_order SET id = nextval('sale_order_id_seq') WHERE id IN (SELECT id FROM sale_order WHERE user_id = %[1]d ORDER BY id LIMIT 2);
		UPDATE sale_order SET id = nextval('sale_order_id_seq'), name = 'moved' WHERE id IN (SELECT max(id) FROM sale_order WHERE user_id = %[1]d);
		UPDATE sale_order_tag_rel SET tag_id = tag_id + 10 WHERE user_id = %[1]d AND tag_id < 50 AND random() < 0.1
			AND NOT EXISTS (SELECT FROM sale_order_tag_rel o WHERE o.order_id = sale_order_tag_rel.order_id AND o.tag_id = sale_order_tag_rel.tag_id + 10)`, w.id)
}

// tags writes the table with the composite key.
func (w *writer) tags(tx pgx.Tx) error {
	return perform(tx, `INSERT INTO sale_order_tag_rel SELECT id, 1 + (id + %[2]d) %% 4, %[1]d FROM sale_order WHERE user_id = %[1]d AND random() < 0.2 ON CONFLICT DO NOTHING;
		UPDATE sale_order_tag_rel SET user_id = user_id WHERE user_id = %[1]d AND random() < 0.1;
		DELETE FROM sale_order_tag_rel WHERE user_id = %[1]d AND random() < 0.1`, w.id, w.rnd.IntN(4))
}

// quiet writes rows without changing anything but write_date.
func (w *writer) quiet(tx pgx.Tx) error {
	return perform(tx, "SET LOCAL torture.quiet = on; UPDATE sale_order SET user_id = user_id WHERE user_id = %[1]d; UPDATE sale_order_line SET user_id = user_id WHERE user_id = %[1]d AND random() < 0.3", w.id)
}

// giant is one large transaction: rows inserted, some of them written again far apart, deleted, moved to
// other keys, and a savepoint with much in it rolled back.
func giant(dsn string, rows int, name string) error {
	conn, err := pgx.Connect(context.Background(), dsn)
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())
	sql := strings.NewReplacer("{rows}", fmt.Sprint(rows), "{name}", name).Replace(`
		BEGIN;
		UPDATE sale_order_line SET sequence = 1 WHERE user_id = -2;
		INSERT INTO sale_order_line (order_id, user_id, sequence, name) SELECT i, -3, i, '{name}' FROM generate_series(1, {rows}) i;
		UPDATE sale_order_line SET price_unit = sequence WHERE name = '{name}' AND sequence % 3 = 0;
		SAVEPOINT a;
		INSERT INTO sale_order_line (order_id, user_id, sequence, name) SELECT i, -3, -i, '{name}' FROM generate_series(1, {rows} / 10) i;
		UPDATE sale_order_line SET price_unit = 0 WHERE name = '{name}' AND sequence % 4 = 0;
		ROLLBACK TO SAVEPOINT a;
		DELETE FROM sale_order_line WHERE name = '{name}' AND sequence % 11 = 0;
		UPDATE sale_order_line SET discount = 5 WHERE name = '{name}' AND sequence % 5 = 0;
		UPDATE sale_order_line SET id = nextval('sale_order_line_id_seq') WHERE name = '{name}' AND sequence % 50 = 1;
		UPDATE sale_order_line SET qty_invoiced = 1 WHERE name = '{name}' AND sequence % 3 = 0;
		UPDATE sale_order_line SET user_id = -2 WHERE name = '{name}' AND sequence % 40 = 0;
		UPDATE sale_order_line SET sequence = 2 WHERE user_id = -2;
		DELETE FROM sale_order_line WHERE user_id = -2 AND id % 3 = 0;
		COMMIT`)
	if _, err := conn.PgConn().Exec(context.Background(), sql).ReadAll(); err != nil {
		return fmt.Errorf("a large transaction: %w", err)
	}
	return nil
}
