package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"walhook/cdc"
	"walhook/cdc/catalog"
	"walhook/delivery"
	"walhook/rules"
	"walhook/state"
)

// resync is one run of the command.
type resync struct {
	app     *app
	cfg     *Config
	db      *state.DB
	live    *cdc.Live
	survey  *survey
	since   string // --since
	margin  time.Duration
	margins bool // --margin was given
	dryRun  bool
	yes     bool
	asJSON  bool

	stored   state.Binding
	position delivery.Position
	refusals []error // what run would refuse about the position; nil when the slot goes on where the state ends, or is to be made
	make     bool    // there is no slot to go on with
	drop     bool    // the one that there is, is lost
	report   *resyncReport
	gone     []delivery.Gone
	imaged   []*catalog.Table // that are compared with the images of their rows
	high     cdc.LSN
	base     int64 // see [state.ResyncStart]
}

// Time that has to be allowed for, see [cdc.Waymark]: between a transaction's beginning and its being seen; and where nobody could see it, for the longest
// one that may have been open.
const (
	seenSlack     = 10 * time.Second
	defaultMargin = time.Hour
)

// plan finds out what is lost, since when, and what can be done about it. It changes nothing. lost is false when there is nothing to repair.
func (r *resync) plan(ctx context.Context) (lost bool, err error) {
	if err := r.judge(ctx); err != nil {
		return false, err
	}
	r.report = &resyncReport{Lost: []string{}, From: r.position.LSN.String(), LostBytes: -1, DryRun: r.dryRun, SlotMade: r.make}
	from, landmark := r.position.LSN, (*state.Landmark)(nil)
	switch f := r.survey.facts; {
	case r.make:
		r.report.Lost = []string{r.slotError().Error()}
		r.report.LostBytes = int64(max(f.End, from) - from)
	case len(r.refusals) > 0:
		for _, e := range r.refusals {
			r.report.Lost = append(r.report.Lost, e.Error())
		}
		r.report.LostBytes = int64(f.Slot.Confirmed - from)
	default:
		accepted, err := r.db.LastAccepted(ctx)
		if err != nil {
			return false, environmentError(err, "")
		}
		if accepted == nil && r.since == "" {
			return false, nil
		}
		if accepted != nil && r.since == "" {
			from, landmark = accepted.From, accepted.Landmark
			r.report.Lost = append(r.report.Lost, fmt.Sprintf("--adopt accepted at %s that changes between %s and %s were not read", instant(accepted.At), accepted.From, accepted.To))
			r.report.From, r.report.LostBytes = from.String(), int64(accepted.To-accepted.From)
		}
	}
	if err := r.when(ctx, from, landmark); err != nil {
		return false, err
	}
	return true, r.look(ctx)
}

// judge makes sure that this is the state's own database (invariants 5 and 8), and tells what is wrong with the slot.
func (r *resync) judge(ctx context.Context) error {
	f := r.survey.facts
	var bound bool
	var err error
	if r.stored, bound, err = r.db.Bound(ctx); err != nil {
		return environmentError(err, "")
	}
	if !bound {
		return environmentError(state.ErrNotBound, "there is nothing to repair yet: walhook setup, then walhook run")
	}
	if r.position, err = r.db.StoredPosition(ctx); err != nil {
		return environmentError(err, "")
	}
	for _, e := range flatten(r.cfg.judge(ctx, r.db, f, r.survey.catalog)) {
		var position *cdc.PositionError
		if errors.As(e, &position) && position.Problem == cdc.PositionBehind {
			r.refusals = append(r.refusals, e)
			continue
		}
		return environmentError(e, "") // another database, a copy, or a server that was set back: what was sent may never have happened
	}
	switch {
	case f.Slot == nil:
		r.make = true
	case f.Slot.Lost() && f.Slot.Plugin == "pgoutput" && f.Slot.Database == f.Database:
		r.make, r.drop = true, true
	}
	var blocking []error
	for _, finding := range cdc.Preflight(f, r.survey.needs) {
		if finding.Severity == cdc.SeverityError && finding.Code != "slot_missing" && finding.Code != "slot_lost" && finding.Code != "slot_unreserved" && finding.Code != "writes_fail" {
			blocking = append(blocking, environmentError(errors.New(finding.Message), finding.Hint))
		}
	}
	return errors.Join(blocking...)
}

