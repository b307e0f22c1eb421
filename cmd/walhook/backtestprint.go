package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"walhook/cdc"
)

// backtest prints a report: the rules in a table, then of each when it matched, what failed, what differs and a payload.
func (t *terminal) backtest(r *backtested) error {
	if r.Transactions == 0 {
		return t.say("no changes of watched tables in that time")
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s in %s, %s to %s UTC (%s)\n", plural(r.Changes, "change"), plural(r.Transactions, "transaction"),
		r.From.UTC().Format(time.DateTime), r.To.UTC().Format(time.DateTime), r.Source)
	for _, note := range r.Notes {
		fmt.Fprintf(&b, "%s %s\n", t.paint(yellow, "note:"), note)
	}
	if err := t.say(b.String()); err != nil {
		return err
	}
	heading := []string{"RULE", "LOOKED AT", "MATCHED", "NOT", "FAILED", "DELIVERIES"}
	diff := slices.ContainsFunc(r.Rules, func(o *ruleBacktest) bool { return o.NewCount+o.GoneCount+o.Same > 0 })
	if diff {
		heading = append(heading, "SAME", "NEW", "GONE")
	}
	var rows [][]string
	for _, o := range r.Rules {
		row := []string{o.Rule, strconv.Itoa(o.Looked), strconv.Itoa(o.Matched), strconv.Itoa(max(0, o.Looked-o.Matched-o.Failed)), strconv.Itoa(o.Failed), strconv.Itoa(o.Deliveries)}
		if diff {
			row = append(row, strconv.Itoa(o.Same), strconv.Itoa(o.NewCount), strconv.Itoa(o.GoneCount))
		}
		rows = append(rows, row)
	}
	if err := t.table(heading, rows); err != nil {
		return err
	}
	if len(r.Endpoints) > 0 {
		rows = nil
		for _, e := range r.Endpoints {
			rows = append(rows, []string{e.Endpoint, strconv.Itoa(e.Deliveries), cdc.BytesText(e.Bytes)})
		}
		if err := t.say(); err != nil {
			return err
		}
		if err := t.table([]string{"ENDPOINT", "DELIVERIES", "BODIES"}, rows); err != nil {
			return err
		}
	}
	for _, o := range r.Rules {
		if err := t.ruleBacktest(o); err != nil {
			return err
		}
	}
	return nil
}

// barWidth is the longest bar of a histogram.
const barWidth = 40

func (t *terminal) ruleBacktest(o *ruleBacktest) error {
	if o.Matched+o.Failed+o.GoneCount == 0 {
		return nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s\n", t.paint(bold, o.Rule))
	most := 0
	for _, n := range o.When {
		most = max(most, n)
	}
	for _, at := range slices.Sorted(maps.Keys(o.When)) {
		n := o.When[at]
		fmt.Fprintf(&b, "  %s  %6d  %s\n", at, n, t.paint(cyan, strings.Repeat("#", max(1, n*barWidth/max(1, most)))))
	}
	if o.Sampled > 0 {
		fmt.Fprintf(&b, "  %d of them are left out by the rule's sample\n", o.Sampled)
	}
	if o.Ignored > 0 {
		fmt.Fprintf(&b, "  %d of them are left out by ignore_users\n", o.Ignored)
	}
	for _, text := range o.Errors {
		fmt.Fprintf(&b, "  %s %s\n", t.paint(red, "fails:"), plainLine(text))
	}
	list := func(word string, c colour, events []diffEvent, count int) {
		for _, e := range events {
			fmt.Fprintf(&b, "  %s  %s  %s %s to %s\n", t.paint(c, word), e.At.UTC().Format(time.DateTime), e.Event, plainLine(e.Record), e.Endpoint)
		}
		if count > len(events) {
			fmt.Fprintf(&b, "  %s  and %d more\n", t.paint(c, word), count-len(events))
		}
	}
	list("new ", green, o.New, o.NewCount)
	list("gone", red, o.Gone, o.GoneCount)
	for _, s := range o.Samples {
		body, err := json.Marshal(s.Body)
		if err != nil {
			return fmt.Errorf("write a sample: %w", err)
		}
		fmt.Fprintf(&b, "  %s  %s %s\n    %s\n", s.At.UTC().Format(time.DateTime), s.Event, plainLine(s.Record), strings.ReplaceAll(t.pretty(body), "\n", "\n    "))
	}
	return t.say(strings.TrimRight(b.String(), "\n"))
}
