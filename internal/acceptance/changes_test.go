package acceptance

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"walhook/internal/pgtest"
)

const changesRules = `
[endpoints.erp]
url = "{{receiver}}/erp"
secrets = ["` + secret + `"]
[[rules]]
name = "archived"
model = "res.partner"
on = ["archive", "unarchive"]
fields = ["name"]
endpoint = "erp"
[[rules]]
name = "order"
model = "sale.order"
on = ["create", "write", "unlink"]
rollup = { order_line = ["product_uom_qty"], tag_ids = true }
when = 'changed("order_line", "tag_ids") || op == "unlink"'
fields = ["name"]
endpoint = "erp"
[[rules]]
name = "line_gone"
model = "sale.order.line"
on = ["unlink"]
when = "cascade != nil"
fields = ["product_uom_qty"]
endpoint = "erp"
[[rules]]
name = "not_by_admin"
model = "res.partner"
on = ["write"]
when = 'changed("ref")'
ignore_users = ["admin"]
fields = ["ref"]
endpoint = "erp"
[[rules]]
name = "held"
model = "res.partner"
on = ["write"]
when = 'changed("comment")'
upgrades = "hold"
fields = ["comment"]
endpoint = "erp"
[[rules]]
name = "dropped"
model = "res.partner"
on = ["write"]
when = 'changed("comment")'
upgrades = "drop"
fields = ["comment"]
endpoint = "erp"
`