// slotError words what became of a slot that is to be made anew.
func (r *resync) slotError() error {
	f := r.survey.facts
	for _, finding := range cdc.Preflight(f, r.survey.needs) {
		if finding.Code == "slot_missing" || finding.Code == "slot_lost" {
			return errors.New(finding.Message)
		}
	}
	return fmt.Errorf("there is no replication slot %q", f.SlotName)
}

// when finds since when records may have been written without being read.
func (r *resync) when(ctx context.Context, from cdc.LSN, l *state.Landmark) (err error) {
	if r.since != "" {
		r.report.Derived = state.SinceGiven
		r.report.Since, err = moment("--since", r.since, time.Now())
		return err
	}
	if l == nil {
		if l, err = r.db.Landmark(ctx, from); err != nil {
			return environmentError(err, "")
		}
	}
	r.report.PassedAt = l.At
	margin := r.margin
	switch {
	case l.From == state.FromWaymark && !l.Hidden:
		if !r.margins {
			margin = seenSlack
		}
		r.report.Derived = fmt.Sprintf("the oldest transaction that was open when the position was reached had begun at %s; less %s", instant(l.Oldest), margin)
	case l.From == state.FromWaymark:
		r.report.Derived = fmt.Sprintf("the position was reached at %s or later; less a margin of %s for transactions that had begun before, which walhook's role may not see (GRANT pg_read_all_stats TO %s would let it)",
			instant(l.At), margin, quoteName(targetOf(r.cfg.Source.DSN.reveal()).user))
	case l.From == state.FromLog:
		r.report.Derived = fmt.Sprintf("the last delivery in the log from before the position was committed at %s; less a margin of %s for transactions that had begun before", instant(l.At), margin)
	default:
		r.report.Derived = fmt.Sprintf("nothing is noted of when the position was reached: since the state was bound to the database, at %s; less a margin of %s", instant(l.At), margin)
	}
	r.report.Since = l.Oldest.Add(-margin)
	return nil
}

// compared finds the tables whose rows can be compared with their images: those are as the state's position is, if it is this resync that puts the gap
// on record. After --adopt they have been made anew.
func (r *resync) compared(ctx context.Context) error {
	if !r.make && len(r.refusals) == 0 {
		return nil
	}
	tables, err := r.db.Comparable(ctx)
	if err != nil {
		return environmentError(err, "")
	}
	for _, t := range r.survey.images {
		if slices.Contains(tables, state.ImageTable{Schema: t.Schema, Name: t.Name}) && r.survey.facts.Streams(t.Schema, t.Name, t.PrimaryKey) {
			r.imaged = append(r.imaged, t)
		}
	}
	return nil
}

// compares says that a table's rows are compared with their images.
func (r *resync) compares(t *catalog.Table) bool {
	return slices.ContainsFunc(r.imaged, func(o *catalog.Table) bool { return o.Schema == t.Schema && o.Name == t.Name })
}

// look finds out what can be known for each rule.
func (r *resync) look(ctx context.Context) error {
	if err := r.compared(ctx); err != nil {
		return err
	}
	r.report.NotKnown = []string{
		"records that were created and deleted within the gap",
		"what records were in between, and what they were before: a resync event shows what is there now",
		"which of the records that are found by write_date have changed at all: it changes without a change that matters",
	}
	for _, rule := range r.survey.rules.Rules() {
		if !rule.IsActive() {
			continue
		}
		line, err := r.lookAt(ctx, rule)
		if err != nil {
			return err
		}
		r.report.Rules = append(r.report.Rules, line)
	}
	return r.lookGone(ctx)
}

