package catalog_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"walhook/cdc"
	"walhook/cdc/catalog"
	"walhook/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func connect(t testing.TB, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func exec(t testing.TB, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(context.Background(), sql); err != nil {
		t.Fatalf("%v\n%s", err, sql)
	}
}

func load(t testing.TB, conn *pgx.Conn) *catalog.Catalog {
	t.Helper()
	cat, err := catalog.Load(context.Background(), conn)
	if err != nil {
		t.Fatal(err)
	}
	if status := conn.PgConn().TxStatus(); status != 'I' {
		t.Fatalf("loading left the connection in transaction status %c", status)
	}
	return cat
}

func table(t testing.TB, cat *catalog.Catalog, schema, name string) *catalog.Table {
	t.Helper()
	found := cat.Table(schema, name)
	if found == nil {
		t.Fatalf("no table %s.%s", schema, name)
	}
	return found
}

func TestLoadPlainDatabase(t *testing.T) {
	conn := connect(t, pgtest.Database(t))
	exec(t, conn, `
CREATE SCHEMA app;
CREATE TYPE app.mood AS ENUM ('sad', 'ok');
CREATE DOMAIN app.amount AS numeric(12,2) CHECK (VALUE >= 0);
CREATE DOMAIN app.price AS app.amount;
CREATE DOMAIN app.words AS text[];
CREATE TYPE app.pair AS (a int, b int);
CREATE TYPE app.span AS RANGE (subtype = int4);
CREATE TABLE app.item (
    gone int, b text NOT NULL, a int NOT NULL, note text, mood app.mood, moods app.mood[], price app.price, words app.words,
    pair app.pair, pairs app.pair[], span app.span, vec int2vector, boxes box[], matrix int[][], doc jsonb, bin bytea, at timestamptz,
    code varchar(3), row_name information_schema.sql_identifier, twice int GENERATED ALWAYS AS (a * 2) STORED,
    PRIMARY KEY (a, b) INCLUDE (note));
ALTER TABLE app.item DROP COLUMN gone;
ALTER TABLE app.item REPLICA IDENTITY FULL;
CREATE TABLE "Mixed Case" ("Id" int PRIMARY KEY, "a.b" text, "quo""te" text);
CREATE UNLOGGED TABLE scratch (x int);
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (y int) INHERITS (parent);
CREATE TABLE log (day date NOT NULL, x int) PARTITION BY RANGE (day);
CREATE TABLE log_1 PARTITION OF log FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE empty ();
CREATE VIEW seen AS SELECT 1 AS x;
CREATE MATERIALIZED VIEW kept AS SELECT 1 AS x;
CREATE TEMP TABLE mine (x int);
CREATE SCHEMA "a"; CREATE SCHEMA "a.b";
CREATE TABLE "a"."b.c" (one int); CREATE TABLE "a.b"."c" (two int);
`)
	cat := load(t, conn)
	if cat.Odoo != nil || cat.Models != nil {
		t.Errorf("found Odoo %+v with models %v where there is none", cat.Odoo, cat.Models)
	}
	var names []string
	for _, table := range cat.Tables {
		names = append(names, table.String())
	}
	want := []string{"a.b.c", "a.b.c", "app.item", "public.Mixed Case", "public.child", "public.empty", "public.log", "public.log_1", "public.parent", "public.scratch"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Fatalf("tables (-want +got):\n%s", diff)
	}
	if table(t, cat, "a", "b.c").Column("one") == nil || table(t, cat, "a.b", "c").Column("two") == nil {
		t.Error("names with dots are mixed up")
	}

	type flags struct {
		Identity                         byte
		Key                              []string
		Partitioned, Unlogged, Inherited bool
	}
	for name, want := range map[string]flags{
		"Mixed Case": {Identity: 'd', Key: []string{"Id"}},
		"scratch":    {Identity: 'd', Unlogged: true},
		"parent":     {Identity: 'd', Key: []string{"id"}, Inherited: true},
		"child":      {Identity: 'd'},
		"log":        {Identity: 'd', Partitioned: true},
		"log_1":      {Identity: 'd'},
	} {
		got := table(t, cat, "public", name)
		if diff := cmp.Diff(want, flags{got.Identity, got.PrimaryKey, got.Partitioned, got.Unlogged, got.Inherited}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}

	item := table(t, cat, "app", "item")
	if diff := cmp.Diff([]string{"a", "b"}, item.PrimaryKey); diff != "" {
		t.Errorf("primary key (-want +got):\n%s", diff)
	}
	if item.Identity != 'f' || item.Owner == "" || item.OID == 0 {
		t.Errorf("identity %c, owner %q, oid %d", item.Identity, item.Owner, item.OID)
	}
	type column struct {
		Name, Type, Elem string
		Kind, ElemKind   cdc.Kind
		NotNull, Gen     bool
	}
	var got []column
	for _, c := range item.Columns {
		g := column{Name: c.Name, Type: c.Type.Name, Kind: c.Type.Kind, NotNull: c.NotNull, Gen: c.Generated}
		if c.Type.Elem != nil {
			g.Elem, g.ElemKind = c.Type.Elem.Name, c.Type.Elem.Kind
		}
		got = append(got, g)
	}
	wantColumns := []column{
		{Name: "b", Type: "text", Kind: cdc.KindText, NotNull: true},
		{Name: "a", Type: "integer", Kind: cdc.KindInt, NotNull: true},
		{Name: "note", Type: "text", Kind: cdc.KindText},
		{Name: "mood", Type: "app.mood", Kind: cdc.KindText},
		{Name: "moods", Type: "app.mood[]", Kind: cdc.KindArray, Elem: "app.mood", ElemKind: cdc.KindText},
		{Name: "price", Type: "app.price", Kind: cdc.KindNumeric},
		{Name: "words", Type: "app.words", Kind: cdc.KindArray, Elem: "text", ElemKind: cdc.KindText},
		{Name: "pair", Type: "app.pair", Kind: cdc.KindOther},
		{Name: "pairs", Type: "app.pair[]", Kind: cdc.KindArray, Elem: "app.pair", ElemKind: cdc.KindOther},
		{Name: "span", Type: "app.span", Kind: cdc.KindOther},
		{Name: "vec", Type: "int2vector", Kind: cdc.KindOther},
		{Name: "boxes", Type: "box[]", Kind: cdc.KindArray, Elem: "box", ElemKind: cdc.KindOther},
		{Name: "matrix", Type: "integer[]", Kind: cdc.KindArray, Elem: "integer", ElemKind: cdc.KindInt},
		{Name: "doc", Type: "jsonb", Kind: cdc.KindJSON},
		{Name: "bin", Type: "bytea", Kind: cdc.KindBytes},
		{Name: "at", Type: "timestamp with time zone", Kind: cdc.KindTimestampTZ},
		{Name: "code", Type: "character varying", Kind: cdc.KindText},
		{Name: "row_name", Type: "information_schema.sql_identifier", Kind: cdc.KindText},
		{Name: "twice", Type: "integer", Kind: cdc.KindInt, Gen: true},
	}
	if diff := cmp.Diff(wantColumns, got); diff != "" {
		t.Errorf("columns (-want +got):\n%s", diff)
	}
	if price := item.Column("price").Type; price.OID != 1700 {
		t.Errorf("the domain's type has oid %d, want that of numeric", price.OID)
	}
	if boxes := item.Column("boxes").Type; boxes.Delim != ';' {
		t.Errorf("boxes are separated by %q", boxes.Delim)
	}
	if item.Column("A") != nil || item.Column("gone") != nil {
		t.Error("found a column that is not there")
	}
	for name, want := range map[string]catalog.Content{"bin": catalog.ContentBinary, "doc": catalog.ContentPlain, "note": catalog.ContentPlain,
		"api_key": catalog.ContentSecret, "later": catalog.ContentPlain} {
		if got := item.Content(name); got != want {
			t.Errorf("content of %s is %d, want %d", name, got, want)
		}
	}
}

// The role's and the session's settings must not reach the loader's queries.
func TestLoadUnderHostileSettings(t *testing.T) {
	conn := connect(t, pgtest.Database(t))
	exec(t, conn, `
CREATE SCHEMA evil;
CREATE TABLE evil.pg_class (oid oid, relname text); CREATE TABLE thing (id int PRIMARY KEY);
CREATE FUNCTION evil.ne(name, name) RETURNS boolean LANGUAGE sql AS 'SELECT false';
CREATE OPERATOR evil.<> (LEFTARG = name, RIGHTARG = name, FUNCTION = evil.ne);
SET search_path = evil, pg_catalog, public;
SET default_transaction_isolation = 'read committed'; SET DateStyle = 'German'; SET bytea_output = 'escape'; SET standard_conforming_strings = off;`)
	if table(t, load(t, conn), "public", "thing").PrimaryKey[0] != "id" {
		t.Error("the table was read wrong")
	}
	var path string
	if err := conn.QueryRow(context.Background(), "SHOW search_path").Scan(&path); err != nil || path != "evil, pg_catalog, public" {
		t.Errorf("the session's search_path is now %q (%v)", path, err)
	}
}

func TestLoadCancelled(t *testing.T) {
	conn := connect(t, pgtest.Database(t))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if cat, err := catalog.Load(ctx, conn); !errors.Is(err, context.Canceled) || cat != nil {
		t.Fatalf("got %v, %v", cat, err)
	}
}

func TestLoadOdoo14(t *testing.T) {
	conn := connect(t, pgtest.Database(t))
	exec(t, conn, readFile(t, "testdata/odoo14.sql"))
	cat := load(t, conn)
	if diff := cmp.Diff(&catalog.Odoo{Schema: "public", Version: "14.0.1.3", UUID: "f00d", CreateDate: "2020-10-01 12:00:00"}, cat.Odoo); diff != "" {
		t.Errorf("Odoo (-want +got):\n%s", diff)
	}
	stored := map[string]string{}
	for _, m := range cat.Models {
		stored[m.Name] = m.Table.Name
	}
	if diff := cmp.Diff(map[string]string{
		"sale.order": "sale_order", "mail.notification": "mail_message_res_partner_needaction_rel", "ir.actions.actions": "ir_actions",
		"ir.actions.act_window_close": "ir_actions", "ir.actions.server": "ir_act_server", "x_my_model": "x_my_model", "sale.make.invoice": "sale_make_invoice",
	}, stored); diff != "" {
		t.Errorf("models and tables (-want +got):\n%s", diff)
	}
	for _, name := range []string{"mail.thread", "sale.report"} {
		if !cat.Tableless(name) || cat.Model(name) != nil {
			t.Errorf("%s is taken for a stored model", name)
		}
	}
	if cat.Tableless("sale.order") || cat.Tableless("no.such.model") {
		t.Error("a stored or unknown model is called tableless")
	}
	if m := cat.ModelOf(table(t, cat, "public", "ir_actions")); m == nil || m.Name != "ir.actions.actions" {
		t.Errorf("ir_actions belongs to %+v", m)
	}
	if m := cat.ModelOf(table(t, cat, "public", "sale_order_tag_rel")); m != nil {
		t.Errorf("a relation table belongs to %s", m.Name)
	}
	if !table(t, cat, "public", "ir_actions").Inherited {
		t.Error("ir_actions has children and is not said to")
	}
	if !cat.Model("sale.make.invoice").Transient || cat.Model("sale.order").Transient {
		t.Error("transient is mixed up")
	}

	order := cat.Model("sale.order")
	ot := order.Table
	want := []*catalog.Field{
		{Name: "access_token", Label: "Security Token", Type: "char", Stored: true, Column: ot.Column("access_token")},
		{Name: "active", Label: "Active", Type: "boolean", Stored: true, Column: ot.Column("active")},
		{Name: "id", Label: "ID", Type: "integer", Stored: true, Column: ot.Column("id")},
		{Name: "name", Label: "Order Reference", Type: "char", Stored: true, Column: ot.Column("name")},
		{Name: "note", Label: "Terms", Type: "html", Stored: true, Column: ot.Column("note"), Translated: true},
		{Name: "old_column", Label: "Was stored once", Type: "integer"},
		{Name: "order_line", Label: "Order Lines", Type: "one2many", Stored: true, Relation: "sale.order.line", RelationField: "order_id"},
		{Name: "state", Label: "Status", Type: "selection", Stored: true, Column: ot.Column("state"),
			Selection: []catalog.Option{{Value: "draft", Label: "Quotation"}, {Value: "sent", Label: "Quotation Sent"}, {Value: "sale", Label: "Sales Order"}}},
		{Name: "tag_ids", Label: "Tags", Type: "many2many", Stored: true, Relation: "crm.tag", RelationTable: "sale_order_tag_rel", Column1: "order_id", Column2: "tag_id"},
	}
	byPointer := cmp.Comparer(func(a, b *catalog.Column) bool { return a == b })
	if diff := cmp.Diff(want, order.Fields, byPointer); diff != "" {
		t.Errorf("fields of sale.order (-want +got):\n%s", diff)
	}
	for name, want := range map[string]catalog.Content{"note": catalog.ContentHTML, "active": catalog.ContentBoolean, "access_token": catalog.ContentSecret, "state": catalog.ContentPlain} {
		if got := ot.Content(name); got != want {
			t.Errorf("content of %s is %d, want %d", name, got, want)
		}
	}
}

// Odoo also runs outside of public, where its search_path points.
func TestLoadOdooInAnotherSchema(t *testing.T) {
	conn := connect(t, pgtest.Database(t))
	exec(t, conn, "CREATE SCHEMA erp; SET search_path = erp; "+readFile(t, "testdata/odoo14.sql")+"; RESET search_path; CREATE TABLE public.sale_order (id int PRIMARY KEY)")
	m := load(t, conn).Model("sale.order")
	if m == nil || m.Table.Schema != "erp" {
		t.Fatalf("sale.order is %+v", m)
	}
	if schema, err := catalog.OdooSchema(t.Context(), conn); schema != "erp" || err != nil || load(t, conn).Odoo.Schema != "erp" {
		t.Errorf("Odoo is in %q, %v", schema, err)
	}
	if schema, err := catalog.OdooSchema(t.Context(), connect(t, pgtest.Database(t))); schema != "" || err != nil {
		t.Errorf("a database that is not Odoo's: %q, %v", schema, err)
	}
}

func TestNeutralized(t *testing.T) {
	for value, want := range map[string]bool{"true": true, "True": true, "1": true, "false": false, "0": false, "": false} {
		conn := connect(t, pgtest.Database(t))
		exec(t, conn, readFile(t, "testdata/odoo14.sql")+"; INSERT INTO ir_config_parameter (key, value) VALUES ('database.is_neutralized', '"+value+"')")
		if got := load(t, conn).Odoo.Neutralized; got != want {
			t.Errorf("is_neutralized = %q is taken for %v", value, got)
		}
	}
}

// A registry that is being installed, or is somebody else's table of that name.
func TestLoadPartOfARegistry(t *testing.T) {
	for name, tc := range map[string]struct {
		sql  string
		odoo bool
	}{
		"another ir_model":     {"CREATE TABLE ir_model (id int PRIMARY KEY, colour text)", false},
		"models only":          {"CREATE TABLE ir_model (id int PRIMARY KEY, model text, name text)", false},
		"least columns, empty": {"CREATE TABLE ir_model (id int, model text); CREATE TABLE ir_model_fields (id int, model text, name text, ttype text)", true},
	} {
		t.Run(name, func(t *testing.T) {
			conn := connect(t, pgtest.Database(t))
			exec(t, conn, tc.sql)
			if cat := load(t, conn); (cat.Odoo != nil) != tc.odoo || len(cat.Models) != 0 {
				t.Errorf("Odoo %+v, %d models", cat.Odoo, len(cat.Models))
			}
		})
	}
}

func TestLoadWithLeastPrivileges(t *testing.T) {
	dsn := pgtest.Database(t)
	owner := connect(t, dsn)
	exec(t, owner, readFile(t, "testdata/odoo14.sql"))
	role := pgx.Identifier{"Reader of " + owner.Config().Database}.Sanitize()
	exec(t, owner, "CREATE ROLE "+role)
	t.Cleanup(func() { exec(t, owner, "DROP OWNED BY "+role+"; DROP ROLE "+role) })
	reader := connect(t, dsn)
	exec(t, reader, "SET ROLE "+role)

	refused := func(hint string) {
		t.Helper()
		_, err := catalog.Load(context.Background(), reader)
		var missing *catalog.PrivilegeError
		if !errors.As(err, &missing) {
			t.Fatalf("got %v, want a PrivilegeError", err)
		}
		if got := missing.Hint(); got != hint {
			t.Errorf("hint\n%s\nwant\n%s", got, hint)
		}
		if status := reader.PgConn().TxStatus(); status != 'I' {
			t.Fatalf("the error left the connection in transaction status %c", status)
		}
	}
	refused(`GRANT SELECT ON "public"."ir_model", "public"."ir_model_fields", "public"."ir_model_fields_selection", "public"."ir_config_parameter", "public"."ir_module_module" TO ` + role + `;`)

	exec(t, owner, "GRANT SELECT ON ir_model, ir_model_fields_selection TO "+role)
	exec(t, owner, "GRANT SELECT (key, value) ON ir_config_parameter TO "+role)
	refused(`GRANT SELECT ON "public"."ir_model_fields", "public"."ir_module_module" TO ` + role + `;`)

	exec(t, owner, "REVOKE USAGE ON SCHEMA public FROM public; REVOKE SELECT ON ir_model FROM "+role)
	refused(`GRANT USAGE ON SCHEMA "public" TO ` + role + `; GRANT SELECT ON "public"."ir_model", "public"."ir_model_fields", "public"."ir_module_module" TO ` + role + `;`)

	// What the hint says is enough.
	_, err := catalog.Load(context.Background(), reader)
	var missing *catalog.PrivilegeError
	if !errors.As(err, &missing) {
		t.Fatal(err)
	}
	exec(t, owner, missing.Hint())
	if cat := load(t, reader); cat.Model("sale.order") == nil || cat.Odoo.UUID != "f00d" || cat.Odoo.Version != "14.0.1.3" {
		t.Errorf("read only %+v", cat.Odoo)
	}
	// The version is a courtesy.
	exec(t, owner, "REVOKE SELECT ON ir_module_module FROM "+role)
	if cat := load(t, reader); cat.Odoo.Version != "" || cat.Model("sale.order") == nil {
		t.Errorf("without ir_module_module: %+v", cat.Odoo)
	}
}

func readFile(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimRight(string(b), "; \n")
}
