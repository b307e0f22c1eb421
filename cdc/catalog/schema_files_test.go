package catalog_test

import (
	"compress/gzip"
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

// columnsOf lists "table.column" of all tables of a dump.
func columnsOf(t testing.TB, dump io.Reader) [][2]string {
	t.Helper()
	var out [][2]string
	var table string
	for line := range strings.Lines(pgtest.TableStatements(t, dump)) {
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
			conn := connect(t, pgtest.OdooSchema(t, version))
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
