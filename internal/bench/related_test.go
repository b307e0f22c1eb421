package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"walhook/internal/pgtest"
)

// Rules of the scenario: the same events with a payload of the order's own fields, and with related records and lines.
const (
	flatPayload = `fields = ["id", "version", "name", "state", "amount_total", "amount_tax", "date_order", "partner_id", "currency_id", "user_id"]`
	richPayload = `[rules.payload]
id       = "id"
version  = "version"
order    = "name"
total    = "amount_total"
customer = "partner_id.name"
country  = "partner_id.country_id.code"
currency = "currency_id.name"
seller   = "user_id.login"
lines    = { each = "order_line", fields = { sku = "product_id.default_code", name = "name", qty = "product_uom_qty", price = "price_unit" } }
`
	linesPerOrder = 5
)

// orders makes sale orders with five lines each, as copies of one that is there, and a way to write them: every transaction writes an order
// and one of its lines.
const orders = `SET session_replication_role = replica;
	ALTER TABLE sale_order ADD COLUMN version int NOT NULL DEFAULT 0;
	CREATE INDEX IF NOT EXISTS sale_order_line_order_bench ON sale_order_line (order_id);
	INSERT INTO sale_order SELECT (jsonb_populate_record(NULL::sale_order, to_jsonb(s) || jsonb_build_object('id', 1000000 + n, 'name', 'B' || n, 'version', 0, 'access_token', NULL,
			'partner_id', p[1 + n %% array_length(p, 1)], 'user_id', u[1 + n %% array_length(u, 1)], 'currency_id', c))).*
		FROM (SELECT * FROM sale_order ORDER BY id LIMIT 1) s, (SELECT array_agg(id) AS p FROM res_partner) p, (SELECT array_agg(id) AS u FROM res_users) u,
			(SELECT min(id) AS c FROM res_currency WHERE active) c, generate_series(0, %[1]d - 1) n;
	INSERT INTO sale_order_line SELECT (jsonb_populate_record(NULL::sale_order_line, to_jsonb(l) || jsonb_build_object('id', 10000000 + n * 5 + k, 'order_id', 1000000 + n, 'sequence', 10 * k, 'name', 'line ' || k,
			'product_id', p[1 + (n + k) %% array_length(p, 1)]))).*
		FROM (SELECT * FROM sale_order_line ORDER BY id LIMIT 1) l, (SELECT array_agg(id) AS p FROM product_product) p, generate_series(0, %[1]d - 1) n, generate_series(1, 5) k;
	ANALYZE sale_order, sale_order_line;
	CREATE OR REPLACE PROCEDURE order_backlog(events int, records int) LANGUAGE plpgsql AS $$
	BEGIN
		SET LOCAL synchronous_commit = off;
		FOR i IN 0 .. events - 1 LOOP
			UPDATE sale_order SET version = version + 1, amount_total = 100 + i, write_date = now() WHERE id = 1000000 + i %% records;
			UPDATE sale_order_line SET price_unit = i, write_date = now() WHERE id = 10000000 + (i %% records) * 5 + 1 + i %% 5;
			COMMIT;
			SET LOCAL synchronous_commit = off;
		END LOOP;
	END $$`

// newOrders is a world with sale orders: Odoo 18's own database where it is at hand, and tables of that shape otherwise.
func newOrders(t *testing.T, durable, real bool, records int) *world {
	t.Helper()
	w := startWorld(t, durable)
	if real {
		pgtest.LoadOdoo(t, w.server.DSN(database), "18")
	} else {
		for _, path := range []string{filepath.Join("..", "..", "cmd", "walhook", "demo", "schema.sql"), filepath.Join("testdata", "more.sql")} {
			sql, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			w.exec(string(sql))
		}
	}
	w.exec(fmt.Sprintf(orders, records))
	w.rule = richPayload
	w.install()
	return w
}

// orderBacklog makes here and now the place where rounds begin to read, and writes transactions behind it.
func (w *world) orderBacklog(events, records int) {
	w.t.Helper()
	w.dropSlots()
	w.exec("CHECKPOINT", "SELECT pg_create_logical_replication_slot('"+slotBase+"', 'pgoutput')")
	w.exec(fmt.Sprintf("CALL order_backlog(%d, %d)", events, records))
}

// drainOrders empties the backlog with a payload.
func (w *world) drainOrders(payload string, events int, path string) drained {
	w.rule = payload
	return w.drain(events, path, 32)
}

// related compares a payload of related records with a flat one.
func (b *bench) related() {
	s := b.report.scenario("g", "a backlog of %d transactions that write one of %d sale orders and one of its five lines: a flat payload, and one of three relations and the lines", b.events, b.records)
	w := newOrders(b.t, true, pgtest.HasOdoo("18"), b.records)
	w.orderBacklog(b.events, b.records)
	for range b.rounds {
		s.add("flat", w.drainOrders(flatPayload, b.events, "/ok/flat").figures()...)
		s.add("related", w.drainOrders(richPayload, b.events, "/ok/related").figures()...)
		w.source = "related_cache = 0"
		s.add("nothing kept", w.drainOrders(richPayload, b.events, "/ok/kept").figures()...)
		w.source = ""
	}
	s.target("rate of the flat payload against the other's", s.ratio("flat", "related", "webhooks/s"), false, 3)
	s.target("CPU of the other against the flat payload's", s.ratio("related", "flat", "CPU"), false, 3)
}

// TestRelatedShort: what the rich payload says is what stands in the tables, for few events.
func TestRelatedShort(t *testing.T) {
	const events, records = 300, 60
	w := newOrders(t, false, false, records)
	w.orderBacklog(events, records)
	w.drainOrders(flatPayload, events, "/ok/flat")
	w.drainOrders(richPayload, events, "/ok/related")
	conn := pgtest.Connect(t, w.server.DSN(state))
	// The look-up came after the backlog was written: every body shows the lines as they are now, in their order.
	rows, err := conn.Query(context.Background(), "SELECT convert_from(body, 'UTF8')::jsonb #>> '{data,record,lines}' FROM walhook.delivery WHERE record = '1000007'")
	if err != nil {
		t.Fatal(err)
	}
	bodies, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(bodies) != events/records {
		t.Fatalf("%d deliveries, %v", len(bodies), err)
	}
	var want string
	if err := w.super.QueryRow(context.Background(), `SELECT jsonb_agg(jsonb_build_object('sku', p.default_code, 'name', l.name, 'qty', l.product_uom_qty, 'price', l.price_unit) ORDER BY l.sequence, l.id)::text
		FROM sale_order_line l JOIN product_product p ON p.id = l.product_id WHERE l.order_id = 1000007`).Scan(&want); err != nil {
		t.Fatal(err)
	}
	for _, body := range bodies {
		if body != want || strings.Count(body, "sku") != linesPerOrder {
			t.Errorf("lines are\n%s, want\n%s", body, want)
		}
	}
}
