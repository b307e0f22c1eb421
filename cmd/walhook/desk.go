package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"walhook/delivery"
	"walhook/state"
	"walhook/status"
)

// desk does what people ask for, by a command or over the API, so that both find, refuse and do the same.
type desk struct {
	cfg *Config
	db  *state.DB

	// own makes sure that the state belongs to the source, which is no copy: before anything is sent, made due or given up (invariant 5).
	own func(context.Context) error

	// planning returns the rules as they are now, for events that are evaluated again.
	planning func(context.Context) (*planning, error)

	// surveyed returns what is known of the source as it is now.
	surveyed func(context.Context) (s *survey, err error)
}

// planning evaluates events.
type planning struct {
	planner *delivery.Planner
	active  map[string]bool // rules
	close   func()
}

// desk is that of a command, which looks at the source itself.
func (c *Config) desk(db *state.DB) *desk {
	return &desk{
		cfg: c, db: db,
		own:      func(ctx context.Context) error { return c.sameSource(ctx, db) },
		planning: func(ctx context.Context) (*planning, error) { return c.planning(ctx, db) },
		surveyed: func(ctx context.Context) (*survey, error) {
			conn, err := connect(ctx, "source.dsn", c.Source.DSN.reveal())
			if err != nil {
				return nil, err
			}
			defer closeConn(conn)
			return c.understand(ctx, conn, false, nil)
		},
	}
}

// parkedState is what lists call events whose rule failed; they are no deliveries yet.
const parkedState = "parked"

// loggedStates are those that a delivery may have; commands offer parkedState beside them, the API has a list of its own for it.
var loggedStates = func() (names []string) {
	for _, s := range state.States() {
		names = append(names, string(s))
	}
	return names
}()

// deliveryStates are what a command's selection may ask for.
var deliveryStates = append(slices.Clip(loggedStates), parkedState)

var errParkedFilter = &selectionError{message: "a parked event has no endpoint yet, and no answer: endpoint, class and status do not fit",
	hint: "select them by rule, model, record, error, since and until"}

// Deliveries implements [status.DeliveryDesk].
func (d *desk) Deliveries(ctx context.Context, s status.Selection) (page []status.DeliveryLine, next int64, err error) {
	f, err := filterOf(s, time.Now())
	if err != nil {
		return nil, 0, err
	}
	page = []status.DeliveryLine{}
	if f.State == parkedState {
		if f.Endpoint != "" || f.Class != "" || f.Status != 0 {
			return nil, 0, errParkedFilter
		}
		list, err := d.db.ListParked(ctx, f)
		if err != nil {
			return nil, 0, environmentError(err, "")
		}
		for i := range list {
			page = append(page, lineOfParked(&list[i]))
		}
		if f.Limit > 0 && len(list) >= f.Limit {
			next = list[len(list)-1].N
		}
		return page, next, nil
	}
	list, next, err := d.db.PageDeliveries(ctx, f)
	if err != nil {
		return nil, 0, environmentError(err, "")
	}
	for i := range list {
		page = append(page, lineOfDelivery(&list[i]))
	}
	return page, next, nil
}

// list goes through pages until there are as many as were asked for.
func (d *desk) list(ctx context.Context, s status.Selection) (lines []status.DeliveryLine, err error) {
	lines = []status.DeliveryLine{}
	for limit := s.Limit; ; {
		s.Limit = limit - len(lines)
		page, next, err := d.Deliveries(ctx, s)
		if err != nil {
			return nil, err
		}
		if lines = append(lines, page...); next == 0 || len(lines) >= limit {
			return lines, nil
		}
		s.Before = next
	}
}

// notFound is an id that nothing is known of.
type notFound struct{ id string }

func (e *notFound) Error() string { return fmt.Sprintf("there is no delivery %q", e.id) }
func (e *notFound) Hint() string {
	return "walhook deliveries list; the log is kept for [state] retention"
}
func (e *notFound) ExitCode() int { return exitFailed }

// Delivery implements [status.DeliveryDesk].
func (d *desk) Delivery(ctx context.Context, id string) (*status.DeliveryDetail, error) {
	detail := &status.DeliveryDetail{Attempts: []status.AttemptLine{}}
	found, attempts, err := d.db.GetDelivery(ctx, id)
	switch {
	case err == nil:
		detail.DeliveryLine, detail.Body = lineOfDelivery(found), asRaw(d.cfg.shownBody(found))
		detail.Format, detail.Headers = found.Format, found.Headers
		for i := range attempts {
			detail.Attempts = append(detail.Attempts, status.LineOfAttempt(&attempts[i].Attempt, attempts[i].Result, attempts[i].Reason))
		}
		return detail, nil
	case !errors.Is(err, state.ErrNotFound):
		return nil, environmentError(err, "")
	}
	parked, err := d.db.ListParked(ctx, state.Filter{IDs: []string{id}, Limit: 1})
	if err != nil {
		return nil, environmentError(err, "")
	}
	if len(parked) == 0 {
		return nil, &notFound{id}
	}
	detail.DeliveryLine, detail.Change = lineOfParked(&parked[0]), asRaw(d.cfg.shownChange(&parked[0]))
	return detail, nil
}

// Gaps implements [status.DeliveryDesk].
func (d *desk) Gaps(ctx context.Context, s status.GapSelection) (page []status.Gap, next string, err error) {
	f := state.GapFilter{Endpoint: s.Endpoint, Reason: s.Reason, Epoch: s.Epoch, After: s.After, Limit: s.Limit}
	if err := oneOf("reason", s.Reason, state.GapReasons); err != nil {
		return nil, "", err
	}
	now := time.Now()
	if f.Since, err = moment("--since", s.Since, now); err != nil {
		return nil, "", err
	}
	if f.Until, err = moment("--until", s.Until, now); err != nil {
		return nil, "", err
	}
	list, err := d.db.ListGaps(ctx, f)
	var key *state.GapKeyError
	if errors.As(err, &key) {
		return nil, "", &selectionError{flag: "--after", message: key.Error(), hint: key.Hint()}
	}
	if err != nil {
		return nil, "", environmentError(err, "")
	}
	page = []status.Gap{}
	for _, g := range list {
		page = append(page, status.Gap(g))
	}
	if len(list) > 0 && len(list) >= f.Limit {
		next = list[len(list)-1].Key()
	}
	return page, next, nil
}

func lineOfDelivery(l *state.Listed) status.DeliveryLine {
	return status.DeliveryLine{
		Seq: l.Seq, Epoch: l.Epoch, Sequence: l.Sequence, ID: l.ID, State: string(l.State), Endpoint: l.Endpoint, Rule: l.Rule, Event: l.Event, Model: l.Model, Record: l.Record, Op: l.Op,
		LSN: l.CommitLSN.String(), XID: l.XID, Committed: l.CommitAt, Queued: l.Enqueued, Attempts: l.Attempts, Due: l.Due, Ended: l.Ended,
		Status: l.Status, Reason: l.Reason, Held: l.Held, Late: l.Late, Bytes: l.Bytes,
	}
}

func lineOfParked(p *state.ParkedEvent) status.DeliveryLine {
	return status.DeliveryLine{
		Seq: p.N, ID: p.ID, State: parkedState, Rule: p.Rule, Model: p.Model, Record: p.Record, LSN: p.CommitLSN.String(), XID: p.XID,
		Committed: p.CommitAt, Queued: p.ParkedAt, Reason: p.Error, Bytes: len(p.Change),
	}
}
