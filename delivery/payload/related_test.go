package payload_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"walhook/cdc"
	"walhook/cdc/catalog"
	"walhook/delivery/payload"
	"walhook/internal/pgtest"
	"walhook/rules"
)

// source is related rows of a database, looked up as walhook does.
type source struct {
	t    *testing.T
	live *cdc.Live
	rows map[rules.Ref][]cdc.Row
}

// Rows implements [rules.Related].
func (s *source) Rows(l *rules.Link, id int64) ([]cdc.Row, bool) {
	rows, ok := s.rows[rules.Ref{Link: l, ID: id}]
	return rows, ok
}

// fetch looks up what is missing, level by level.
func (s *source) fetch(m *rules.Matcher, tx rules.TxInfo, c *cdc.Change) rules.TxInfo {
	s.t.Helper()
	tx.Related = s
	for {
		refs := m.Missing(nil, tx, c)
		if len(refs) == 0 {
			return tx
		}
		ids := map[*rules.Link][]int64{}
		for _, ref := range refs {
			ids[ref.Link], s.rows[ref] = append(ids[ref.Link], ref.ID), nil
		}
		for l, ids := range ids {
			link := &cdc.Link{Schema: l.Schema, Table: l.Table, By: l.By, Columns: l.Columns, Order: l.Order, Archived: l.Archived, Limit: l.Limit}
			if l.Rel != nil {
				rel := cdc.LinkRelation(*l.Rel)
				link.Rel = &rel
			}
			if err := s.live.Load(s.t.Context(), link, ids, func(id int64, got cdc.Linked) error {
				s.rows[rules.Ref{Link: l, ID: id}] = got.Rows
				return nil
			}); err != nil {
				s.t.Fatal(err)
			}
		}
	}
}

// orderPayload is what people send of a sale order.
var orderPayload = rules.Payload{
	"order": "name", "customer": "partner_id.name", "country": map[string]any{"value": "partner_id.country_id.code", "default": "XX"}, "total": "amount_total", "currency": "currency_id.name",
	"status": `label("state")`, "confirmed": "date_order", "big": "after.amount_total > 10000", "by": "user_id.name", "mail": "user_id.email", "skus": "order_line.product_id.default_code", "tags": "tag_ids.name",
	"lines": map[string]any{"each": "order_line", "where": "display_type == nil", "fields": map[string]any{"sku": "product_id.default_code", "name": "product_id.name", "qty": "product_uom_qty", "price": "price_unit",
		"taxes": map[string]any{"each": "tax_id", "fields": []any{"id", "amount"}}, "of": "parent.name"}},
	"address": map[string]any{"city": "partner_id.city", "zip": "partner_id.zip", "deliver": map[string]any{"to": "partner_shipping_id.name"}},
}

// splitPayload is what shippers get of one.
var splitPayload = rules.Payload{"order": "name", "skus": "order_line.product_id.default_code", "lines": map[string]any{"each": "order_line", "fields": []any{"id", "name", "product_uom_qty"}}}

// orderKeys is the order in which they wrote it.
var orderKeys = [][]string{{"order"}, {"customer"}, {"country"}, {"total"}, {"currency"}, {"status"}, {"confirmed"}, {"big"}, {"by"}, {"mail"}, {"skus"}, {"tags"},
	{"lines"}, {"lines", "fields"}, {"lines", "fields", "sku"}, {"lines", "fields", "name"}, {"lines", "fields", "qty"}, {"lines", "fields", "price"}, {"lines", "fields", "taxes"}, {"lines", "fields", "of"},
	{"address"}, {"address", "zip"}, {"address", "city"}}

// The example of the documentation on real orders, and fields that models inherit.
func TestRelatedOfOdoo(t *testing.T) {
	for _, version := range []string{"18", "16"} {
		t.Run(version, func(t *testing.T) {
			dsn := pgtest.Odoo(t, version)
			conn, err := pgx.Connect(t.Context(), dsn)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close(context.Background()) }()
			cat, err := catalog.Load(t.Context(), conn)
			if err != nil {
				t.Fatal(err)
			}
			live, err := cdc.NewLive(dsn, "test", nil)
			if err != nil {
				t.Fatal(err)
			}
			defer live.Close()
			var got bytes.Buffer
			type records struct {
				config rules.Config
				where  string
			}
			cases := []records{
				{rules.Config{Model: "sale.order", Payload: orderPayload, PayloadOrder: orderKeys, When: `ref("partner_id.country_id").code != "ZZ"`}, "id IN (SELECT order_id FROM sale_order_line) ORDER BY id LIMIT 2"},
				{rules.Config{Model: "product.product", Fields: []string{"default_code", "name", "list_price", "categ_id", "product_variant_ids"}}, "id IN (SELECT product_id FROM sale_order_line) ORDER BY id LIMIT 2"},
				{rules.Config{Model: "res.users", Fields: []string{"login", "name", "email", "tz", "company_ids"}}, "id = 2"},
			}
			if version == "18" { // the orders of the other have lines of one category each
				cases = append(cases, records{rules.Config{Model: "sale.order", Payload: splitPayload, Split: &rules.Split{Each: "order_line", By: "product_id.categ_id.name", Where: "display_type == nil"}}, "id IN (SELECT l.order_id FROM sale_order_line l " +
					"JOIN product_product p ON p.id = l.product_id JOIN product_template t ON t.id = p.product_tmpl_id GROUP BY l.order_id HAVING count(DISTINCT t.categ_id) > 1) ORDER BY id LIMIT 1"})
			}
			for _, tc := range cases {
				tc.config.Name, tc.config.On, tc.config.Endpoint = "r", []string{"create"}, "erp"
				set, err := rules.Compile([]rules.Config{tc.config}, cat)
				if err != nil {
					t.Fatal(err)
				}
				m, r := set.NewMatcher(), set.Rules()[0]
				rel := relationOf(r.Table)
				results, err := conn.PgConn().Exec(t.Context(), "SELECT * FROM "+r.Table.String()+" WHERE "+tc.where).ReadAll()
				if err != nil {
					t.Fatal(err)
				}
				if len(results[0].Rows) == 0 {
					t.Fatalf("there is no %s", r.Model)
				}
				for _, row := range results[0].Rows {
					c := &cdc.Change{Op: cdc.Create, Rel: rel, Key: string(row[rel.Column("id")]), After: rowOf(t, rel, row)}
					s := &source{t: t, live: live, rows: map[rules.Ref][]cdc.Row{}}
					tx := s.fetch(m, rules.TxInfo{XID: 1, LSN: 1, Time: time.Unix(1614265330, 0)}, c)
					if matches := m.Match(nil, tx, c); len(matches) != 1 || matches[0].Err != nil {
						t.Fatalf("%+v", matches)
					}
					groups := []*rules.Group{nil}
					if r.Splits() {
						if groups, err = m.Groups(r, tx, c); err != nil || len(groups) < 2 {
							t.Fatalf("%d groups, %v", len(groups), err)
						}
					}
					for _, g := range groups {
						body, err := payload.BuildGroup(payload.Standard, nil, m, r, "e", tx, c, g)
						if err != nil {
							t.Fatal(err)
						}
						if err := json.Indent(&got, body, "", "  "); err != nil {
							t.Fatal(err)
						}
						got.WriteByte('\n')
					}
				}
			}
			path := filepath.Join("testdata", "related_"+version+".golden")
			if flag.Lookup("update").Value.String() == "true" {
				if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", path, diff)
			}
		})
	}
}
