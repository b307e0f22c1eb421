package acceptance

import (
	"context"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"walhook/internal/pgtest"
)

// counts are the events of each rule, read off the workloads by hand.
var counts = map[string]map[string]int{
	"18": {
		"customer_created": 207, "order_confirmed": 2, "order_cancelled": 1, "draft_order_deleted": 1, "invoice_posted": 1, "invoice_paid": 1,
		"delivery_done": 1, "price_changed": 1, "stock_changed": 12, "lead_won": 1, "partner_archived": 2,
		"all_res_partner": 416, "all_sale_order": 16, "all_account_move": 4, "all_stock_picking": 5, "all_product_template": 3,
		"all_stock_quant": 20, "all_crm_lead": 6,
	},
	"16": {
		"customer_created": 3, "order_confirmed": 2, "order_cancelled": 1, "draft_order_deleted": 1, "invoice_posted": 3, "invoice_paid": 1,
		"delivery_done": 1, "price_changed": 2, "stock_changed": 11, "lead_won": 1, "partner_archived": 1,
		"all_res_partner": 13, "all_sale_order": 11, "all_account_move": 13, "all_stock_picking": 7, "all_product_template": 6,
		"all_stock_quant": 15, "all_crm_lead": 3,
	},
}

// changes is what the README beside the recordings says they hold: row changes, transactions.
var changes = map[string][2]int{"18": {2277, 59}, "16": {548, 60}}

func TestOracleSeesTheWholeWorkload(t *testing.T) {
	for version, want := range changes {
		t.Run(version, func(t *testing.T) {
			ctx := context.Background()
			conn := audited(t, version)
			var got [2]int
			if err := conn.QueryRow(ctx, "SELECT count(*), count(DISTINCT txid) FROM acceptance.change").Scan(&got[0], &got[1]); err != nil {
				t.Fatal(err)
			}
			if got != want {
				t.Errorf("%d changes in %d transactions were seen, the workload has %d in %d", got[0], got[1], want[0], want[1])
			}
			// Ordinals follow commits only while transactions do not overlap.
			var overlaps int
			if err := conn.QueryRow(ctx, `
				SELECT count(*) FROM (SELECT min(seq) AS first, lag(max(seq)) OVER (ORDER BY txid) AS previous
				  FROM acceptance.change GROUP BY txid) AS tx WHERE first < previous`).Scan(&overlaps); err != nil {
				t.Fatal(err)
			}
			if overlaps != 0 {
				t.Errorf("%d transactions overlap with the one before", overlaps)
			}

			events := derive(t, conn)
			found := map[string]int{}
			for _, e := range events {
				found[e.Rule]++
			}
			if diff := cmp.Diff(counts[version], found); diff != "" {
				t.Errorf("events per rule (-want +got):\n%s", diff)
			}
			plausible(t, events)
		})
	}
}

// plausible looks for what cannot be, whatever the workload.
func plausible(t *testing.T, events []expected) {
	t.Helper()
	type record struct{ rule, key string }
	last := map[record]int{} // ordinal of the record's event before
	ordinal := 0
	for _, e := range events {
		if (e.Before == nil) != (e.Op == "create") || (e.After == nil) != (e.Op == "unlink") {
			t.Errorf("%s of %s %s is a %s with before %t, after %t", e.Rule, e.Table, e.Key, e.Op, e.Before != nil, e.After != nil)
		}
		if e.Ordinal < ordinal {
			t.Errorf("%s of %s %s: transaction %d comes after %d", e.Rule, e.Table, e.Key, e.Ordinal, ordinal)
		}
		ordinal = e.Ordinal
		k := record{e.Rule, e.Key}
		if last[k] == e.Ordinal {
			t.Errorf("%s of %s %s: twice in transaction %d", e.Rule, e.Table, e.Key, e.Ordinal)
		}
		last[k] = e.Ordinal
	}
}

// A day that was never recorded shows what net means.
func TestOracleNet(t *testing.T) {
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, `CREATE TABLE thing (id int PRIMARY KEY, name text)`)
	pgtest.Exec(t, dsn, `CREATE TABLE pair (a int, b int, PRIMARY KEY (b, a))`)
	pgtest.Exec(t, dsn, `INSERT INTO thing SELECT n, 'old' FROM generate_series(1, 9) n`)
	pgtest.Exec(t, dsn, audit)
	for _, tx := range []string{
		`INSERT INTO thing VALUES (10, 'a'); UPDATE thing SET name = 'b' WHERE id = 10`,
		`UPDATE thing SET name = 'a' WHERE id = 1; UPDATE thing SET name = 'b' WHERE id = 1`,
		`INSERT INTO thing VALUES (11, 'a'); DELETE FROM thing WHERE id = 11`,
		`UPDATE thing SET name = 'a' WHERE id = 2; DELETE FROM thing WHERE id = 2`,
		`DELETE FROM thing WHERE id = 3; INSERT INTO thing VALUES (3, 'new')`,
		`UPDATE thing SET id = 12, name = 'moved' WHERE id = 4`,
		`SET session_replication_role = replica; INSERT INTO pair VALUES (1, 2)`,
		`UPDATE thing SET name = 'x' WHERE id = 5; UPDATE thing SET name = 'x' WHERE id = 6; UPDATE thing SET name = 'y' WHERE id = 5`,
	} {
		pgtest.Exec(t, dsn, "BEGIN; "+tx+"; COMMIT")
	}
	rows, err := pgtest.Connect(t, dsn).Query(context.Background(), `
		SELECT format('%s %s %s %s: %s > %s', ordinal, op, relname, key, coalesce(before ->> 'name', '-'), coalesce(after ->> 'name', '-'))
		  FROM acceptance.net ORDER BY last_seq`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var got []string
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		got = append(got, line)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"1 create thing 10: - > b",
		"2 write thing 1: old > b",
		"4 unlink thing 2: old > -",
		"5 write thing 3: old > new",
		"6 unlink thing 4: old > -",
		"6 create thing 12: - > moved",
		"7 create pair 2,1: - > -",
		"8 write thing 6: old > x",
		"8 write thing 5: old > y",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("net changes (-want +got):\n%s", diff)
	}
}

// Rules and conditions say the same only when there is one for each other.
func TestEveryRuleHasItsCondition(t *testing.T) {
	var rules, want []string
	for _, match := range regexp.MustCompile(`(?m)^name\s*=\s*"(.*)"$`).FindAllStringSubmatch(rulesFor(), -1) {
		rules = append(rules, match[1])
	}
	for _, c := range conditions() {
		want = append(want, c.rule)
	}
	if diff := cmp.Diff(want, rules); diff != "" {
		t.Errorf("conditions, rules:\n%s", diff)
	}
}
