package main

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"walhook/delivery"
	"walhook/state"
	"walhook/status"
)

// apiDesk is the desk that the API works at: that of commands, within a running process, with errors that HTTP can tell.
type apiDesk struct{ now func() *desk }

var _ status.Desk = apiDesk{}

// desk is that of this process: it asks over the connections that it has, and stays away from the source's database when the process does.
func (p *pipeline) desk() *desk {
	m := p.current()
	return &desk{cfg: m.cfg, db: p.db, own: p.ownSource, planning: func(context.Context) (*planning, error) {
		id := m.at.identity
		return m.survey.planning(delivery.Identity{SystemID: id.SystemID, DatabaseOID: id.DatabaseOID}, m.cfg, m.lookups, func() {}), nil
	}, surveyed: func(context.Context) (*survey, error) { return m.survey, nil }}
}

var errNotVerified = errors.New("this process has not made sure yet that the database is the one that the state belongs to")

// ownSource makes sure that the state is still this source's, which is no copy (invariant 5).
func (p *pipeline) ownSource(ctx context.Context) error {
	m := p.current()
	found, err := m.identity.look(ctx)
	if err != nil {
		return environmentError(err, "")
	}
	if err := m.identity.judge(found); err != nil { // before anything else: it is all that keeps a request without an event from a copy
		return err
	}
	select {
	case <-m.verified:
		return nil
	default:
		return environmentError(errNotVerified, "walhook status says what it waits for")
	}
}

// noteAudit logs what was done over the API, and by whom.
func (p *pipeline) noteAudit(a status.Audit) {
	e := p.log.Info()
	if a.Err != nil {
		e = withHint(p.log.Warn(), a.Err)
	}
	e.Str("action", a.Action).Str("what", a.What).Int64("done", a.Done).Int64("failed", a.Failed).Str("remote", a.Remote).Str("token", a.Token).Dur("took_ms", a.Took).Msg("api")
}

// told makes of a desk's error one that says whose fault it is.
func told(err error) error {
	if err == nil {
		return nil
	}
	r := &status.Refusal{Status: http.StatusBadRequest, Code: "invalid_request", Message: err.Error(), Remedy: hintOf(err)}
	var (
		selection *selectionError
		missing   *notFound
		unknown   unknownEndpoint
		mismatch  *state.MismatchError
		full      *state.FullError
		config    *delivery.ConfigError
		pg        *pgconn.PgError
	)
	switch {
	case errors.As(err, &missing), errors.As(err, &unknown):
		r.Status, r.Code = http.StatusNotFound, "not_found"
	case errors.As(err, &selection):
		r.Message = strings.TrimPrefix(r.Message, "--")
	case errors.As(err, &mismatch):
		r.Status, r.Code = http.StatusConflict, "another_source"
	case errors.As(err, &full):
		r.Status, r.Code = http.StatusConflict, "queue_full"
	case errors.As(err, &config):
		r.Code = "invalid_configuration"
	case errors.As(err, &pg) && pg.Code == "57014": // statement_timeout, a moment before the caller's own time
		return errors.Join(context.DeadlineExceeded, err)
	case exitCode(err) == exitUsage:
	default:
		return err
	}
	return r
}

// at lets the desk of now do something.
func at[T any](d apiDesk, do func(*desk) (T, error)) (T, error) {
	out, err := do(d.now())
	return out, told(err)
}

// paged is a page and where the next one begins.
type paged[T, N any] struct {
	list []T
	next N
}

func (d apiDesk) Deliveries(ctx context.Context, s status.Selection) ([]status.DeliveryLine, int64, error) {
	out, err := at(d, func(d *desk) (p paged[status.DeliveryLine, int64], err error) {
		p.list, p.next, err = d.Deliveries(ctx, s)
		return p, err
	})
	return out.list, out.next, err
}

func (d apiDesk) Delivery(ctx context.Context, id string) (*status.DeliveryDetail, error) {
	return at(d, func(d *desk) (*status.DeliveryDetail, error) { return d.Delivery(ctx, id) })
}

func (d apiDesk) Change(ctx context.Context, c status.Change) (*status.Changed, error) {
	return at(d, func(d *desk) (*status.Changed, error) { return d.Change(ctx, c) })
}

func (d apiDesk) Gaps(ctx context.Context, s status.GapSelection) ([]status.Gap, string, error) {
	out, err := at(d, func(d *desk) (p paged[status.Gap, string], err error) {
		p.list, p.next, err = d.Gaps(ctx, s)
		return p, err
	})
	return out.list, out.next, err
}

func (d apiDesk) Endpoint(ctx context.Context, name string) (*status.EndpointDetail, error) {
	return at(d, func(d *desk) (*status.EndpointDetail, error) { return d.Endpoint(ctx, name) })
}

func (d apiDesk) SetEndpoint(ctx context.Context, name string, pause bool, reason string) (bool, error) {
	return at(d, func(d *desk) (bool, error) { return d.SetEndpoint(ctx, name, pause, reason) })
}

func (d apiDesk) SendTest(ctx context.Context, name, event string, body []byte) (*status.TestResult, error) {
	return at(d, func(d *desk) (*status.TestResult, error) { return d.SendTest(ctx, name, event, body) })
}

func (d apiDesk) Verify(ctx context.Context, name, address string, send bool) (*delivery.Probe, error) {
	return at(d, func(d *desk) (*delivery.Probe, error) { return d.Verify(ctx, name, address, send) })
}

func (d apiDesk) ListEndpoints(ctx context.Context) ([]status.EndpointLine, error) {
	return at(d, func(d *desk) ([]status.EndpointLine, error) { return d.ListEndpoints(ctx) })
}

func (d apiDesk) ListRules(ctx context.Context) ([]status.RuleLine, error) {
	return at(d, func(d *desk) ([]status.RuleLine, error) { return d.ListRules(ctx) })
}

func (d apiDesk) ListProcesses(ctx context.Context) ([]status.ProcessLine, error) {
	return at(d, func(d *desk) ([]status.ProcessLine, error) { return d.ListProcesses(ctx) })
}

func (d apiDesk) ListJobs(ctx context.Context, ended bool) ([]status.JobLine, error) {
	return at(d, func(d *desk) ([]status.JobLine, error) { return d.ListJobs(ctx, ended) })
}

func (d apiDesk) Job(ctx context.Context, id int64) (*status.JobLine, error) {
	return at(d, func(d *desk) (*status.JobLine, error) { return d.Job(ctx, id) })
}

func (d apiDesk) SetJob(ctx context.Context, id int64, action string) (*status.JobLine, error) {
	return at(d, func(d *desk) (*status.JobLine, error) { return d.SetJob(ctx, id, action) })
}

func (d apiDesk) Backfill(ctx context.Context, r status.BackfillRequest, preview bool) ([]status.BackfillPlan, []status.JobLine, error) {
	out, err := at(d, func(d *desk) (p paged[status.BackfillPlan, []status.JobLine], err error) {
		p.list, p.next, err = d.Backfill(ctx, r, preview)
		return p, err
	})
	return out.list, out.next, err
}
