package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"

	"walhook/cdc"
)

// stepPatience is how long the webhooks of one step may take: three attempts and their waits fit in easily.
const stepPatience = 15 * time.Second

// day plays the steps, each to its end before the next.
func (d *demo) day(ctx context.Context) error {
	select {
	case <-d.pipeline.current().verified:
	case <-time.After(stepPatience):
		return errors.New("walhook did not attach to the slot")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	d.say("     %-48s %s", "WRITTEN IN THE DATABASE", "DELIVERED")
	for i, step := range businessDay() {
		for _, e := range step.expect {
			if e.refused > 0 {
				d.receiver.expectRefusals(e.event, e.refused)
			}
		}
		end, err := d.play(ctx, step)
		if err != nil {
			return fmt.Errorf("%s: %w", step.title, err)
		}
		got, err := d.await(ctx, len(step.expect), end)
		if err != nil {
			return err
		}
		d.print(i+1, step, got)
	}
	return nil
}

// play runs the transaction and returns the end of WAL behind it.
func (d *demo) play(ctx context.Context, step demoStep) (cdc.LSN, error) {
	tx, err := d.odoo.Begin(ctx)
	if err != nil {
		return 0, err
	}
	for _, sql := range step.sql {
		if _, err := tx.Exec(ctx, sql); err != nil {
			return 0, errors.Join(err, tx.Rollback(context.WithoutCancel(ctx)))
		}
	}
	if step.rollback {
		err = tx.Rollback(ctx)
	} else {
		err = tx.Commit(ctx)
	}
	if err != nil {
		return 0, err
	}
	// The flushed end: WAL of a rolled back transaction may stay in the server's memory, and is never sent.
	var text string
	if err := d.odoo.QueryRow(ctx, "SELECT pg_current_wal_flush_lsn()::text").Scan(&text); err != nil {
		return 0, err
	}
	return pglogrepl.ParseLSN(text)
}

// await waits for n webhooks, and until walhook has processed everything up to the end, so that a webhook too many
// would be there too.
func (d *demo) await(ctx context.Context, n int, end cdc.LSN) ([]arrival, error) {
	waiting, cancel := context.WithTimeout(ctx, stepPatience)
	defer cancel()
	d.receiver.wait(waiting, d.seen, n)
	for waiting.Err() == nil {
		if p := d.pipeline.current().progress(); p.Handled >= end && idle(d.pipeline) {
			break
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-waiting.Done():
		}
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	got, _ := d.receiver.from(d.seen)
	d.seen += len(got)
	return got, nil
}

// idle says that the engine has nothing in memory.
func idle(p *pipeline) bool {
	stats := p.current().engine.Stats()
	for _, e := range stats.Endpoints {
		if e.Sending+e.Deliveries > 0 {
			return false
		}
	}
	return true
}

// print shows a step: what was written on the left, what was delivered on the right, and what is wrong with it.
func (d *demo) print(number int, step demoStep, got []arrival) {
	var right []string
	rest := slices.Clone(got)
	for _, want := range step.expect {
		i := slices.IndexFunc(rest, func(a arrival) bool {
			return a.endpoint == want.endpoint && a.event == want.event && a.record == want.record
		})
		if i < 0 {
			d.fail("%s: %s %s did not arrive at %s", step.title, want.event, want.record, want.endpoint)
			right = append(right, fmt.Sprintf("✗ %-5s %s %s is missing", want.endpoint, want.event, want.record))
			continue
		}
		a := rest[i]
		rest = slices.Delete(rest, i, i+1)
		d.compare(step.title, want, a)
		if len(step.expect) <= 3 || want.record == step.expect[0].record || want.record == step.expect[len(step.expect)-1].record {
			right = append(right, describe(want, a))
		}
	}
	for _, a := range rest {
		d.fail("%s: %s %s arrived at %s, and should not have", step.title, a.event, a.record, a.endpoint)
		right = append(right, fmt.Sprintf("✗ %-5s %s %s was not expected", a.endpoint, a.event, a.record))
	}
	if len(step.expect) > 3 {
		right = slices.Insert(right, 1, fmt.Sprintf("      … %d in all, one for each record", len(step.expect)))
	}
	if len(step.expect) == 0 && len(rest) == 0 {
		right = append(right, "– nothing: "+step.nothing)
	}
	d.say("\n%3d  %s", number, step.title)
	for i := range max(len(step.changes), len(right)) {
		var l, r string
		if i < len(step.changes) {
			l = step.changes[i]
		}
		if i < len(right) {
			r = right[i]
		}
		d.say("%s", strings.TrimRight(fmt.Sprintf("     %-48s %s", l, r), " "))
	}
}

// describe is one webhook in a line.
func describe(want demoEvent, a arrival) string {
	var values map[string]json.RawMessage
	_ = json.Unmarshal(a.data, &values) // compare has its say about bodies that are none
	var shown []string
	for _, name := range strings.Fields(want.about) {
		shown = append(shown, strings.Trim(string(values[name]), `"`))
	}
	line := fmt.Sprintf("→ %-5s %-18s %-20s %s", a.endpoint, a.event, a.record, strings.Join(shown, " · "))
	if a.attempts > 1 {
		line += fmt.Sprintf(" (attempt %d, after %d × 503)", a.attempts, a.attempts-1)
	}
	return line
}

// compare checks one webhook against what was expected.
func (d *demo) compare(title string, want demoEvent, a arrival) {
	for _, part := range []struct {
		name string
		want map[string]string
		got  json.RawMessage
	}{{"record", want.fields, a.data}, {"changes", want.changes, a.changes}} {
		if len(part.want) == 0 {
			continue
		}
		var values map[string]json.RawMessage
		if err := json.Unmarshal(part.got, &values); err != nil {
			d.fail("%s: the %s of %s is no JSON object: %v", title, part.name, a.id, err)
			continue
		}
		for _, name := range sortedNames(part.want) {
			if got := string(values[name]); got != part.want[name] {
				d.fail("%s: %s.%s of %s is %s, not %s", title, part.name, name, a.record, got, part.want[name])
			}
		}
	}
	if a.attempts != want.refused+1 {
		d.fail("%s: %s took %d attempts, not %d", title, a.record, a.attempts, want.refused+1)
	}
}

func sortedNames(m map[string]string) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (d *demo) fail(format string, args ...any) {
	d.failed = append(d.failed, fmt.Sprintf(format, args...))
}

// summary says what was shown, and fails when anything was not as expected.
func (d *demo) summary(took time.Duration) error {
	accepted, requests, problems := d.receiver.totals()
	arrived, _ := d.receiver.from(0)
	seen, last := map[string]bool{}, map[string]string{}
	for _, a := range arrived {
		if seen[a.id] {
			d.fail("%s %s was accepted twice", a.event, a.record)
		}
		seen[a.id] = true
		lane := a.endpoint + " " + a.record
		if before := last[lane]; before != "" && lsnOf(a.lsn) < lsnOf(before) {
			d.fail("%s: %s came after what was committed later", lane, a.event)
		}
		last[lane] = a.lsn
	}
	for _, p := range problems {
		d.fail("a signature did not verify: %s", p)
	}
	if len(d.failed) > 0 {
		d.say("\nFAILED: %s", plural(len(d.failed), "problem"))
		for _, f := range d.failed {
			d.say("  %s", f)
		}
		return &failure{err: errors.New("the demo did not deliver what it should have"), code: exitFailed, hint: "run it again with --log-level debug"}
	}
	d.say("\n%d webhooks delivered in %d requests, in %s. Every signature was verified, every event arrived", accepted, requests, took.Round(100*time.Millisecond))
	d.say("once, each record's in the order of its commits, and nothing of what was rolled back.")
	if !d.keep {
		d.say("\nNext: walhook demo --keep, to write SQL of your own; then config.example.toml and walhook check.")
	}
	return nil
}

func lsnOf(text string) cdc.LSN {
	lsn, err := pglogrepl.ParseLSN(text)
	if err != nil {
		return 0
	}
	return lsn
}
