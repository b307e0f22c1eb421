package main

import (
	"slices"
	"testing"

	"walhook/cdc/catalog"
	"walhook/internal/pgtest"
	"walhook/rules/recipes"
)

// Each recipe compiles, with the variant that is meant, against Odoo 16 to 19, unless its module is not installed there.
func TestRecipesFit(t *testing.T) {
	absent := map[string][]string{
		"16": {"tracking_number_set", "subscription_started", "subscription_ended"},
		"17": {"tracking_number_set", "subscription_started", "subscription_ended"},
		"18": {"tracking_number_set", "subscription_started", "subscription_ended", "employee_created", "employee_left", "production_done", "pos_order_paid"},
		"19": {"tracking_number_set", "subscription_started", "subscription_ended"},
	}
	// Recipes with variants, and which of them it is.
	variants := map[string]map[string]int{
		"payment_posted":       {"16": 1, "17": 1, "18": 0, "19": 0},
		"product_cost_changed": {"16": 1, "17": 1, "18": 0, "19": 0},
		"delivery_ready":       {"16": 1, "17": 0, "18": 0, "19": 0},
		"delivery_done":        {"16": 1, "17": 0, "18": 0, "19": 0},
		"backorder_created":    {"16": 1, "17": 0, "18": 0, "19": 0},
		"receipt_done":         {"16": 1, "17": 0, "18": 0, "19": 0},
		"lead_won":             {"16": 1, "17": 1, "18": 1, "19": 0},
		"lead_lost":            {"16": 1, "17": 1, "18": 1, "19": 0},
		"task_done":            {"16": 1, "17": 0, "18": 0, "19": 0},
	}
	for _, version := range []string{"16", "17", "18", "19"} {
		t.Run(version, func(t *testing.T) {
			database := pgtest.OdooSchema
			if version == "16" || version == "18" {
				database = pgtest.Odoo
			}
			cat, err := catalog.Load(t.Context(), pgtest.Connect(t, database(t, version)))
			if err != nil {
				t.Fatal(err)
			}
			w := &workbench{cfg: &Config{}, catalog: cat}
			for _, r := range recipes.All() {
				v, err := w.variant(&app{env: noEnvironment}, &r, recipes.Endpoint)
				if missing := slices.Contains(absent[version], r.Name); (err != nil) != missing {
					t.Errorf("%s: %v, want absent: %t", r.Name, err, missing)
				}
				if err != nil {
					continue
				}
				want, several := variants[r.Name][version]
				if several != (len(r.Variants) > 1) {
					t.Errorf("%s has %d variants", r.Name, len(r.Variants))
				}
				if v.rule != r.Variants[want].Rule {
					t.Errorf("%s: not the variant for %q", r.Name, r.Variants[want].For)
				}
			}
		})
	}
}

func noEnvironment(string) (string, bool) { return "", false }
