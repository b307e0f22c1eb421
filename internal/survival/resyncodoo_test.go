package survival

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"walhook/internal/harness"
	"walhook/internal/pgtest"
)

// Odoo 18's own workload is played while there is no slot: resync tells of all that it has written and of all that it has deleted, and a receiver that knew
// every record before (backfill) knows every record after it.
func TestResyncOdoo(t *testing.T) {
	long(t)
	t.Parallel()
	pgtest.OdooFile(t, "18/workload.sql.gz") // or skip
	s := &site{t: t, super: pgtest.Odoo(t, "18"), rand: rand.New(rand.NewPCG(1, 1))}
	var url string
	s.view, url = newView(t)
	config := fmt.Sprintf("[endpoints.erp]\nurl = %q\n", url)
	models := map[string]string{"res.partner": "res_partner", "sale.order": "sale_order", "account.move": "account_move", "crm.lead": "crm_lead", "stock.picking": "stock_picking"}
	for model := range models {
		config += fmt.Sprintf("[[rules]]\nname = %q\nmodel = %q\non = [\"create\", \"write\", \"unlink\"]\nendpoint = \"erp\"\npayload = { name = \"write_date\", n = \"id\" }\n", model, model)
	}
	s.in = harness.Install(t, s.super, harness.Options{Source: "idle_advance = \"300ms\"", Config: config})
	s.conn = pgtest.Connect(t, s.super)
	s.in.Must("setup", "--dsn", s.in.Owner)
	since := s.one("SELECT to_char(greatest((SELECT max(write_date) FROM res_partner), (SELECT max(write_date) FROM sale_order)) - interval '1 s', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')")
	s.start()
	args := []string{"backfill", "--yes"}
	for model := range models {
		args = append(args, model)
	}
	s.in.Must(args...)
	agree := func(what string) {
		t.Helper()
		for model, table := range models {
			diff := ""
			s.until(what+" of "+model, func() bool {
				diff = difference(s.stamps(table), s.view.stamped(model))
				return diff == "" || s.one("SELECT (SELECT count(*) FROM walhook.queue) + (SELECT count(*) FROM walhook.resync_gone) + (SELECT count(*) FROM walhook.job WHERE state <> 'done')") == "0"
			})
			if diff = difference(s.stamps(table), s.view.stamped(model)); diff != "" {
				t.Errorf("%s of %s: %s", what, model, diff)
			}
		}
	}
	agree("the backfill")
	s.end(syscall.SIGTERM)
	s.lose("dropped")
	pgtest.PlayWorkload(t, "18", s.super)
	s.sql("SET session_replication_role = replica; DELETE FROM crm_lead WHERE id IN (SELECT id FROM crm_lead ORDER BY id LIMIT 3); RESET session_replication_role") // the workload deletes only what it has made
	out := s.in.Must("resync", "--since", since, "--yes")
	s.start()
	agree("the resync")
	if len(s.view.gone) != 3 || s.view.ops["sale.order resync"] == 0 {
		t.Errorf("ops %v, gone %v\n%s", s.view.ops, s.view.gone, out)
	}
	s.end(syscall.SIGTERM)
}

// stamped is what the receiver knows of a model, as stamps writes it.
func (v *view) stamped(model string) map[string]string {
	out := v.all(model)
	for id, value := range out {
		stamp, rest, _ := strings.Cut(value, " ")
		if at, err := time.Parse(time.RFC3339Nano, stamp); err == nil {
			out[id] = at.UTC().Format("2006-01-02T15:04:05.000000") + " " + rest
		}
	}
	return out
}

// stamps is what the receiver is to know of a table of Odoo's.
func (s *site) stamps(table string) map[string]string {
	s.t.Helper()
	rows, err := s.conn.Query(context.Background(), `SELECT id::text, coalesce(to_char(write_date, 'YYYY-MM-DD"T"HH24:MI:SS.US'), '<nil>') || ' ' || id FROM `+table)
	if err != nil {
		s.t.Fatal(err)
	}
	defer rows.Close()
	out := map[string]string{}
	for rows.Next() {
		var id, value string
		if err := rows.Scan(&id, &value); err != nil {
			s.t.Fatal(err)
		}
		out[id] = value
	}
	return out
}