// What changes mean, on a real Odoo database (B7, B9, B11): archiving, lines and tags of an order, what is deleted along with it, what a certain user
// writes, and an upgrade of all modules.
func TestChangesOfRealOdoo(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	in := install(t, pgtest.Odoo(t, "18"), r, changesRules)
	in.must("setup", "--dsn", in.owner)
	if out := in.must("check"); !strings.Contains(out, "ready") {
		t.Fatal(out)
	}
	conn := pgtest.Connect(t, in.super)
	number := func(sql string) (n int) {
		t.Helper()
		if err := conn.QueryRow(context.Background(), sql).Scan(&n); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		return n
	}
	order := number("SELECT o.id FROM sale_order o WHERE state = 'draft' AND (SELECT count(*) FROM sale_order_line l WHERE l.order_id = o.id) > 1 ORDER BY id LIMIT 1")
	line := number(fmt.Sprintf("SELECT min(id) FROM sale_order_line WHERE order_id = %d", order))
	lines := number(fmt.Sprintf("SELECT count(*) FROM sale_order_line WHERE order_id = %d", order))
	p := in.run()
	of := func(rule string, n int) (list []received) {
		t.Helper()
		in.wait(fmt.Sprintf("%d events of %s", n, rule), 30*time.Second, func() bool {
			list = nil
			for _, e := range r.all() {
				if e.Data.Rule == rule {
					list = append(list, e)
				}
			}
			return len(list) >= n
		}, p)
		return list
	}
	run := func(sql string, args ...any) {
		t.Helper()
		pgtest.Exec(t, in.super, fmt.Sprintf(sql, args...))
	}

	run("UPDATE res_partner SET active = false, write_date = now() WHERE id = 7")
	run("UPDATE res_partner SET active = true, write_date = now() WHERE id = 7")
	if got := of("archived", 2); got[0].Type != "res.partner.archive" || got[0].Data.Op != "archive" || got[1].Type != "res.partner.unarchive" {
		t.Errorf("archived: %+v", got)
	}

	run("BEGIN; UPDATE sale_order_line SET product_uom_qty = 77, write_date = now() WHERE id = %d; UPDATE sale_order_line SET name = name || '!' WHERE order_id = %d; COMMIT", line, order)
	run("INSERT INTO sale_order_tag_rel (order_id, tag_id) SELECT %d, max(id) FROM crm_tag", order)
	got := of("order", 2)
	var rolled map[string]struct{ Added, Changed, Removed []json.RawMessage }
	if err := json.Unmarshal(got[0].Data.Lines, &rolled); err != nil {
		t.Fatal(err)
	}
	if c := rolled["order_line"]; got[0].Data.Op != "write" || len(c.Added)+len(c.Removed) != 0 || len(c.Changed) != 1 || !strings.HasPrefix(string(c.Changed[0]), fmt.Sprintf(`{"id":%d,"record":{"product_uom_qty":77}`, line)) {
		t.Errorf("lines: %s %s", got[0].Data.Op, got[0].Data.Lines)
	}
	if name := string(got[0].Data.Record["name"]); !strings.HasPrefix(name, `"S0`) {
		t.Errorf("the order of a line is %s", name)
	}
	if tags := string(got[1].Data.Lines); !strings.HasPrefix(tags, `{"tag_ids":{"added":[`) {
		t.Errorf("tags: %s", tags)
	}

	run("DELETE FROM sale_order WHERE id = %d", order)
	gone := of("order", 3)[2]
	if err := json.Unmarshal(gone.Data.Lines, &rolled); err != nil || gone.Data.Op != "unlink" || len(rolled["order_line"].Removed) != lines {
		t.Errorf("the deleted order: %v %+v", err, gone)
	}
	for _, e := range of("line_gone", lines) {
		if want := fmt.Sprintf(`{"model":"sale.order","id":%d}`, order); string(e.Data.Cascade) != want {
			t.Errorf("cascade %s, want %s", e.Data.Cascade, want)
		}
	}

	run("UPDATE res_partner SET ref = 'by admin', write_uid = 2, write_date = now() WHERE id = 7")
	run("UPDATE res_partner SET ref = 'by SQL' WHERE id = 7")
	run("UPDATE res_partner SET ref = 'by another', write_uid = 1, write_date = now() WHERE id = 7")
	refs := of("not_by_admin", 2)
	if a, b := string(refs[0].Data.Record["ref"]), string(refs[1].Data.Record["ref"]); a != `"by SQL"` || b != `"by another"` {
		t.Errorf("sent: %s and %s", a, b)
	}

	// As -u all does it: all modules are marked with the first one that is done, and the others follow, each in a transaction of its own.
	modules := number("SELECT count(*) FROM ir_module_module WHERE state = 'installed'")
	run(`DO $$ DECLARE m record; first bool := true; n int := 0; BEGIN
		FOR m IN SELECT id, name FROM ir_module_module WHERE state = 'installed' ORDER BY id LOOP
			IF first THEN UPDATE ir_module_module SET state = 'to upgrade' WHERE state = 'installed'; first := false; END IF;
			UPDATE ir_model_data SET write_date = now() WHERE module = m.name;
			n := n + 1;
			UPDATE res_partner SET comment = 'upgrade ' || n, write_date = now() WHERE id = 8 AND n %% 10 = 0;
			UPDATE ir_module_module SET state = 'installed', latest_version = latest_version WHERE id = m.id;
			COMMIT;
		END LOOP; END $$`)
	run("UPDATE res_partner SET comment = 'after', write_date = now() WHERE id = 9")
	want := modules/10 + 1
	held := of("held", want)
	upgrades := 0
	for _, e := range held {
		if text := string(e.Data.Record["comment"]); strings.HasPrefix(text, `"upgrade`) {
			if upgrades += 10; text != fmt.Sprintf(`"upgrade %d"`, upgrades) {
				t.Errorf("held and out of order: %s, want number %d", text, upgrades)
			}
		}
	}
	if len(held) != want || upgrades != modules/10*10 {
		t.Errorf("%d events of held rules, want %d", len(held), want)
	}
	if dropped := of("dropped", 1); len(dropped) != 1 || dropped[0].Data.ID.String() != "9" {
		t.Errorf("dropped: %+v", dropped)
	}
	in.stop(p)
	log := p.log.String()
	for _, message := range []string{"modules are being installed, upgraded or removed", "the upgrade of modules is over", "events that were held for the upgrade are queued"} {
		if strings.Count(log, message) != 1 {
			t.Errorf("the log says %d times %q", strings.Count(log, message), message)
		}
	}
	var doc struct {
		Rules []struct {
			Name             string
			Ignored, Dropped int
		}
	}
	out, _ := in.walhook("status", "--json") // it does not run any more
	if err := json.Unmarshal([]byte(out), &doc); err != nil {
		t.Fatal(err)
	}
	for _, rule := range doc.Rules {
		if rule.Name == "not_by_admin" && rule.Ignored != 1 || rule.Name == "dropped" && rule.Dropped != modules/10 {
			t.Errorf("counted: %+v", rule)
		}
	}

	// An event is held, and the process ends before it is released. Of the upgrade nothing is left to go by: the next process releases it all the same.
	p = in.run()
	run("UPDATE ir_module_module SET state = 'to upgrade' WHERE id = (SELECT min(id) FROM ir_module_module)")
	run("UPDATE res_partner SET comment = 'parked', write_date = now() WHERE id = 9")
	in.wait("an event is held", 30*time.Second, func() bool { return number("SELECT count(*) FROM walhook.parked") == 1 }, p)
	in.stop(p)
	run("UPDATE ir_module_module SET state = 'installed' WHERE id = (SELECT min(id) FROM ir_module_module); UPDATE walhook.upgrade SET ended_at = now(), outcome = 'done', modules = '{}', held = 0 WHERE ended_at IS NULL")
	p = in.run()
	if last := of("held", want+1)[want]; string(last.Data.Record["comment"]) != `"parked"` {
		t.Errorf("released: %+v", last)
	}
	in.stop(p)
}
