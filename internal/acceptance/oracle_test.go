package acceptance

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"

	"walhook/internal/pgtest"
)

// expected is one event that must arrive, exactly once.
type expected struct {
	Rule  string
	Table string
	Key   string // the primary key as text
	Op    string // create, write, unlink

	// The row before and after the transaction, by column, as to_jsonb says it: numbers have all their
	// digits, times no zone. The map itself is nil where there was no row.
	Before, After map[string]json.RawMessage

	Ordinal int   // of the transaction
	Order   int64 // of the record's last change, within all transactions

	booleans map[string]bool // columns whose NULL Odoo means as false
	hidden   map[string]bool // columns that a whole record leaves out without a word
}

// watched are the tables that rules look at.
var watched = []string{"res_partner", "sale_order", "account_move", "stock_picking", "product_template", "stock_quant", "crm_lead"}

// condition is one rule of odoo_test.go, said again in SQL: b is the row before the
// transaction, a the one after it; both are all NULL where there was none.
type condition struct {
	rule, table string
	ops         []string
	sql         string
}

// touched says in SQL that a write changed more than who wrote when. Other writes
// are silent.
const touched = `(n.op <> 'write' OR (n.before - '{write_date,write_uid}'::text[]) IS DISTINCT FROM (n.after - '{write_date,write_uid}'::text[]))`

// conditions are the rules, those that take every change of a table last.
func conditions() []condition {
	create, write, unlink := []string{"create"}, []string{"write"}, []string{"unlink"}
	both, all := []string{"create", "write"}, []string{"create", "write", "unlink"}
	list := []condition{
		{"customer_created", "res_partner", create, `true`},
		{"order_confirmed", "sale_order", both, `a.state IN ('sale', 'done') AND coalesce(b.state, '') NOT IN ('sale', 'done')`},
		{"order_cancelled", "sale_order", write, `a.state = 'cancel' AND b.state IS DISTINCT FROM 'cancel'`},
		{"draft_order_deleted", "sale_order", unlink, `b.state IN ('draft', 'cancel')`},
		{"invoice_posted", "account_move", both, `a.move_type = 'out_invoice' AND a.state = 'posted' AND b.state IS DISTINCT FROM 'posted'`},
		{"invoice_paid", "account_move", write, `a.move_type IN ('out_invoice', 'out_receipt') AND a.state = 'posted'
			AND a.payment_state IN ('paid', 'in_payment') AND coalesce(b.payment_state, '') NOT IN ('paid', 'in_payment')`},
		{"delivery_done", "stock_picking", write, `a.state = 'done' AND b.state IS DISTINCT FROM 'done'
			AND EXISTS (SELECT FROM stock_picking_type t WHERE t.id = a.picking_type_id AND t.code = 'outgoing')`},
		{"price_changed", "product_template", write, `a.list_price IS DISTINCT FROM b.list_price`},
		{"stock_changed", "stock_quant", all, `n.op <> 'write' OR a.quantity IS DISTINCT FROM b.quantity`},
		{"lead_won", "crm_lead", write, `a.stage_id IS DISTINCT FROM b.stage_id
			AND EXISTS (SELECT FROM crm_stage s WHERE s.id = a.stage_id AND s.is_won)`},
		{"partner_archived", "res_partner", write, `b.active AND NOT a.active`},
	}
	for _, table := range watched {
		list = append(list, condition{"all_" + table, table, all, `true`})
	}
	return list
}

//go:embed audit.sql
var audit string

// expectations plays the workload of a version ("18", "16") on a database of its own and returns what the
// rules must make of it: in the order of commits, within a transaction in the order of the records'
// last changes, for one record in the order of the rules.
func expectations(t testing.TB, version string) []expected {
	t.Helper()
	return derive(t, audited(t, version))
}

// audited returns a connection to a database whose workload was played under audit.
func audited(t testing.TB, version string) *pgx.Conn {
	t.Helper()
	dsn := pgtest.Odoo(t, version)
	pgtest.Exec(t, dsn, audit)
	pgtest.PlayWorkload(t, version, dsn)
	return pgtest.Connect(t, dsn)
}

// derive evaluates the conditions.
func derive(t testing.TB, conn *pgx.Conn) []expected {
	t.Helper()
	booleans, hidden := map[string]map[string]bool{}, map[string]map[string]bool{}
	eyes := map[string]sight{}
	for _, table := range watched {
		booleans[table] = columns(t, conn, booleanColumns, table)
		eyes[table] = look(t, conn, table)
		for column := range eyes[table].booleans {
			booleans[table][column] = true
		}
		hidden[table] = columns(t, conn, hiddenColumns, table)
	}
	var all []expected
	for _, c := range conditions() {
		events, err := c.events(conn, booleans[c.table], hidden[c.table])
		if err != nil {
			t.Fatalf("derive %s: %v", c.rule, err)
		}
		for i := range events {
			eyes[c.table].see(events[i].Before)
			eyes[c.table].see(events[i].After)
		}
		all = append(all, events...)
	}
	slices.SortStableFunc(all, func(x, y expected) int { return cmp.Compare(x.Order, y.Order) })
	return all
}

