package catalog_test

import (
	"bufio"
	"compress/gzip"
	"encoding/csv"
	"io"
	"os"
	"strings"
	"testing"

	"walhook/internal/pgtest"
)

// open opens a recorded file of a real Odoo, unpacked; the test is skipped when it is absent.
func open(t testing.TB, name string) io.Reader {
	t.Helper()
	f, err := os.Open(pgtest.OdooFile(t, name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	r, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// schemaOf returns the file that holds a version's CREATE TABLE statements.
func schemaOf(version string) string {
	if version == "16" || version == "18" {
		return version + "/database.sql.gz"
	}
	return version + "/schema.sql.gz"
}

// tableStatements returns the CREATE TABLE statements and primary keys of a
// dump, without what else it holds.
func tableStatements(t testing.TB, dump io.Reader) string {
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

// columnsOf lists "table.column" of all tables of a dump.
func columnsOf(t testing.TB, dump io.Reader) [][2]string {
	t.Helper()
	var out [][2]string
	var table string
	for line := range strings.Lines(tableStatements(t, dump)) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "CREATE TABLE "):
			table = strings.Trim(strings.TrimPrefix(strings.TrimSuffix(strings.TrimPrefix(line, "CREATE TABLE "), " ("), "public."), `"`)
		case strings.HasPrefix(line, "    CONSTRAINT "), strings.HasPrefix(line, "    ADD "):
		case strings.HasPrefix(line, "    ") && table != "":
			name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
			out = append(out, [2]string{table, strings.Trim(name, `"`)})
		case strings.HasPrefix(line, ")"):
			table = ""
		}
	}
	return out
}

// The registries of 17 and 19, whose databases are not at hand: their tables, with the
// fields as they were read from them.
func TestLoadOdoo17And19(t *testing.T) {
	for _, version := range []string{"17", "19"} {
		t.Run(version, func(t *testing.T) {
			tables := tableStatements(t, open(t, schemaOf(version)))
			fields, err := csv.NewReader(open(t, version+"/ir_model_fields.csv.gz")).ReadAll()
			if err != nil {
				t.Fatal(err)
			}
			var insert strings.Builder
			insert.WriteString("SET session_replication_role = replica; CREATE TEMP TABLE f (model text, name text, ttype text, relation text, relation_field text, relation_table text, column1 text, column2 text, store text, translate text, required text, related text); INSERT INTO f VALUES ")
			for i, f := range fields[1:] {
				if i > 0 {
					insert.WriteByte(',')
				}
				insert.WriteString("('" + strings.Join(f[:12], "','") + "')")
			}
			translate := "coalesce(nullif(translate, ''), 'f')::boolean"
			if version == "19" {
				translate = "nullif(translate, '')"
			}
			insert.WriteString(`;
INSERT INTO ir_model (id, model, name, "order", transient) SELECT row_number() OVER (), model, jsonb_build_object('en_US', model), 'id', false FROM (SELECT DISTINCT model FROM f) m;
INSERT INTO ir_model_fields (id, model_id, model, name, state, field_description, ttype, relation, relation_field, relation_table, column1, column2, store, related, translate)
SELECT row_number() OVER (), 1, model, name, 'base', jsonb_build_object('en_US', name), ttype, nullif(relation, ''), nullif(relation_field, ''),
       nullif(relation_table, ''), nullif(column1, ''), nullif(column2, ''), store = 't', nullif(related, ''), ` + translate + ` FROM f`)

			conn := connect(t, pgtest.Database(t))
			exec(t, conn, tables)
			exec(t, conn, "SET search_path = public; "+insert.String())
			cat := load(t, conn)
			checkModels(t, conn, cat)
			checkSaleOrderFields(t, cat)
			checkInheritance(t, cat, version)
			cost := cat.Model("product.product").Field("standard_price")
			if !cost.CompanyDependent && version == "17" || (cost.Column == nil) != (version == "17") {
				t.Errorf("standard_price is %+v", cost)
			}
			if version == "19" && !cat.Model("sale.order.template").Field("note").Translated {
				t.Error("html_translate is not seen as translated")
			}
		})
	}
}
