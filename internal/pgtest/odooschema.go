package pgtest

import (
	"bufio"
	"compress/gzip"
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
)

// OdooSchema returns the DSN of a fresh database that has the tables of an Odoo of which only schema, fields and selections were recorded ("17", "19"),
// with its registry of models, fields and selections, and no other rows.
func OdooSchema(t testing.TB, version string) string {
	t.Helper()
	dsn := Database(t)
	var script strings.Builder
	script.WriteString(TableStatements(t, unpack(t, version+"/schema.sql.gz")))
	script.WriteString("SET search_path = public; SET session_replication_role = replica;\n" +
		"CREATE TEMP TABLE f (model text, name text, ttype text, relation text, relation_field text, relation_table text, column1 text, column2 text, store text, translate text, required text, related text);\n" +
		"CREATE TEMP TABLE s (model text, field text, value text, sequence text, label text);\n")
	insertRows(t, &script, "f", version+"/ir_model_fields.csv.gz", 12)
	insertRows(t, &script, "s", version+"/selections.csv.gz", 5)
	translate := "coalesce(nullif(translate, ''), 'f')::boolean"
	if version == "19" {
		translate = "nullif(translate, '')"
	}
	fmt.Fprintf(&script, `
INSERT INTO ir_model (id, model, name, "order", transient) SELECT row_number() OVER (), model, jsonb_build_object('en_US', model), 'id', false FROM (SELECT DISTINCT model FROM f) m;
INSERT INTO ir_model_fields (id, model_id, model, name, state, field_description, ttype, relation, relation_field, relation_table, column1, column2, store, related, translate)
SELECT row_number() OVER (), 1, model, name, 'base', jsonb_build_object('en_US', name), ttype, nullif(relation, ''), nullif(relation_field, ''),
       nullif(relation_table, ''), nullif(column1, ''), nullif(column2, ''), store = 't', nullif(related, ''), %s FROM f;
INSERT INTO ir_model_fields_selection (id, field_id, sequence, value, name)
SELECT row_number() OVER (), i.id, s.sequence::int, s.value, s.label::jsonb FROM s JOIN ir_model_fields i ON i.model = s.model AND i.name = s.field;
INSERT INTO ir_module_module (id, name, latest_version, state) VALUES (1, 'base', '%s.0.1.3', 'installed');
`, translate, version)
	Exec(t, dsn, script.String())
	return dsn
}

// insertRows writes an INSERT of a recorded table's rows.
func insertRows(t testing.TB, script *strings.Builder, table, name string, columns int) {
	t.Helper()
	rows, err := csv.NewReader(unpack(t, name)).ReadAll()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	fmt.Fprintf(script, "INSERT INTO %s VALUES ", table)
	for i, row := range rows[1:] {
		if i > 0 {
			script.WriteByte(',')
		}
		cells := make([]string, columns)
		for c := range cells {
			cells[c] = "'" + strings.ReplaceAll(row[c], "'", "''") + "'"
		}
		script.WriteString("(" + strings.Join(cells, ",") + ")")
	}
	script.WriteString(";\n")
}

// unpack opens a recorded file.
func unpack(t testing.TB, name string) io.Reader {
	t.Helper()
	f, err := os.Open(OdooFile(t, name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	r, err := gzip.NewReader(f)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return r
}

// TableStatements returns the CREATE TABLE statements and primary keys of a dump, without what else it holds.
func TableStatements(t testing.TB, dump io.Reader) string {
	t.Helper()
	var out, statement strings.Builder
	lines := bufio.NewScanner(dump)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		line := lines.Text()
		if statement.Len() == 0 && !strings.HasPrefix(line, "CREATE TABLE ") && !strings.HasPrefix(line, "ALTER TABLE ONLY ") {
			continue
		}
		statement.WriteString(line + "\n")
		if !strings.HasSuffix(line, ";") {
			continue
		}
		if s := statement.String(); strings.HasPrefix(s, "CREATE TABLE") || strings.Contains(s, "PRIMARY KEY (") {
			out.WriteString(s)
		}
		statement.Reset()
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}
