package delivery

import (
	"testing"
	"time"

	"walhook/cdc"
)

var (
	testIdentity = Identity{SystemID: "7301234567890123456", DatabaseOID: 16384}
	testRelation = cdc.NewRelation(20001, "public", "sale_order", 'f', []cdc.Column{
		{Name: "id", Type: cdc.BuiltinType(23)}, {Name: "state", Type: cdc.BuiltinType(1043)}}, []string{"id"})
	testTx     = cdc.NewTx(4711, 0x16B374D848, 0x16B374D888, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), nil)
	testChange = &cdc.Change{Op: cdc.Write, Rel: testRelation, Key: "42", Ordinal: 3}
)

// The format of ids is fixed for ever: a receiver that deduplicates on them must recognise a delivery that an
// older version of walhook has sent (invariant 3). If this test fails, the code is wrong, not the test.
func TestInvariant3GoldenID(t *testing.T) {
	raw := *testChange
	raw.Raw = true
	for _, tt := range []struct {
		what, got, want string
	}{
		{"net change", deliveryID(testIdentity, testTx, testChange, "order_confirmed", "erp"), "msg_2bd0ec89371f2f9a844a52c172b8b0b2"},
		{"single write", deliveryID(testIdentity, testTx, &raw, "order_confirmed", "erp"), "msg_a1828bbf43403b8c4c681508d0688e0f"},
		{"group of lines", groupID(testIdentity, testTx, testChange, "order_confirmed", "erp", "by Office"), "msg_e9a0db54dd6e6cf69043fb86d1cbfdb5"},
		{"parked", parkedID(testIdentity, testTx, testChange, "order_confirmed"), "evt_09f14ec0856d921943826ed983b14e27"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %s, want %s", tt.what, tt.got, tt.want)
		}
	}
}

// Every part of what identifies a delivery tells it apart; what does not identify it does not.
func TestInvariant3WhatAnIDDependsOn(t *testing.T) {
	base := deliveryID(testIdentity, testTx, testChange, "rule", "erp")
	change := func(f func(*cdc.Change)) *cdc.Change {
		c := *testChange
		f(&c)
		return &c
	}
	table := func(schema, name string) *cdc.Change {
		return change(func(c *cdc.Change) { c.Rel = cdc.NewRelation(1, schema, name, 'f', nil, nil) })
	}
	tx := func(xid uint32, commit cdc.LSN) *cdc.Tx { return cdc.NewTx(xid, commit, commit+64, time.Time{}, nil) }
	seen := map[string]string{base: "base"}
	for what, id := range map[string]string{
		"system":             deliveryID(Identity{"7301234567890123457", 16384}, testTx, testChange, "rule", "erp"),
		"database":           deliveryID(Identity{"7301234567890123456", 16385}, testTx, testChange, "rule", "erp"),
		"xid":                deliveryID(testIdentity, tx(4712, testTx.CommitLSN), testChange, "rule", "erp"),
		"lsn":                deliveryID(testIdentity, tx(4711, testTx.CommitLSN+8), testChange, "rule", "erp"),
		"schema":             deliveryID(testIdentity, testTx, table("other", "sale_order"), "rule", "erp"),
		"table":              deliveryID(testIdentity, testTx, table("public", "sale_order2"), "rule", "erp"),
		"dot in names":       deliveryID(testIdentity, testTx, table("public.sale", "order"), "rule", "erp"),
		"dot in other names": deliveryID(testIdentity, testTx, table("public", "sale.order"), "rule", "erp"),
		"key":                deliveryID(testIdentity, testTx, change(func(c *cdc.Change) { c.Key = "43" }), "rule", "erp"),
		"rule":               deliveryID(testIdentity, testTx, testChange, "rules", "erp"),
		"endpoint":           deliveryID(testIdentity, testTx, testChange, "rule", "shop"),
		"moved border":       deliveryID(testIdentity, testTx, testChange, "rul", "eerp"),
		"group":              groupID(testIdentity, testTx, testChange, "rule", "erp", "by 1"),
		"other group":        groupID(testIdentity, testTx, testChange, "rule", "erp", "id 1"),
		"no value":           groupID(testIdentity, testTx, testChange, "rule", "erp", "null"),
		"group of raw":       groupID(testIdentity, testTx, change(func(c *cdc.Change) { c.Raw = true }), "rule", "erp", "by 1"),
		"raw":                deliveryID(testIdentity, testTx, change(func(c *cdc.Change) { c.Raw = true }), "rule", "erp"),
		"ordinal of raw":     deliveryID(testIdentity, testTx, change(func(c *cdc.Change) { c.Raw, c.Ordinal = true, 4 }), "rule", "erp"),
	} {
		if other, twice := seen[id]; twice {
			t.Errorf("%s and %s have the same id", what, other)
		}
		seen[id] = what
	}
	for what, same := range map[string]*cdc.Change{
		"ordinal of a net change": change(func(c *cdc.Change) { c.Ordinal = 9 }),
		"number of writes":        change(func(c *cdc.Change) { c.Writes = 9 }),
		"relation's oid":          table("public", "sale_order"),
	} {
		if got := deliveryID(testIdentity, testTx, same, "rule", "erp"); got != base {
			t.Errorf("the id depends on the %s", what)
		}
	}
}
