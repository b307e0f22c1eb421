package main

import (
	"strings"
	"testing"
	"time"

	"walhook/cdc"
	"walhook/cdc/catalog"
	"walhook/delivery"
	"walhook/rules"
)

// A malformed message is parked under the name of no rule: a backtest notes it and goes on with what comes after it.
func TestBacktestOfMalformedMessage(t *testing.T) {
	set, err := rules.Compile([]rules.Config{{Name: "told", On: []string{"message"}, Endpoint: "erp"}}, catalog.New(nil, nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	one := &ruleBacktest{Rule: "told", at: map[time.Time]int{}}
	b := &backtesting{workbench: &workbench{cfg: &Config{}}, flags: &backtestFlags{}, report: &backtested{}, rules: map[string]*ruleBacktest{"told": one}, ends: map[string]*endpointTested{},
		planner: delivery.NewPlanner(delivery.Identity{}, set, map[string]delivery.EndpointConfig{"erp": {URL: "http://127.0.0.1:1/"}}, nil)}
	bad, good := cdc.NewMessage([]byte("no json")), cdc.NewMessage([]byte(`{"event": "stock.low"}`))
	good.Ordinal = 1
	if err := b.transaction(t.Context(), cdc.NewTx(7, 100, 200, time.Unix(0, 0), []*cdc.Change{bad, good})); err != nil {
		t.Fatal(err)
	}
	if one.Failed != 0 || one.Matched != 1 || one.Deliveries != 1 {
		t.Errorf("the rule: %+v", one)
	}
	if notes := b.report.Notes; len(notes) != 1 || !strings.HasPrefix(notes[0], "a malformed message: ") {
		t.Errorf("notes: %q", notes)
	}
}
