package acceptance

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/internal/pgtest"
)

const metadataRules = `
[log]
level = "debug"
[endpoints.erp]
url = "{{receiver}}/erp"
secrets = ["` + secret + `"]
[[rules]]
name = "created"
model = "res.partner"
on = ["create"]
endpoint = "erp"
[[rules]]
name = "moved"
model = "res.partner"
on = ["write"]
when = 'changed("city")'
fields = ["city"%s]
endpoint = "erp"
`

// metadataTest is a walhook that streams from a real Odoo database whose models and fields change.
type metadataTest struct {
	*installation
	t    *testing.T
	conn *pgx.Conn
	r    *receiver
	p    *process
}

// partner makes one and waits for its webhook.
func (m *metadataTest) partner() map[string]json.RawMessage {
	m.t.Helper()
	var id int
	if err := m.conn.QueryRow(context.Background(), "INSERT INTO res_partner (name, autopost_bills) VALUES ('x', 'ask') RETURNING id").Scan(&id); err != nil {
		m.t.Fatal(err)
	}
	return m.of("created", id).Data.Record
}

// of waits for the webhook of a record.
func (m *metadataTest) of(rule string, id int) (e received) {
	m.t.Helper()
	m.wait(fmt.Sprintf("%s of partner %d", rule, id), 30*time.Second, func() bool {
		for _, e = range m.r.all() {
			if e.Data.Rule == rule && e.Data.ID.String() == fmt.Sprint(id) {
				return true
			}
		}
		return false
	}, m.p)
	return e
}

// move writes the city of a partner.
func (m *metadataTest) move(id int, city string) {
	m.t.Helper()
	pgtest.Exec(m.t, m.super, fmt.Sprintf("UPDATE res_partner SET city = '%s', write_date = now() WHERE id = %d", city, id))
}

// moved is what status says of the rule: what is wrong with it, and how many of its events are parked.
func (m *metadataTest) moved() (problem string, parked int) {
	m.t.Helper()
	out, _ := m.walhook("status", "--json") // which says that the process is not ready at the moment of taking over
	var doc struct {
		Rules []struct {
			Name    string `json:"name"`
			Problem string `json:"problem"`
			Parked  int    `json:"parked"`
		} `json:"rules"`
	}
	if err := json.Unmarshal([]byte(out), &doc); err != nil {
		m.t.Fatalf("%v\n%s", err, out)
	}
	for _, r := range doc.Rules {
		if r.Name == "moved" {
			return r.Problem, r.Parked
		}
	}
	m.t.Fatalf("no rule moved in %s", out)
	return "", 0
}

// B5: rules follow the database's models and fields while it is changed under them. A rule whose column is gone is told of, its
// events are kept, and the others go on.
func TestMetadataFollowed(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	in := install(t, pgtest.Odoo(t, "18"), r, fmt.Sprintf(metadataRules, `, "function"`))
	in.must("setup", "--dsn", in.owner)
	m := &metadataTest{installation: in, t: t, conn: pgtest.Connect(t, in.super), r: r, p: in.run()}

	// As a module is upgraded: thousands of fields are written anew in many transactions, and one field is new.
	for n := range 40 {
		pgtest.Exec(t, in.super, fmt.Sprintf("UPDATE ir_model_fields SET write_date = now() WHERE id %% 40 = %d", n))
	}
	pgtest.Exec(t, in.super, `BEGIN; ALTER TABLE res_partner ADD x_vip boolean;
		INSERT INTO ir_model_fields (model_id, model, name, ttype, state, store, field_description) SELECT id, model, 'x_vip', 'boolean', 'manual', true, '{"en_US": "VIP"}' FROM ir_model WHERE model = 'res.partner'; COMMIT`)
	// Of an unknown column NULL is null; of a boolean field it is false.
	in.wait("the new field", 30*time.Second, func() bool { return string(m.partner()["x_vip"]) == "false" }, m.p)

	pgtest.Exec(t, in.super, `BEGIN; ALTER TABLE res_partner RENAME "function" TO function_kept; DELETE FROM ir_model_fields WHERE model = 'res.partner' AND name = 'function'; COMMIT`)
	m.move(7, "Here") // while the rules expect the column
	in.wait("the rule to be told of", 30*time.Second, func() bool { problem, parked := m.moved(); return problem != "" && parked == 1 }, m.p)
	m.move(8, "There")
	m.partner()
	in.wait("the events to be parked", 30*time.Second, func() bool { _, parked := m.moved(); return parked == 2 }, m.p)
	if problem, _ := m.moved(); !strings.Contains(problem, `unknown field "function" of res.partner`) {
		t.Errorf("the problem is %q", problem)
	}
	if out, _ := in.walhook("status"); !strings.Contains(out, "moved (does not fit)") {
		t.Errorf("status:\n%s", out)
	}
	if out, err := in.walhook("check"); err == nil || !strings.Contains(out, `unknown field "function"`) {
		t.Errorf("check: %v\n%s", err, out)
	}
	if out := in.must("deliveries", "list", "--state", "parked"); strings.Count(out, "rule moved ") != 2 {
		t.Errorf("parked:\n%s", out)
	}

	pgtest.Exec(t, in.super, `BEGIN; ALTER TABLE res_partner RENAME function_kept TO "function"; INSERT INTO ir_model_fields (model_id, model, name, ttype, state, store, field_description)
		SELECT id, model, 'function', 'char', 'base', true, '{"en_US": "Job"}' FROM ir_model WHERE model = 'res.partner'; COMMIT`)
	in.wait("the rule to fit", 30*time.Second, func() bool { problem, _ := m.moved(); return problem == "" }, m.p)
	m.move(9, "Everywhere")
	if got := string(m.of("moved", 9).Data.Record["city"]); got != `"Everywhere"` {
		t.Errorf("city is %s", got)
	}

	// What was parked knows no function; by a rule that does not ask for it, it is sent.
	text, err := os.ReadFile(in.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(in.config, []byte(strings.Replace(string(text), `, "function"`, "", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	in.must("reload")
	in.must("deliveries", "retry", "--parked", "--rule", "moved", "--yes")
	for id, city := range map[int]string{7: `"Here"`, 8: `"There"`} {
		if got := string(m.of("moved", id).Data.Record["city"]); got != city {
			t.Errorf("city of %d is %s", id, got)
		}
	}
	in.stop(m.p)
	log := m.p.log.String()
	anew, looks := strings.Count(log, "the rules were compiled anew"), strings.Count(log, "in nothing that rules depend on")
	if anew != 3 || looks > 2 {
		t.Errorf("the rules were compiled anew %d times, want 3, and looked at in vain %d times", anew, looks)
	}
	for _, want := range []string{"a rule does not fit the database any more: its events are parked", "a rule fits the database again"} {
		if strings.Count(log, want) != 1 {
			t.Errorf("the log says %d times %q", strings.Count(log, want), want)
		}
	}
}
