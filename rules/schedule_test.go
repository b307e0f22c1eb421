package rules

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"walhook/cdc"
)

// scheduled compiles one rule on schedule.
func scheduled(t testing.TB, config Config) (*Rule, error) {
	t.Helper()
	config.On = []string{"schedule"}
	if config.Every == "" && config.At == nil {
		config.Every = "1h"
	}
	config = rule(config)
	set, err := Compile([]Config{config}, testCatalog())
	if err != nil {
		return nil, err
	}
	return set.Rules()[0], nil
}

func TestTimetable(t *testing.T) {
	const form = "2006-01-02 15:04:05"
	for _, c := range []struct {
		config         Config
		at, last, next string
	}{
		{Config{Every: "1h"}, "2026-03-01 10:30:00", "2026-03-01 10:00:00", "2026-03-01 11:00:00"},
		{Config{Every: "1h"}, "2026-03-01 10:00:00", "2026-03-01 10:00:00", "2026-03-01 11:00:00"},
		{Config{Every: "15s"}, "1969-12-31 23:59:50", "1969-12-31 23:59:45", "1970-01-01 00:00:00"},
		{Config{Every: "1d"}, "2026-03-01 10:30:00", "2026-03-01 00:00:00", "2026-03-02 00:00:00"},
		{Config{At: []string{"06:00"}}, "2026-03-01 05:59:59", "2026-02-28 06:00:00", "2026-03-01 06:00:00"},
		{Config{At: []string{"18:00", "06:00"}}, "2026-03-01 06:00:00", "2026-03-01 06:00:00", "2026-03-01 18:00:00"},
		{Config{At: []string{"00:00"}}, "2026-12-31 23:59:59", "2026-12-31 00:00:00", "2027-01-01 00:00:00"},
		{Config{At: []string{"06:00"}, Timezone: "Europe/Paris"}, "2026-01-10 05:30:00", "2026-01-10 05:00:00", "2026-01-11 05:00:00"},
		{Config{At: []string{"06:00"}, Timezone: "Europe/Paris"}, "2026-07-10 05:30:00", "2026-07-10 04:00:00", "2026-07-11 04:00:00"},
		{Config{At: []string{"06:00"}, Timezone: "Pacific/Auckland"}, "2026-01-09 17:00:00", "2026-01-09 17:00:00", "2026-01-10 17:00:00"},
		// Clocks go forward from 02:00 to 03:00, and back from 03:00 to 02:00.
		{Config{At: []string{"02:30"}, Timezone: "Europe/Paris"}, "2026-03-29 12:00:00", "2026-03-29 01:30:00", "2026-03-30 00:30:00"},
		{Config{At: []string{"02:30"}, Timezone: "Europe/Paris"}, "2026-10-25 12:00:00", "2026-10-25 01:30:00", "2026-10-26 01:30:00"},
	} {
		r, err := scheduled(t, c.config)
		if err != nil {
			t.Fatal(err)
		}
		at, err := time.Parse(form, c.at)
		if err != nil {
			t.Fatal(err)
		}
		table := r.Schedule.Times
		if last, next := table.Last(at).Format(form), table.Next(at).Format(form); last != c.last || next != c.next {
			t.Errorf("%v %v %s at %s: last %s, next %s; want %s, %s", c.config.Every, c.config.At, c.config.Timezone, c.at, last, next, c.last, c.next)
		}
	}
}

// Whatever the zone and its clocks do: Last and Next enclose any time, and nothing of the table lies between them.
func TestTimetableIsWhole(t *testing.T) {
	for _, zone := range []string{"UTC", "Europe/Paris", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca"} {
		r, err := scheduled(t, Config{At: []string{"02:30", "23:59", "00:00"}, Timezone: zone})
		if err != nil {
			t.Fatal(err)
		}
		table := r.Schedule.Times
		for at := time.Date(2011, 12, 20, 0, 7, 0, 0, time.UTC); at.Year() < 2013; at = at.Add(97 * time.Minute) {
			last, next := table.Last(at), table.Next(at)
			if last.After(at) || !next.After(at) || at.Sub(last) > 49*time.Hour || next.Sub(at) > 49*time.Hour {
				t.Fatalf("%s at %s: %s, %s", zone, at, last, next)
			}
			if table.Next(last) != next || table.Last(next.Add(-1)) != last {
				t.Fatalf("%s at %s: after %s comes %s, before %s %s", zone, at, last, table.Next(last), next, table.Last(next.Add(-1)))
			}
		}
	}
}

