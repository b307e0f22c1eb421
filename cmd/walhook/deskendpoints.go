package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"walhook/delivery"
	"walhook/state"
	"walhook/status"
)

// recentAttempts and recentDead bound what is shown of an endpoint's past.
const (
	recentAttempts = 10
	recentDead     = 5
)

// ListEndpoints implements [status.Overview].
func (d *desk) ListEndpoints(ctx context.Context) ([]status.EndpointLine, error) {
	return d.cfg.endpointLines(ctx, d.db)
}

// ListRules implements [status.Overview].
func (d *desk) ListRules(context.Context) ([]status.RuleLine, error) { return d.cfg.ruleLines(), nil }

// ListProcesses implements [status.Overview].
func (d *desk) ListProcesses(ctx context.Context) ([]status.ProcessLine, error) {
	list, err := d.db.Processes(ctx)
	return append([]status.ProcessLine{}, list...), environmentError(err, "")
}

// Endpoint implements [status.EndpointDesk].
func (d *desk) Endpoint(ctx context.Context, name string) (*status.EndpointDetail, error) {
	if err := d.cfg.knownEndpoint(ctx, d.db, name); err != nil {
		return nil, err
	}
	lines, err := d.ListEndpoints(ctx)
	if err != nil {
		return nil, err
	}
	out := &status.EndpointDetail{Rules: []string{}, Attempts: []status.AttemptLine{}, LastDead: []status.DeliveryLine{}}
	for _, l := range lines {
		if l.Name == name {
			out.EndpointLine = l
		}
	}
	if c, configured := d.cfg.Endpoints[name]; configured {
		out.Configuration = settingsOf(c)
		for _, key := range c.PublicKeys() {
			out.PublicKeys = append(out.PublicKeys, key.String())
		}
	}
	for _, r := range d.cfg.ruleLines() {
		if slices.Contains(r.Endpoints, name) {
			out.Rules = append(out.Rules, r.Name)
		}
	}
	if out.Epoch, out.Sequence, err = d.db.LastNumber(ctx, name); err != nil {
		return nil, environmentError(err, "")
	}
	attempts, err := d.db.RecentAttempts(ctx, name, recentAttempts)
	if err != nil {
		return nil, environmentError(err, "")
	}
	for i := range attempts {
		l := status.LineOfAttempt(&attempts[i].Attempt, attempts[i].Result, attempts[i].Reason)
		l.ID = attempts[i].ID
		l.RequestHeaders, l.ResponseHeaders, l.ResponseBody = nil, nil, "" // shown with the delivery
		out.Attempts = append(out.Attempts, l)
	}
	if out.LastDead, _, err = d.Deliveries(ctx, status.Selection{State: string(state.Dead), Endpoint: name, Limit: recentDead}); err != nil {
		return nil, err
	}
	return out, nil
}

// settingsOf shows an endpoint's configuration, with its defaults and without its secrets.
func settingsOf(c delivery.EndpointConfig) *status.EndpointSettings {
	c = c.WithDefaults()
	s := &status.EndpointSettings{
		Method: c.Method, Headers: slices.Sorted(maps.Keys(c.Headers)), Query: slices.Sorted(maps.Keys(c.Query)), Auth: c.Auth.Type, Secrets: len(c.Secrets),
		Timeout: c.Timeout.String(), Concurrency: c.Concurrency, Ordering: c.Ordering, OnDead: c.OnDead, MaxBody: int(c.MaxBody), MaxResponse: int(c.MaxResponse),
		HTTP2: c.UseHTTP2(), Proxy: c.Proxy.String(), Warnings: c.Warnings(), TLS: map[string]string{},
		Queue: fmt.Sprintf("up to %d deliveries and %s, then %s", c.Queue.MaxRows, c.Queue.MaxBytes, c.Queue.Overflow),
	}
	s.Breaker, s.Disable = c.Breaker.String(), c.Disable.String()
	if s.Auth == "" {
		s.Auth = "none"
	}
	if c.Queue.MaxAge > 0 {
		s.Queue += fmt.Sprintf(", none older than %s", c.Queue.MaxAge)
	}
	if c.HMAC.Header != "" {
		s.HMAC = c.HMAC.Header
	}
	if c.Batch.On() {
		s.Batch = fmt.Sprintf("up to %d deliveries and %s, waiting %s", c.Batch.Size, c.Batch.Bytes, c.Batch.Wait)
	}
	if len(c.Retry.Schedule) > 0 {
		var waits []string
		for _, w := range c.Retry.Schedule {
			waits = append(waits, w.String())
		}
		s.Retry = strings.Join(waits, ", ")
	} else {
		s.Retry = fmt.Sprintf("%d attempts, %s apart, each wait times %g, up to %s", c.Retry.Limit(), c.Retry.Initial, c.Retry.Factor, c.Retry.Max)
	}
	for name, value := range map[string]string{"ca_file": c.TLS.CAFile, "cert_file": c.TLS.CertFile, "key_file": c.TLS.KeyFile, "server_name": c.TLS.ServerName} {
		if value != "" {
			s.TLS[name] = value
		}
	}
	if c.TLS.InsecureSkipVerify {
		s.TLS["insecure_skip_verify"] = "true"
	}
	return s
}

