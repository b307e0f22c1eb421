package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"walhook/cdc"
	"walhook/delivery"
	"walhook/state"
	"walhook/status"
)

// job is one kind of thing to work on.
type job struct {
	noun  string
	sends bool // what it does makes a running walhook send
	rests bool // the same selection does not find what is left; did.rest does
	count func(ctx context.Context, limit int) (int64, error)
	run   func(ctx context.Context, progress func(done int64)) (did, error)
}

// did is what came of a job, as far as it came.
type did struct {
	done, failed int64
	left         int64        // in the hands of a process
	rest         state.Filter // what is left: After and Before
}

// jobs are what an action comes to for a selection: of parked events, of what waits for its window, of the queue, or else of dead letters. Ids may be of any of them.
func (d *desk) jobs(action string, kinds status.Kinds, f state.Filter) ([]job, error) {
	if action == status.ActionReplay {
		if f.Error != "" || f.Class != "" {
			return nil, &selectionError{message: "what was delivered has no error: error and class do not fit", hint: "select it by id, endpoint, rule, model, record, status, since and until"}
		}
		if err := d.cfg.configured(f.Endpoint); err != nil {
			return nil, err
		}
		return []job{d.replayJob(f)}, nil
	}
	switch {
	case len(f.IDs) > 0:
		return []job{d.deadJob(action, f), d.parkedJob(action, f), d.waitingJob(action, f), d.queuedJob(action, "", f)}, nil
	case kinds.Several():
		return nil, &selectionError{message: "parked, waiting, and pending or retrying select different things", hint: "do one after the other"}
	case kinds.Pending && !kinds.Retrying && f.Failure():
		return nil, &selectionError{message: "what is pending was never tried: error, class and status do not fit", hint: "select it by endpoint, rule, model, record, since and until; retrying deliveries have an error"}
	case kinds.Pending && kinds.Retrying:
		return []job{d.queuedJob(action, "", f)}, nil
	case kinds.Pending:
		return []job{d.queuedJob(action, state.Pending, f)}, nil
	case kinds.Retrying:
		return []job{d.queuedJob(action, state.Retrying, f)}, nil
	case kinds.Waiting && (f.Error != "" || f.Class != "" || f.Status != 0):
		return nil, &selectionError{message: "what waits was never sent: error, class and status do not fit", hint: "select it by endpoint, rule, model, record, since and until"}
	case kinds.Waiting:
		return []job{d.waitingJob(action, f)}, nil
	case !kinds.Parked:
		return []job{d.deadJob(action, f)}, nil
	case f.Endpoint != "" || f.Class != "" || f.Status != 0:
		return nil, errParkedFilter
	}
	return []job{d.parkedJob(action, f)}, nil
}

func (d *desk) deadJob(action string, f state.Filter) job {
	work := d.db.DiscardDead
	if action == status.ActionRetry {
		work = d.db.RetryDead
	}
	return job{noun: "dead letter", sends: action == status.ActionRetry,
		count: func(ctx context.Context, limit int) (int64, error) { return d.db.CountDead(ctx, f, limit) },
		run: func(ctx context.Context, progress func(int64)) (out did, err error) {
			f.Progress, f.Rest, f.Priorities = progress, &out.rest, d.cfg.priorities()
			out.done, err = work(ctx, f)
			return out, err
		}}
}

// priorities are those of the rules as they are now: what is sent again goes by them.
func (c *Config) priorities() map[string]delivery.Priority {
	all := make(map[string]delivery.Priority, len(c.Rules))
	for i := range c.Rules {
		all[c.Rules[i].Name] = c.Rules[i].Ranked()
	}
	return all
}

func (d *desk) waitingJob(action string, f state.Filter) job {
	work := d.db.DiscardWaiting
	if action == status.ActionRetry {
		work = d.db.RetryWaiting
	}
	return job{noun: "waiting delivery", sends: action == status.ActionRetry,
		count: func(ctx context.Context, limit int) (int64, error) { return d.db.CountWaiting(ctx, f, limit) },
		run: func(ctx context.Context, progress func(int64)) (out did, err error) {
			f.Progress, f.Rest = progress, &out.rest
			out.done, err = work(ctx, f)
			return out, err
		}}
}

// queuedJob works on the queue: on deliveries in a state, or in any with "".
func (d *desk) queuedJob(action string, of state.State, f state.Filter) job {
	f.State = of
	noun := "queued delivery"
	if of != "" {
		noun = string(of) + " delivery"
	}
	due := action == status.ActionRetry
	return job{noun: noun, sends: due,
		count: func(ctx context.Context, limit int) (int64, error) { return d.db.CountQueued(ctx, f, due, limit) },
		run: func(ctx context.Context, progress func(int64)) (out did, err error) {
			f.Progress, f.Rest = progress, &out.rest
			if due {
				out.done, err = d.db.RetryQueued(ctx, f)
			} else {
				out.done, out.left, err = d.db.DiscardQueued(ctx, f)
			}
			return out, err
		}}
}

func (d *desk) parkedJob(action string, f state.Filter) job {
	return job{noun: "parked event", sends: action == status.ActionRetry,
		count: func(ctx context.Context, limit int) (int64, error) { return d.db.CountParked(ctx, f, limit) },
		run: func(ctx context.Context, progress func(int64)) (out did, err error) {
			f.Progress, f.Rest = progress, &out.rest
			if action != status.ActionRetry {
				out.done, err = d.db.DiscardParked(ctx, f)
				return out, err
			}
			taken, failed, err := d.retryParked(ctx, f)
			out.done, out.failed = taken-failed, failed
			return out, err
		}}
}

