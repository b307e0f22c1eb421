package state

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
)

// TestDocumentedTables compares the relations that docs/delivery.md names with those of the schema, and runs its queries.
func TestDocumentedTables(t *testing.T) {
	file, err := os.ReadFile(filepath.Join("..", "docs", "delivery.md"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(file)
	_, section, ok := strings.Cut(text, "\n## Tables and views\n")
	if !ok {
		t.Fatal("docs/delivery.md has no section on tables")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	db := openState(t, nil)
	const relations = `SELECT relname FROM pg_catalog.pg_class WHERE relnamespace = $1::text::regnamespace AND relkind IN ('r', 'p', 'v') AND NOT relispartition ORDER BY relname COLLATE "C"`
	rows, err := db.pool.Query(t.Context(), relations, db.cfg.Schema)
	if err != nil {
		t.Fatal(err)
	}
	want, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(section) {
		if m := regexp.MustCompile("^\\| ((?:`\\w+`(?:, )?)+) \\|").FindStringSubmatch(line); m != nil {
			for _, name := range strings.Split(m[1], ", ") {
				got = append(got, strings.Trim(name, "`"))
			}
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("relations (-schema +docs):\n%s", diff)
	}

	p := register(t, db)
	f := newFeed(t, p)
	f.enqueue(t, all, f.delivery("erp", "sale.order/42"))
	queries := 0
	for _, block := range regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllStringSubmatch(text, -1) {
		for _, q := range strings.Split(block[1], ";\n") {
			if q = strings.TrimSpace(q); q == "" {
				continue
			}
			queries++
			if _, err := db.pool.Exec(t.Context(), q); err != nil {
				t.Errorf("%v in\n%s", err, q)
			}
		}
	}
	if queries == 0 {
		t.Error("no query")
	}
}
