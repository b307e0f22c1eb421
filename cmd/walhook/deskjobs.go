package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"walhook/cdc"
	"walhook/delivery"
	"walhook/rules"
	"walhook/state"
	"walhook/status"
)

// ListJobs implements [status.JobDesk].
func (d *desk) ListJobs(ctx context.Context, ended bool) ([]status.JobLine, error) {
	list, err := d.db.ListJobs(ctx, "", ended, 0)
	if err != nil {
		return nil, environmentError(err, "")
	}
	lines := []status.JobLine{}
	for _, j := range list {
		lines = append(lines, status.LineOfJob(j))
	}
	return lines, nil
}

// jobMissing is an id that no job has.
type jobMissing int64

func (e jobMissing) Error() string { return "there is no job " + strconv.FormatInt(int64(e), 10) }
func (e jobMissing) Hint() string  { return "walhook backfill list" }
func (e jobMissing) ExitCode() int { return exitFailed }

func jobError(id int64, err error) error {
	var stands *state.JobStateError
	switch {
	case errors.Is(err, state.ErrNotFound):
		return jobMissing(id)
	case errors.As(err, &stands):
		return &failure{err: err, code: exitFailed}
	}
	return environmentError(err, "")
}

// Job implements [status.JobDesk].
func (d *desk) Job(ctx context.Context, id int64) (*status.JobLine, error) {
	j, err := d.db.Job(ctx, id)
	if err != nil {
		return nil, jobError(id, err)
	}
	line := status.LineOfJob(j)
	return &line, nil
}

// SetJob implements [status.JobDesk]. To resume makes walhook send: the state must be this source's (invariant 5).
func (d *desk) SetJob(ctx context.Context, id int64, action string) (*status.JobLine, error) {
	to := map[string]delivery.JobState{status.JobPause: delivery.JobPaused, status.JobResume: delivery.JobQueued, status.JobCancel: delivery.JobCancelled}[action]
	if err := d.own(ctx); err != nil {
		return nil, err
	}
	j, err := d.db.SetJob(ctx, id, to)
	if err != nil {
		return nil, jobError(id, err)
	}
	line := status.LineOfJob(j)
	return &line, nil
}

// Backfill implements [status.JobDesk].
func (d *desk) Backfill(ctx context.Context, r status.BackfillRequest, preview bool) (plans []status.BackfillPlan, lines []status.JobLine, err error) {
	switch {
	case len(r.Rules) == 0:
		return nil, nil, &selectionError{message: "no rule is named", hint: "walhook rules list"}
	case r.Rate < 0 || r.Rate > 1e6:
		return nil, nil, &selectionError{flag: "--rate", message: fmt.Sprintf("%v is no number of events a second", r.Rate), hint: "use 0.1 to 1000000; leave it out for as many as there is room for"}
	case r.Limit < 0:
		return nil, nil, &selectionError{flag: "--limit", message: fmt.Sprintf("%d is negative", r.Limit)}
	}
	if err := d.cfg.configured(r.Endpoint); err != nil {
		return nil, nil, err
	}
	if err := d.own(ctx); err != nil { // it reads the source, and makes walhook send (invariant 5)
		return nil, nil, err
	}
	s, err := d.surveyed(ctx)
	if err != nil {
		return nil, nil, err
	}
	live, err := cdc.NewLive(d.cfg.Source.DSN.reveal(), "chunks", nil)
	if err != nil {
		return nil, nil, environmentError(err, "")
	}
	defer live.Close()
	var made []*delivery.Job
	for i, name := range r.Rules {
		if slices.Contains(r.Rules[:i], name) {
			return nil, nil, &selectionError{message: fmt.Sprintf("rule %q is named twice", name)}
		}
		plan, job, err := d.plan(ctx, s, live, r, name)
		if err != nil {
			return nil, nil, err
		}
		plans, made = append(plans, *plan), append(made, job)
	}
	if preview {
		return plans, nil, nil
	}
	if err := d.db.AddJobs(ctx, made); err != nil {
		return nil, nil, environmentError(err, "")
	}
	for _, j := range made {
		lines = append(lines, status.LineOfJob(j))
	}
	return plans, lines, nil
}

// plan works out what a backfill of one rule comes to.
func (d *desk) plan(ctx context.Context, s *survey, live *cdc.Live, r status.BackfillRequest, name string) (*status.BackfillPlan, *delivery.Job, error) {
	if !slices.ContainsFunc(d.cfg.Rules, func(c rules.Config) bool { return c.Name == name }) {
		var names []string
		for _, c := range d.cfg.Rules {
			names = append(names, c.Name)
		}
		slices.Sort(names)
		hint := "walhook rules list"
		if near := nearest(name, names); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		return nil, nil, &selectionError{message: fmt.Sprintf("there is no rule %q", name), hint: hint}
	}
	set, rule, err := d.cfg.rowRule(s, name, r.Where)
	if err != nil {
		return nil, nil, &failure{err: err, code: exitUsage, hint: hintOf(err)}
	}
	job := &delivery.Job{Kind: delivery.JobBackfill, Rule: name, Schema: rule.Table.Schema, Table: rule.Table.Name, Model: rule.Model, Where: r.Where, Rate: r.Rate, Limit: r.Limit}
	plan := &status.BackfillPlan{Rule: name, Table: rule.Table.String(), Endpoints: rule.Endpoints}
	if r.Endpoint != "" {
		if !slices.Contains(rule.Endpoints, r.Endpoint) {
			return nil, nil, &selectionError{flag: "--endpoint", message: fmt.Sprintf("rule %q does not send to %q", name, r.Endpoint), hint: fmt.Sprintf("it sends to %v", rule.Endpoints)}
		}
		plan.Endpoints, job.Endpoints = []string{r.Endpoint}, []string{r.Endpoint}
	}
	filter, exact := set.NewMatcherOf(rule).Narrowed(rule, time.Now())
	all, counted, err := live.Count(ctx, job.Schema, job.Table, nil)
	if err != nil {
		return nil, nil, environmentError(err, hintOf(err))
	}
	plan.Rows, plan.Selected, plan.Exact, job.Total = all, all, exact && counted, all
	if filter != nil {
		n, known, err := live.Count(ctx, job.Schema, job.Table, filter)
		if err != nil {
			return nil, nil, environmentError(err, hintOf(err))
		}
		plan.Selected, plan.Exact = n, exact && known
	}
	if r.Limit > 0 {
		plan.Selected = min(plan.Selected, r.Limit)
	}
	return plan, job, nil
}