// lookAt plans for one rule.
func (r *resync) lookAt(ctx context.Context, rule *rules.Rule) (line resyncRule, err error) {
	line = resyncRule{Rule: rule.Name, Model: rule.Model, Endpoints: rule.Endpoints, NotKnown: []string{}}
	not := func(format string, args ...any) { line.NotKnown = append(line.NotKnown, fmt.Sprintf(format, args...)) }
	switch {
	case slices.Contains(rule.Ops(), cdc.Message):
		line.Model = ""
		not("custom events that were sent within the gap are lost: they are nowhere but in WAL")
		return line, nil
	case rule.Schedule != nil:
		line.Table = rule.Table.Name
		not("for which records the condition held only in between; it looks by itself for those that hold now")
		return line, nil
	}
	line.Table = rule.Table.Name
	switch {
	case rule.TellsOfRows() && r.compares(rule.Table):
		line.Images, line.filter = true, turnedTo(rule)
		if line.Rows, err = r.count(ctx, rule, line.filter); err != nil {
			return line, err
		}
	case rule.TellsOfRows():
		line.filter, line.By = stamped(rule, r.report.Since)
		if line.filter == nil {
			not("which rows were written: the table has no write_date")
			line.Remedy = fmt.Sprintf("walhook backfill %s   (sends all rows for which the condition holds)", rule.Name)
		} else {
			if line.Rows, err = r.count(ctx, rule, line.filter); err != nil {
				return line, err
			}
			if line.Unstamped, err = r.count(ctx, rule, &cdc.Filter{Kind: cdc.FilterIs, Column: line.By, Text: "NULL"}); err != nil {
				return line, err
			}
			not("rows that were written without touching %s: by SQL past Odoo, or by a foreign key's ON DELETE SET NULL", line.By)
			if line.Unstamped > 0 {
				not("%s without a %s", plural(int(line.Unstamped), "row"), line.By)
			}
		}
	}
	if len(rule.Rollups()) > 0 {
		var fields []string
		for _, u := range rule.Rollups() {
			fields = append(fields, u.Field)
		}
		not("changes of %s whose record was not written itself", andList(fields))
		line.Remedy = fmt.Sprintf("walhook backfill %s   (sends all rows for which the condition holds)", rule.Name)
	}
	if rule.EachWrite {
		not("how often each record was written: one event is sent for each")
	}
	switch {
	case slices.Contains(rule.Ops(), cdc.Unlink) && r.compares(rule.Table):
		line.Images = true
	case slices.Contains(rule.Ops(), cdc.Unlink):
		line.NotKnown = append(line.NotKnown, deletionsBefore) // when that is, the log tells
	case rule.TellsOfRows():
		not("deletions: the rule is not on unlink")
	}
	return line, nil
}

// count counts rows of a rule's table; -1 when that takes too long.
func (r *resync) count(ctx context.Context, rule *rules.Rule, f *cdc.Filter) (int64, error) {
	n, exact, err := r.live.Count(ctx, rule.Table.Schema, rule.Table.Name, f)
	if err == nil && !exact {
		n = -1
	}
	return n, environmentError(err, "")
}

// stamped narrows a rule's table down to rows that were written since: a rule on create alone is told of new ones. nil when there is no such column.
func stamped(rule *rules.Rule, since time.Time) (*cdc.Filter, string) {
	column := "write_date"
	if ops := rule.Ops(); !slices.Contains(ops, cdc.Write) && rule.Table.Column("create_date") != nil {
		column = "create_date"
	}
	c := rule.Table.Column(column)
	if c == nil || c.Type.Kind != cdc.KindTimestamp && c.Type.Kind != cdc.KindTimestampTZ || !cdc.Filterable(c.Type) {
		return nil, ""
	}
	text := since.UTC().Format("2006-01-02 15:04:05.999999")
	if c.Type.Kind == cdc.KindTimestampTZ {
		text += "+00"
	}
	f := &cdc.Filter{Kind: cdc.FilterAll, Of: []cdc.Filter{{Kind: cdc.FilterCompare, Column: column, Type: c.Type, Operator: ">=", Text: text}}}
	if is := turnedTo(rule); is != nil {
		f.Of = append(f.Of, *is)
	}
	return f, column
}

// turnedTo narrows the table of a rule on archive alone, or on unarchive alone, down to rows that may have become so; nil for other rules.
func turnedTo(rule *rules.Rule) *cdc.Filter {
	on := rule.On
	archive, unarchive := slices.Contains(on, "archive"), slices.Contains(on, "unarchive")
	if active := rules.ActiveColumn(rule.Table); active != "" && archive != unarchive && !slices.Contains(on, "write") && !slices.Contains(on, "create") {
		is := "TRUE"
		if archive {
			is = "NOT TRUE"
		}
		return &cdc.Filter{Kind: cdc.FilterIs, Column: active, Text: is}
	}
	return nil
}

// andList joins names for people.
func andList(names []string) string {
	if n := len(names); n > 1 {
		return fmt.Sprintf("%s and %s", joinNames(names[:n-1]), names[n-1])
	}
	return joinNames(names)
}

func joinNames(names []string) (text string) {
	for i, name := range names {
		if i > 0 {
			text += ", "
		}
		text += name
	}
	return text
}