func TestScheduleProblems(t *testing.T) {
	for _, c := range []struct {
		config  Config
		message string
		hint    string
	}{
		{Config{Every: "1s"}, "out of bounds", "5s to 168h"},
		{Config{Every: "soon"}, "is no duration", "1h"},
		{Config{Every: "1h", At: []string{"06:00"}}, "every or at, not both", ""},
		{Config{At: []string{"6 o'clock"}}, "is no time of day", "06:00"},
		{Config{At: []string{"06:00", "06:00"}}, "is listed twice", ""},
		{Config{Every: "1h", Timezone: "Europe/Paris"}, "every needs no time zone", ""},
		{Config{At: []string{"06:00"}, Timezone: "Europe/Pariss"}, "unknown time zone", ""},
		{Config{First: "sent"}, "unknown way to begin", `did you mean "send"?`},
		{Config{MaxPerRun: -1}, "out of bounds", "1 to"},
		{Config{When: `before.state == "sale"`}, "there is no before", "write after"},
		{Config{When: `became("state", "sale")`}, "became has nothing to compare them with", "has become true"},
		{Config{When: `changed("state")`}, "changed has nothing to compare them with", ""},
		{Config{When: `tx.xid == 1`}, "there is no transaction", "now()"},
		{Config{When: `after.stat == "sale"`}, `unknown field "stat"`, `did you mean "state"?`},
		{Config{Debounce: "5s"}, "debounce has no meaning here", ""},
		{Config{Ignore: []string{"name"}}, "ignore has no meaning here", ""},
		{Config{Payload: Payload{"x": `before.state`}}, "there is no before", ""},
	} {
		_, err := scheduled(t, c.config)
		var p *Problem
		if !errors.As(err, &p) || !strings.Contains(p.Message, c.message) || !strings.Contains(p.Suggest, c.hint) {
			t.Errorf("%+v: %v, %v", c.config, err, p)
		}
	}
	if _, err := Compile([]Config{{Name: "r", Model: "sale.order", On: []string{"schedule"}, Endpoint: "erp"}}, testCatalog()); err == nil || !strings.Contains(err.Error(), "needs its times") {
		t.Errorf("without times: %v", err)
	}
}