// SetEndpoint implements [status.EndpointDesk].
func (d *desk) SetEndpoint(ctx context.Context, name string, pause bool, reason string) (changed bool, err error) {
	if err := d.cfg.knownEndpoint(ctx, d.db, name); err != nil {
		return false, err
	}
	if pause {
		changed, err = d.db.PauseEndpoint(ctx, name, reason)
		return changed, environmentError(err, "")
	}
	was, err := d.resume(ctx, name)
	return was.Any(), err
}

// resume lets deliveries of an endpoint go again.
func (d *desk) resume(ctx context.Context, name string) (state.Resumed, error) {
	if err := d.own(ctx); err != nil {
		return state.Resumed{}, err
	}
	was, err := d.db.ResumeEndpoint(ctx, name)
	return was, environmentError(err, "")
}

// SendTest implements [status.EndpointDesk].
func (d *desk) SendTest(ctx context.Context, name, event string, body []byte) (*status.TestResult, error) {
	if _, ok := d.cfg.Endpoints[name]; !ok {
		return nil, d.cfg.unconfigured(name)
	}
	if err := d.mayTest(ctx); err != nil {
		return nil, err
	}
	endpoint := d.cfg.Endpoints[name]
	if stored, bound, err := d.db.Bound(ctx); err == nil && bound {
		endpoint = withSource(endpoint, stored.DatabaseName, stored.UUID != "")
	}
	test, err := delivery.NewTest(name, event, body, time.Now())
	if err != nil {
		return nil, err
	}
	test.Dress(endpoint, body == nil)
	o, err := delivery.SendTest(ctx, endpoint, currentBuild().Version, test)
	if err != nil {
		return nil, err
	}
	result := &status.TestResult{
		ID: test.ID, Endpoint: name, Event: test.Event, Result: o.Result, Reason: o.Reason, Body: asRaw(test.Body), Attempt: status.LineOfAttempt(o.Attempt, o.Result, o.Reason),
	}
	if err := d.logTest(ctx, &o); err != nil {
		result.NotRecorded, result.RecordError = err.Error(), err
	}
	return result, nil
}

// logTest puts a test on record, also when whoever asked for it has gone meanwhile: it was sent.
func (d *desk) logTest(ctx context.Context, o *delivery.Outcome) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return d.db.LogTest(ctx, o)
}

// mayTest makes sure that this is no copy whose tests would reach production's receivers (invariant 5). A state that belongs to nothing yet tells
// nothing of that.
func (d *desk) mayTest(ctx context.Context) error {
	if _, bound, err := d.db.Bound(ctx); err != nil {
		return environmentError(err, "")
	} else if !bound {
		return environmentError(state.ErrNotBound, "walhook setup; endpoints verify, which sends no event, works before that")
	}
	return d.own(ctx)
}

// Verify implements [status.EndpointDesk].
func (d *desk) Verify(ctx context.Context, name, address string, send bool) (*delivery.Probe, error) {
	c, err := d.cfg.probed(name, address)
	if err != nil {
		return nil, err
	}
	switch {
	case send:
		if err := d.mayTest(ctx); err != nil {
			return nil, err
		}
	case name != "" && d.db != nil:
		if err := d.noCopy(ctx); err != nil {
			return nil, err
		}
	}
	probe := delivery.Prober{Version: currentBuild().Version, Send: send}.Probe(ctx, name, c)
	for i := range probe.Tests {
		if err := d.logTest(ctx, &probe.Tests[i]); err != nil {
			probe.Findings = append(probe.Findings, delivery.Finding{Check: delivery.CheckAnswer, Severity: delivery.FindingWarning, Message: fmt.Sprintf("the test could not be put on record: %v", err)})
		}
	}
	return probe, nil
}

// noCopy refuses only what is known to be a copy: a request without an event may be made before there is a state, or while the source is away.
func (d *desk) noCopy(ctx context.Context) error {
	var mismatch *state.MismatchError
	if err := d.own(ctx); errors.As(err, &mismatch) {
		return err
	}
	return nil
}

// probed is the configuration of an endpoint, or one of an address that is none's: then the address guard is on.
func (c *Config) probed(name, address string) (delivery.EndpointConfig, error) {
	if address != "" {
		return delivery.EndpointConfig{URL: delivery.URL(address), Guarded: true}, nil
	}
	endpoint, ok := c.Endpoints[name]
	if !ok {
		return delivery.EndpointConfig{}, c.unconfigured(name)
	}
	return endpoint, nil
}

// unconfigured is the complaint about a name that the configuration does not have.
func (c *Config) unconfigured(name string) error {
	hint := hintOf(c.configured(name))
	return &failure{err: fmt.Errorf("%w in the configuration", unknownEndpoint(name)), code: exitUsage, hint: hint}
}