// sight is how Odoo shows columns that hold several values: translated ones in English, company-dependent ones as the value of the record's
// company, or of the first one, or else as the default.
type sight struct {
	translated map[string]bool
	booleans   map[string]bool                       // of the company-dependent ones
	defaults   map[string]map[string]json.RawMessage // company-dependent column → company, "" for all → default
	company    string                                // the first one
}

func look(t testing.TB, conn *pgx.Conn, table string) sight {
	t.Helper()
	s := sight{translated: columns(t, conn, `SELECT f.name FROM ir_model_fields f JOIN pg_attribute a ON a.attrelid = $1::text::regclass AND a.attname = f.name
		WHERE f.model = replace($1, '_', '.') AND f.translate::text = 'true' AND a.atttypid = 'jsonb'::regtype`, table), defaults: map[string]map[string]json.RawMessage{}}
	if err := conn.QueryRow(context.Background(), `SELECT min(id)::text FROM res_company`).Scan(&s.company); err != nil {
		t.Fatal(err)
	}
	if len(columns(t, conn, `SELECT attname FROM pg_attribute WHERE attrelid = 'ir_model_fields'::regclass AND attname = 'company_dependent' AND $1 <> ''`, table)) == 0 {
		return s // to 17 the record does not hold them
	}
	const dependent = `SELECT name FROM ir_model_fields WHERE model = replace($1, '_', '.') AND company_dependent`
	s.booleans = columns(t, conn, dependent+` AND ttype = 'boolean'`, table)
	for column := range columns(t, conn, dependent, table) {
		s.defaults[column] = map[string]json.RawMessage{}
	}
	rows, err := conn.Query(context.Background(), `SELECT f.name, coalesce(d.company_id::text, ''), d.json_value FROM ir_default d JOIN ir_model_fields f ON f.id = d.field_id
		WHERE f.model = replace($1, '_', '.') AND f.company_dependent AND d.user_id IS NULL AND d.condition IS NULL`, table)
	if err != nil {
		t.Fatal(err)
	}
	var column, company, value string
	if _, err := pgx.ForEachRow(rows, []any{&column, &company, &value}, func() error {
		s.defaults[column][company] = json.RawMessage(value)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return s
}

// see replaces what is stored by what is shown.
func (s sight) see(row map[string]json.RawMessage) {
	stored := func(column string) map[string]json.RawMessage {
		var values map[string]json.RawMessage
		_ = json.Unmarshal(row[column], &values) // NULL holds none
		return values
	}
	for column := range s.translated {
		if _, there := row[column]; there {
			row[column] = orNull(stored(column)["en_US"])
		}
	}
	company := string(row["company_id"])
	if company == "" || company == "null" {
		company = s.company
	}
	for column, defaults := range s.defaults {
		if _, there := row[column]; !there {
			continue
		}
		value, own := stored(column)[company]
		if !own {
			if value, own = defaults[company]; !own {
				value = defaults[""]
			}
		}
		row[column] = orNull(value)
	}
}

func orNull(value json.RawMessage) json.RawMessage {
	if value == nil {
		return json.RawMessage("null")
	}
	return value
}

const booleanColumns = `
	SELECT attname FROM pg_attribute
	 WHERE attrelid = $1::text::regclass AND atttypid = 'boolean'::regtype AND attnum > 0 AND NOT attisdropped`

// hiddenColumns are those of HTML fields and those that hold secrets, of the watched tables all tokens.
const hiddenColumns = `
	SELECT name FROM ir_model_fields WHERE model = replace($1, '_', '.') AND ttype = 'html'
	 UNION
	SELECT attname FROM pg_attribute
	 WHERE attrelid = $1::text::regclass AND attname LIKE '%token%' AND attnum > 0 AND NOT attisdropped`

// columns runs one of the queries above for a table.
func columns(t testing.TB, conn *pgx.Conn, sql, table string) map[string]bool {
	t.Helper()
	rows, err := conn.Query(context.Background(), sql, table)
	if err != nil {
		t.Fatal(err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	set := make(map[string]bool, len(names))
	for _, name := range names {
		set[name] = true
	}
	return set
}

func (c condition) events(conn *pgx.Conn, booleans, hidden map[string]bool) ([]expected, error) {
	row := "NULL::public." + pgx.Identifier{c.table}.Sanitize()
	rows, err := conn.Query(context.Background(), fmt.Sprintf(`
		SELECT n.ordinal, n.last_seq, n.key, n.op, n.before, n.after
		  FROM acceptance.net n
		 CROSS JOIN jsonb_populate_record(%s, n.before) b
		 CROSS JOIN jsonb_populate_record(%s, n.after) a
		 WHERE n.relname = $1 AND n.op = ANY ($2) AND %s AND (%s)`, row, row, touched, c.sql), c.table, c.ops)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (expected, error) {
		e := expected{Rule: c.rule, Table: c.table, booleans: booleans, hidden: hidden}
		return e, row.Scan(&e.Ordinal, &e.Order, &e.Key, &e.Op, &e.Before, &e.After)
	})
}
