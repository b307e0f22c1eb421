package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/cdc"
	"walhook/delivery"
	"walhook/internal/failpoint"
	"walhook/state"
)

// apply makes the slot where there is none to go on with, and commits the rest at once. Killed anywhere, it can be run again: a slot that is gone is
// missing, and one that was made and that the state knows nothing of lies ahead of the position, which is as it was.
func (r *resync) apply(ctx context.Context, conn *pgx.Conn) error {
	if r.make || len(r.refusals) > 0 {
		if err := r.standStill(ctx); err != nil {
			return err
		}
	}
	f := r.survey.facts
	if r.drop {
		dropped, err := cdc.DropLost(ctx, conn, f.SlotName, f.SystemID, f.DatabaseOID)
		if err != nil {
			return environmentError(err, "")
		}
		if !dropped {
			return environmentError(fmt.Errorf("slot %q is not lost any more, or is gone: nothing was dropped", f.SlotName), "look again: walhook resync --dry-run")
		}
		r.say("ok  the lost slot was dropped")
		failpoint.Hit(failpoint.ResyncDropped)
	}
	to := r.position.LSN
	if r.make {
		if err := r.makeSlot(ctx, conn); err != nil {
			return err
		}
		failpoint.Hit(failpoint.ResyncSlot)
		// What was deleted since it was looked for, and before the slot begins, nobody else would find.
		r.gone, r.imaged, r.report.Rules = nil, nil, nil
		if err := r.look(ctx); err != nil {
			return err
		}
	}
	start := &state.ResyncStart{Binding: r.stored, Position: r.position, Base: r.base, Timeline: f.Timeline, Since: r.report.Since, Derived: r.report.Derived, Report: r.report, Gone: r.gone, Jobs: r.jobs()}
	if r.make || len(r.refusals) > 0 {
		health, err := r.live.Health(ctx, f.SlotName)
		if err != nil {
			return environmentError(err, "")
		}
		if health.Slot == nil || health.SystemID != f.SystemID {
			return environmentError(fmt.Errorf("slot %q is gone again", f.SlotName), "look again: walhook resync --dry-run")
		}
		to = max(health.Slot.Confirmed, to)
		start.Adoption = &state.Adoption{Reasons: r.report.Lost, From: r.position.LSN, To: to, Lost: int64(to - r.position.LSN)}
		r.report.LostBytes = start.Adoption.Lost
	}
	r.report.To = to.String()
	start.High = max(r.high, to)
	n, err := r.db.StartResync(ctx, start)
	if err != nil {
		return environmentError(err, "")
	}
	failpoint.Hit(failpoint.Resynced)
	r.report.Resync = n
	if a := start.Adoption; a != nil {
		r.say("ok  the state goes on at %s, epoch %d; %s of WAL were not read", a.To, a.Epoch, cdc.BytesText(a.Lost))
	}
	return nil
}

// makeSlot makes the slot as setup does.
func (r *resync) makeSlot(ctx context.Context, conn *pgx.Conn) error {
	facts := *r.survey.facts
	facts.Slot = nil
	var steps []cdc.Step
	for _, step := range cdc.SetupSteps(&facts, r.survey.needs, facts.Role.Name) {
		if step.CreatesSlot() {
			steps = append(steps, step)
		}
	}
	return environmentError(cdc.Apply(ctx, cdc.Logins{Replication: conn}, steps, cdc.ApplyOptions{Report: func(p cdc.Report) {
		switch p.State {
		case "done":
			r.say("ok  %s", p.Step.Brief())
		case "waiting":
			for _, b := range p.Waiting {
				r.say("..  waiting for %s", b)
			}
		}
	}}), "")
}

// jobs are those that look through rows.
func (r *resync) jobs() (jobs []*delivery.Job) {
	for i := range r.report.Rules {
		line := &r.report.Rules[i]
		rule := r.survey.rules.Rules()[r.ruleAt(line.Rule)]
		var spec json.RawMessage
		switch {
		case line.Images && rule.TellsOfRows():
			spec = delivery.CompareSpec
		case line.filter == nil:
			continue
		}
		jobs = append(jobs, &delivery.Job{Kind: delivery.JobResync, Spec: spec, Rule: line.Rule, Schema: rule.Table.Schema, Table: rule.Table.Name, Model: rule.Model, Filter: line.filter, Total: max(line.Rows, 0)})
	}
	return jobs
}

func (r *resync) ruleAt(name string) int {
	for i, rule := range r.survey.rules.Rules() {
		if rule.Name == name {
			return i
		}
	}
	return -1
}

// standStill makes sure that no walhook reads, nor is about to: a slot that is made anew is nobody's to read from before the state begins there. One that was
// killed is waited for until its lease has run out.
func (r *resync) standStill(ctx context.Context) error {
	leases := map[int64]time.Time{}
	said := false
	for {
		all, err := r.db.Processes(ctx)
		if err != nil {
			return environmentError(err, "")
		}
		waits := false
		for _, p := range all {
			if !p.Alive {
				continue
			}
			if lease, seen := leases[p.ID]; seen && p.Lease.After(lease) {
				return environmentError(fmt.Errorf("walhook runs: process %d on %s", p.PID, p.Host), "stop it (systemctl stop walhook), say this again, and start it")
			}
			leases[p.ID], waits = p.Lease, true
			if !said {
				r.say("..  waiting until process %d on %s has ended, or its lease has (%s)", p.PID, p.Host, instant(p.Lease))
				said = true
			}
		}
		if !waits {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(250 * time.Millisecond):
		}
	}
}

func (r *resync) say(format string, args ...any) {
	w := r.app.stdout
	if r.asJSON {
		w = r.app.stderr
	}
	fmt.Fprintf(w, format+"\n", args...)
}

// readLine reads an answer.
func readLine(in io.Reader) string {
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "no"
	}
	return strings.ToLower(strings.TrimSpace(line))
}