func (d *desk) replayJob(f state.Filter) job {
	noun := "delivered webhook"
	if f.State == state.Test {
		noun = "test delivery"
	}
	return job{noun: noun, sends: true, rests: true,
		count: func(ctx context.Context, limit int) (int64, error) { return d.db.CountDelivered(ctx, f, limit) },
		run: func(ctx context.Context, progress func(int64)) (out did, err error) {
			f.Progress, f.Priorities = progress, d.cfg.priorities()
			out.done, out.rest, err = d.db.Replay(ctx, f)
			return out, err
		}}
}

// errUnconfirmed asks for what the command line calls --all.
var errUnconfirmed = &selectionError{message: "nothing is selected", hint: `name ids, select by a filter, or say "all": true`}

// Change implements [status.DeliveryDesk].
func (d *desk) Change(ctx context.Context, c status.Change) (*status.Changed, error) {
	if len(c.Selection.IDs) == 0 && c.Selection.Empty() && !c.All {
		return nil, errUnconfirmed
	}
	f, err := filterOf(c.Selection, time.Now())
	if err != nil {
		return nil, err
	}
	jobs, err := d.jobs(c.Action, c.Kinds, f)
	if err != nil {
		return nil, err
	}
	out := &status.Changed{}
	if c.Preview {
		for _, j := range jobs {
			n, err := j.count(ctx, previewLimit+1)
			if err != nil {
				return nil, environmentError(err, "")
			}
			out.Selected, out.More = out.Selected+min(n, previewLimit), out.More || n > previewLimit
		}
		return out, nil
	}
	if err := d.own(ctx); err != nil {
		return nil, err
	}
	for _, j := range jobs {
		if len(jobs) > 1 { // ids: there may be none of the kind
			if n, err := j.count(ctx, 1); err != nil {
				return out, environmentError(err, "")
			} else if n == 0 {
				continue
			}
		}
		did, err := j.run(ctx, nil)
		out.Done, out.Failed, out.Left = out.Done+did.done, out.Failed+did.failed, out.Left+did.left
		if len(f.IDs) == 0 && f.Limit > 0 && (err != nil || did.done+did.failed >= int64(f.Limit)) {
			out.Before, out.After = did.rest.Before, did.rest.After
		}
		if err != nil {
			return out, environmentError(err, "")
		}
	}
	if len(f.IDs) > 0 && out.Done+out.Failed+out.Left == 0 {
		return nil, &notFound{f.IDs[0]}
	}
	return out, nil
}

// configured refuses an endpoint to which nothing could be sent.
func (c *Config) configured(endpoint string) error {
	if _, ok := c.Endpoints[endpoint]; ok || endpoint == "" {
		return nil
	}
	hint := "walhook endpoints list"
	if s := nearest(endpoint, slices.Sorted(maps.Keys(c.Endpoints))); s != "" {
		hint = fmt.Sprintf("did you mean %q?", s)
	}
	return &selectionError{message: fmt.Sprintf("there is no endpoint %q in the configuration", endpoint), hint: hint}
}

// planning compiles the rules against the database as it is.
func (c *Config) planning(ctx context.Context, db *state.DB) (*planning, error) {
	conn, err := connect(ctx, "source.dsn", c.Source.DSN.reveal())
	if err != nil {
		return nil, err
	}
	defer closeConn(conn)
	s, err := c.look(ctx, conn, "")
	if err != nil {
		return nil, err
	}
	stored, bound, err := db.Bound(ctx)
	if err != nil {
		return nil, environmentError(err, "")
	}
	if !bound {
		return nil, environmentError(state.ErrNotBound, "walhook setup")
	}
	live, err := cdc.NewLive(c.Source.DSN.reveal(), "lookups", nil)
	if err != nil {
		return nil, environmentError(err, "")
	}
	return s.planning(delivery.Identity{SystemID: stored.SystemID, DatabaseOID: stored.DatabaseOID}, c, live, live.Close), nil
}

// planning plans by the rules that the survey has compiled.
func (s *survey) planning(id delivery.Identity, c *Config, live *cdc.Live, done func()) *planning {
	p := &planning{planner: delivery.NewPlanner(id, s.rules, c.Endpoints, newRelatedRows(live, s.rules)), active: map[string]bool{}, close: done}
	for _, r := range s.rules.Rules() {
		p.active[r.Name] = r.IsActive()
	}
	return p
}

// ruleGone follows the error of a parked event that was to be evaluated again in vain.
const ruleGone = "; not evaluated again: the rule is no longer in the configuration, or not active"

// retryParked evaluates parked events by the rules as they are now.
func (d *desk) retryParked(ctx context.Context, f state.Filter) (taken, failed int64, err error) {
	p, err := d.planning(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer p.close()
	taken, failed, err = d.db.RetryParked(ctx, f, func(ctx context.Context, events []*delivery.Parked) (state.Evaluated, error) {
		var out state.Evaluated
		for _, e := range events {
			if e.Rule == delivery.NoticeRule { // a malformed message, which no rule makes well
				out.Parked = append(out.Parked, e)
				continue
			}
			if !p.active[e.Rule] {
				again := *e
				if !strings.HasSuffix(again.Error, ruleGone) { // why it was parked stays to be read
					again.Error += ruleGone
				}
				out.Parked = append(out.Parked, &again)
				continue
			}
			if err := evaluate(ctx, p.planner, e, &out); err != nil {
				return out, err
			}
		}
		return out, nil
	})
	return taken, failed, environmentError(err, "")
}
