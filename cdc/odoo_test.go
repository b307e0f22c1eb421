package cdc

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"walhook/internal/pgtest"
)

// A day's work of a real Odoo database: what the changes say of each row at the end is what SELECT gives, each before is the
// after that came earlier, and every value of every column converts.
func TestOdooWorkload(t *testing.T) {
	const version = "18"
	dsn := pgtest.Odoo(t, version)
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.WithoutCancel(t.Context())) })
	s := &walSource{t: t, dsn: dsn, conn: conn}
	if err := conn.QueryRow(t.Context(), "SELECT current_database()").Scan(&s.slot); err != nil {
		t.Fatal(err)
	}
	s.exec(`DO $$ DECLARE r regclass; BEGIN FOR r IN SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
		LOOP EXECUTE format('ALTER TABLE %s REPLICA IDENTITY FULL', r); END LOOP; END $$`)
	s.exec("CREATE PUBLICATION p FOR ALL TABLES")
	s.exec("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", s.slot)
	s.exec("SET datestyle = 'ISO'; SET timezone = 'UTC'; SET synchronous_commit = on")
	pgtest.PlayWorkload(t, version, dsn)
	s.exec("CREATE TABLE walhook_flush ()") // commits synchronously, and all before it with it

	messages := s.messages()
	var inMemory []string
	for _, tx := range play(t, s.decoder(wantNet, Limits{}), messages...) {
		inMemory = append(inMemory, fmt.Sprint("tx ", tx.XID))
		inMemory = append(inMemory, showAll(t, tx)...)
	}
	rows := map[*Relation]map[string][]string{} // columns of the last row after, as rawRow writes them; nil once deleted
	var changes, spilled int
	var line int
	for _, tx := range play(t, s.decoder(wantNet, Limits{Memory: 1 << 14, TempDir: t.TempDir()}), messages...) {
		if tx.Spilled() {
			spilled++
		}
		line++
		for c, err := range tx.Changes() {
			if err != nil {
				t.Fatal(err)
			}
			changes++
			if got := show(c); line >= len(inMemory) || inMemory[line] != got {
				t.Fatalf("with a file: %s", got)
			}
			line++
			for _, r := range []Row{c.Before, c.After} {
				if r.Relation() == nil {
					continue
				}
				for i, col := range c.Rel.Columns {
					if _, err := r.Value(i).Any(); err != nil {
						t.Errorf("%s.%s: %v", c.Rel, col.Name, err)
					}
				}
			}
			if rows[c.Rel] == nil {
				rows[c.Rel] = map[string][]string{}
			}
			if before, seen := rows[c.Rel][c.Key]; seen && strings.Join(before, "") != rawRow(c.Before) {
				t.Errorf("%s %s: before is not the after of the last transaction", c.Rel, c.Key)
			}
			var after []string
			for i := range c.After.at {
				v := c.After.Value(i)
				after = append(after, rawRow(Row{Image: ImageFull, rel: &Relation{Columns: c.Rel.Columns[i : i+1]}, tuple: AppendTuple(nil, []Value{v}), at: []uint32{0}}))
			}
			rows[c.Rel][c.Key] = after
		}
	}
	if changes < 500 || spilled == 0 {
		t.Errorf("only %d changes, %d transactions in a file", changes, spilled)
	}
	compared := 0
	for rel, want := range rows {
		for key, row := range selectRows(t, conn, rel) {
			if after, ok := want[key]; ok {
				compared++
				if strings.Join(after, "") != row {
					t.Errorf("%s %s:\nWAL    %s\nSELECT %s", rel, key, after, row)
				}
				delete(want, key)
			}
		}
		for key, after := range want {
			if after != nil {
				t.Errorf("%s %s is not in the table any more", rel, key)
			}
		}
	}
	t.Logf("%d changes, %d transactions spilled, %d rows compared", changes, spilled, compared)
}

// selectRows reads a table by key, in the form of rawRow and in the text form of a SELECT.
func selectRows(t *testing.T, conn *pgx.Conn, rel *Relation) map[string]string {
	t.Helper()
	var columns []string
	for _, c := range rel.Columns {
		columns = append(columns, pgx.Identifier{c.Name}.Sanitize())
	}
	results, err := conn.PgConn().Exec(t.Context(), "SELECT "+strings.Join(columns, ", ")+" FROM "+pgx.Identifier{rel.Schema, rel.Name}.Sanitize()).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, r := range results[0].Rows {
		values := make([]Value, len(r))
		for i, text := range r {
			values[i] = Value{State: Present, Text: text}
			if text == nil {
				values[i] = Value{State: Null}
			}
		}
		row, ok := NewRow(rel, ImageFull, AppendTuple(nil, values))
		if !ok {
			t.Fatalf("%s has changed its shape", rel)
		}
		key, _ := appendKey(nil, row)
		out[string(key)] = rawRow(row)
	}
	return out
}