// What of a condition goes to SQL. Each line says as much as SQL can tell as an expression does; - is nothing.
func TestNarrow(t *testing.T) {
	at := time.Date(2026, 3, 1, 10, 30, 0, 123456000, time.UTC)
	for _, c := range []struct{ when, want string }{
		{``, `-`},
		{`after.state == "sale"`, `("state" = 'sale'::text)`},
		{`"sale" == after.state`, `("state" = 'sale'::text)`},
		{`after.state != "sale"`, `(("state" = 'sale'::text COLLATE "C") IS NOT TRUE)`},
		{`after.state in ["sale", "sent"]`, `(("state" = 'sale'::text) OR ("state" = 'sent'::text))`},
		{`after.state not in ["sale", "sent"]`, `((("state" = 'sale'::text COLLATE "C") OR ("state" = 'sent'::text COLLATE "C")) IS NOT TRUE)`},
		{`after.partner_id == nil`, `("partner_id" IS NULL)`},
		{`after.partner_id != nil`, `(("partner_id" IS NULL) IS NOT TRUE)`},
		{`after.amount_total > 100.50`, `("amount_total" > '100.50'::numeric)`},
		{`100 <= after.priority`, `("priority" >= 100::int8)`},
		{`after.priority < 1.5`, `("priority" < '1.5'::numeric)`},
		{`after.validity_date < date(now())`, `("validity_date" < '2026-03-01 00:00:00Z'::timestamp)`},
		{`after.validity_date + duration("7d") < now()`, `("validity_date" < '2026-02-22 10:30:00.123456Z'::timestamp)`},
		{`after.date_order < now() - duration("1h")`, `("date_order" < '2026-03-01 09:30:00.123456Z'::timestamp)`},
		{`after.signed_on >= date("2026-01-01")`, `("signed_on" >= '2026-01-01 00:00:00Z'::timestamptz)`},
		{`after.date_order < now().In(timezone("Europe/Paris"))`, `("date_order" < '2026-03-01 10:30:00.123456Z'::timestamp)`},
		{`after.locked`, `("locked" IS TRUE)`},
		{`!after.locked`, `(("locked" IS TRUE) IS NOT TRUE)`},
		{`after.locked == false`, `("locked" IS NOT TRUE)`},
		{`after.state == "sale" && lower(after.name) == "x"`, `(("state" = 'sale'::text))`},
		{`after.state == "sale" || lower(after.name) == "x"`, `-`},
		{`!(after.state == "sale" && lower(after.name) == "x")`, `-`},
		{`!(after.state == "sale" || after.priority > 3)`, `((("state" = 'sale'::text COLLATE "C") OR ("priority" > 3::int8)) IS NOT TRUE)`},
		{`after.name > "m"`, `("name" > 'm'::text COLLATE "C")`},
		{`after.weight > 1`, `-`},    // binary fractions compare by their digits here
		{`after.meta == nil`, `-`},   // JSON's null is NULL here
		{`after.locked == nil`, `-`}, // Odoo's booleans are never NULL here
		{`ref("partner_id").name == "x" && after.priority == 2`, `(("priority" = 2::int8))`},
		{`after.priority == after.big`, `-`},
		{`after.name == "it's \\ $1"`, `("name" = 'it''s \ $1'::text)`},
		{`true`, `true`},
		{`after.name == "\u0000"`, `-`},
		{`after.priority > 1/0`, `-`},
	} {
		r, err := scheduled(t, Config{When: c.when})
		if err != nil {
			t.Errorf("%s: %v", c.when, err)
			continue
		}
		set := &Set{rules: []*Rule{r}, watched: map[tableName]*watched{}}
		got := "-"
		if f := set.NewMatcherOf(r).Filter(r, at); f != nil {
			got = f.String()
		}
		if got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.when, got, c.want)
		}
	}
}

func TestScheduledRuleLooks(t *testing.T) {
	cat := testCatalog()
	set := mustCompile(t, cat, Config{Name: "due", On: []string{"schedule"}, Every: "1h", When: `after.validity_date < date(now()) && after.state == "sent"`, Fields: []string{"name", "amount_total"}},
		Config{Name: "all", On: []string{"schedule"}, Every: "1h"}, Config{Name: "change", On: []string{"create"}})
	rel := relationOf(cat.Model("sale.order").Table)
	due, all := set.Rules()[0], set.Rules()[1]
	if got := fmt.Sprint(due.Columns()); got != "[id name state amount_total validity_date]" {
		t.Errorf("reads %s", got)
	}
	for _, c := range all.Columns() {
		if c == "access_token" {
			t.Error("a secret is read")
		}
	}
	if len(set.Scheduled()) != 2 || len(set.Needs()) != 1 || due.LooksAround() {
		t.Errorf("scheduled %v, needs %v", set.Scheduled(), set.Needs())
	}
	m := set.NewMatcherOf(due)
	row := &cdc.Change{Op: cdc.Schedule, Rel: rel, Key: "42", After: rowOf(t, rel, record{"id": "42", "state": "sent", "validity_date": "2026-02-28"})}
	if ok, err := m.Holds(due, testTx, row); !ok || err != nil {
		t.Errorf("holds: %v, %v", ok, err)
	}
	if got := m.Match(nil, testTx, row); len(got) != 1 || got[0].Rule != due {
		t.Errorf("a matcher of one rule matched %v", got)
	}
	if due.EventOf(row) != "sale.order.schedule" {
		t.Errorf("event %q", due.EventOf(row))
	}
	if net, raw := set.Wants("public", "sale_order"); !net || raw {
		t.Errorf("wants %v, %v", net, raw)
	}
}
