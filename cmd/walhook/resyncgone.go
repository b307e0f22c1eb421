package main

import (
	"context"
	"fmt"
	"slices"

	"walhook/cdc"
	"walhook/delivery"
	"walhook/rules"
	"walhook/state"
)

// lookGone compares what endpoints were told of, as far as the log reaches back, with what is there: a record that is gone is an unlink for each rule on
// unlink that told of it, or that has no condition. Whether a condition would have held for a record that is gone cannot be known.
func (r *resync) lookGone(ctx context.Context) error {
	var endpoints, models, testing []string
	var imaged []*rules.Rule
	on := map[string][]*rules.Rule{} // by model
	for _, rule := range r.survey.rules.Rules() {
		switch {
		case !rule.IsActive():
		case rule.Handling.Test:
			testing = append(testing, rule.Name)
		case slices.Contains(rule.Ops(), cdc.Unlink) && r.compares(rule.Table):
			imaged = append(imaged, rule)
		case slices.Contains(rule.Ops(), cdc.Unlink):
			on[rule.Model] = append(on[rule.Model], rule)
			models, endpoints = append(models, rule.Model), append(endpoints, rule.Endpoints...)
		}
	}
	r.high = r.survey.facts.End
	var err error
	if r.base, err = r.db.LastDelivery(ctx); err != nil {
		return environmentError(err, "")
	}
	if err := r.lookGoneImages(ctx, imaged); err != nil {
		return err
	}
	if len(models) > 0 {
		oldest, err := r.db.Told(ctx, endpoints, models, testing, func(page []state.Told) error { return r.comparePage(ctx, on, page) })
		if err != nil {
			return environmentError(err, "")
		}
		r.report.LogSince = oldest
	}
	for i := range r.report.Rules {
		line := &r.report.Rules[i]
		for j, text := range line.NotKnown {
			if text == deletionsBefore {
				line.NotKnown[j] = fmt.Sprintf(text, instant(r.report.LogSince))
			}
		}
		if line.Unjudged > 0 {
			line.NotKnown = append(line.NotKnown, fmt.Sprintf("whether the condition held for %s: other rules have told of them", plural(int(line.Unjudged), "record that is gone")))
		}
	}
	return nil
}

// deletionsBefore is said of rules on unlink, with the time from which on the log reaches back.
const deletionsBefore = "deletions of records that its endpoints have not been told of since %s"

// comparePage looks for some records.
func (r *resync) comparePage(ctx context.Context, on map[string][]*rules.Rule, page []state.Told) error {
	byModel := map[string][]string{}
	for _, t := range page {
		if keys := byModel[t.Model]; len(keys) == 0 || keys[len(keys)-1] != t.Record {
			byModel[t.Model] = append(keys, t.Record)
		}
	}
	missing := map[[2]string]bool{}
	for model, keys := range byModel {
		slices.Sort(keys)
		table := on[model][0].Table
		gone, end, err := r.live.Missing(ctx, table.Schema, table.Name, slices.Compact(keys))
		if err != nil {
			return err
		}
		r.high = max(r.high, end)
		for _, key := range gone {
			missing[[2]string{model, key}] = true
		}
	}
	for _, t := range page {
		for _, rule := range on[t.Model] {
			if !slices.Contains(rule.Endpoints, t.Endpoint) || !rule.Handling.Takes(rule.Table, t.Record) {
				continue
			}
			line := r.line(rule.Name)
			line.Told++
			switch {
			case !missing[[2]string{t.Model, t.Record}]:
			case rule.When != "" && !slices.Contains(t.Rules, rule.Name):
				line.Unjudged++
			default:
				line.Gone++
				r.gone = append(r.gone, delivery.Gone{Rule: rule.Name, Record: t.Record, Endpoint: t.Endpoint})
			}
		}
	}
	return nil
}

// lookGoneImages compares the rows that had images with what is there: each that is gone was deleted, whether anybody was told of it or not. What
// conditions say of it, its image tells later.
func (r *resync) lookGoneImages(ctx context.Context, on []*rules.Rule) error {
	for _, t := range r.imaged {
		var concerned []*rules.Rule
		for _, rule := range on {
			if rule.Table.Schema == t.Schema && rule.Table.Name == t.Name {
				concerned = append(concerned, rule)
			}
		}
		if len(concerned) == 0 {
			continue
		}
		if err := r.db.ComparableKeys(ctx, state.ImageTable{Schema: t.Schema, Name: t.Name}, func(keys []string) error {
			gone, end, err := r.live.Missing(ctx, t.Schema, t.Name, keys)
			if err != nil {
				return err
			}
			r.high = max(r.high, end)
			for _, rule := range concerned {
				line := r.line(rule.Name)
				line.Told += int64(len(keys) * len(rule.Endpoints))
				for _, key := range gone {
					if !rule.Handling.Takes(rule.Table, key) {
						continue
					}
					for _, endpoint := range rule.Endpoints {
						line.Gone++
						r.gone = append(r.gone, delivery.Gone{Rule: rule.Name, Record: key, Endpoint: endpoint})
					}
				}
			}
			return nil
		}); err != nil {
			return environmentError(err, "")
		}
	}
	return nil
}

// line finds a rule in the report.
func (r *resync) line(rule string) *resyncRule {
	i := slices.IndexFunc(r.report.Rules, func(l resyncRule) bool { return l.Rule == rule })
	return &r.report.Rules[i]
}
