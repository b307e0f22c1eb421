package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"walhook/internal/pgtest"
)

// The commands that try rules show all groups of a rule that splits.
func TestSplitOnTheWorkbench(t *testing.T) {
	dir := t.TempDir()
	config, cases := filepath.Join(dir, "walhook.toml"), filepath.Join(dir, "cases.toml")
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(config, fmt.Sprintf(`
[source]
dsn = %q
[endpoints.erp]
url = "http://localhost:1/"
[endpoints.shop]
url = "http://localhost:1/"
[[rules]]
name  = "lines"
model = "sale.order"
on    = ["create"]
split = { each = "order_line", by = "product_id.categ_id.name", where = "display_type == nil", endpoints = { Services = "shop" }, other = "erp" }
[rules.payload]
lines = { each = "order_line", fields = ["name"] }
`, pgtest.Odoo(t, "18")))
	tried := func(want int, args ...string) string {
		t.Helper()
		var out, problems bytes.Buffer
		if code := run(t.Context(), append(args, "--config", config), &out, &problems); code != want {
			t.Fatalf("%v: exit status %d\n%s%s", args, code, &out, &problems)
		}
		return out.String() + problems.String()
	}
	var previews []struct {
		Endpoint string
		Body     struct {
			Data struct {
				Record, Split json.RawMessage
			}
		}
	}
	if err := json.Unmarshal([]byte(tried(exitOK, "rules", "preview", "lines", "--id", "3", "--json")), &previews); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range previews {
		got = append(got, fmt.Sprintf("%s %s %s", p.Endpoint, p.Body.Data.Split, p.Body.Data.Record))
	}
	want := []string{
		`shop {"by":"Services","index":1,"of":2} {"lines":[{"name":"Virtual Interior Design"}]}`,
		`erp {"by":"Office Furniture","index":2,"of":2} {"lines":[{"name":"[FURN_7777] Office Chair"}]}`,
	}
	if diff := cmp.Diff(want, compacted(t, got)); diff != "" {
		t.Errorf("preview (-want +got):\n%s", diff)
	}
	if text := tried(exitOK, "rules", "preview", "lines", "--id", "3"); strings.Count(text, "POST http://localhost:1/") != 2 {
		t.Errorf("preview:\n%s", text)
	}
	if text := tried(exitOK, "rules", "preview", "lines", "--id", "3", "--endpoint", "erp"); strings.Count(text, "POST http://localhost:1/") != 1 || !strings.Contains(text, "Office Chair") {
		t.Errorf("preview of one endpoint:\n%s", text)
	}
	if text := tried(exitOK, "rules", "explain", "lines", "--id", "3"); !strings.Contains(text, "goes to shop, erp") {
		t.Errorf("explain:\n%s", text)
	}
	if text := tried(exitOK, "rules", "list"); !strings.Contains(text, "shop,erp") {
		t.Errorf("list:\n%s", text)
	}
	write(cases, `
[[cases]]
rule      = "lines"
name      = "two categories"
after     = { name = "S1" }
endpoints = ["erp", "shop"]
payload   = { lines = [{ name = "Desk" }] }
[cases.related]
order_line = [
  { id = 1, name = "Help", product_id = { id = 1, product_tmpl_id = { id = 1, categ_id = { id = 1, name = "Services" } } } },
  { id = 2, name = "Desk", product_id = { id = 2, product_tmpl_id = { id = 2, categ_id = { id = 2, name = "Desks" } } } },
]
`)
	tried(exitOK, "rules", "test", cases)
}

// compacted takes the white space out of JSON in texts.
func compacted(t *testing.T, texts []string) (out []string) {
	t.Helper()
	for _, text := range texts {
		endpoint, list, _ := strings.Cut(text, " ")
		dec := json.NewDecoder(strings.NewReader(list))
		for dec.More() {
			var v json.RawMessage
			if err := dec.Decode(&v); err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			if err := json.Compact(&b, v); err != nil {
				t.Fatal(err)
			}
			endpoint += " " + b.String()
		}
		out = append(out, endpoint)
	}
	return out
}
