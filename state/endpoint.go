package state

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"walhook/delivery"
	"walhook/status"
)

// disableEndpoint disables an endpoint unless it is; $3 says that a notice tells of it.
const disableEndpoint = `INSERT INTO {schema}.endpoint AS e (name, disabled_at, disabled_reason, noticed, flow_version) VALUES ($1, now(), $2, $3, 1)
	ON CONFLICT (name) DO UPDATE SET disabled_at = now(), disabled_reason = excluded.disabled_reason, noticed = e.noticed OR excluded.noticed,
		flow_version = e.flow_version + 1 WHERE e.disabled_at IS NULL
	RETURNING disabled_at, coalesce(failing_since, disabled_at), failures`

// queueDisable queues it, and notes in told what the alert endpoint is to be told of it: nothing if it was disabled before.
func (db *DB) queueDisable(b *pgx.Batch, name, reason string, told *[]delivery.Notice) {
	notice := db.alerts().about(name)
	b.Queue(db.sql(disableEndpoint), name, clean(reason), notice).QueryRow(func(row pgx.Row) error {
		n := delivery.Notice{Event: delivery.NoticeDisabled, Endpoint: name, Reason: reason}
		switch err := row.Scan(&n.At, &n.Since, &n.Failures); {
		case noRows(err):
			return nil
		case err != nil:
			return err
		}
		if notice {
			*told = append(*told, n)
		}
		return nil
	})
}

// PauseEndpoint keeps deliveries of an endpoint waiting until ResumeEndpoint, for a reason that people read, and reports whether it was not paused before. Running
// processes act on it within about a second; requests under way go on. An endpoint that is paused keeps its first reason.
func (db *DB) PauseEndpoint(ctx context.Context, name, reason string) (changed bool, err error) {
	const pause = `INSERT INTO {schema}.endpoint AS e (name, paused_at, paused_reason, flow_version) VALUES ($1, now(), $2, 1)
		ON CONFLICT (name) DO UPDATE SET paused_at = now(), paused_reason = excluded.paused_reason, flow_version = e.flow_version + 1 WHERE e.paused_at IS NULL`
	if reason == "" {
		reason = "by hand"
	}
	tag, err := db.pool.Exec(ctx, db.sql(pause), name, clean(reason))
	return tag.RowsAffected() > 0, db.translate("pause endpoint", err)
}

// Resumed says what an endpoint was before it was resumed.
type Resumed struct {
	Paused, Disabled, Open bool // paused by a person; disabled; its breaker was open
}

// Any says that there was something to resume from.
func (r Resumed) Any() bool { return r.Paused || r.Disabled || r.Open }

// ResumeEndpoint lets deliveries of an endpoint go again: of one that was paused with a slow start, of one that was disabled, or whose
// breaker is open, with a probe at once. The time in which nothing was sent does not count as time in which it failed.
func (db *DB) ResumeEndpoint(ctx context.Context, name string) (was Resumed, err error) {
	const resume = `WITH was AS (
			SELECT name, paused_at IS NOT NULL AS paused, disabled_at IS NOT NULL AS disabled, open_since IS NOT NULL AS open
			FROM {schema}.endpoint WHERE name = $1 FOR UPDATE
		)
		UPDATE {schema}.endpoint e SET paused_at = NULL, paused_reason = NULL, disabled_at = NULL, disabled_reason = NULL,
			failures = CASE WHEN was.paused OR was.disabled THEN 0 ELSE e.failures END, failing_since = CASE WHEN NOT (was.paused OR was.disabled) THEN e.failing_since END,
			open_since = CASE WHEN was.disabled OR was.open THEN coalesce(e.open_since, now()) END,
			open_until = CASE WHEN was.disabled OR was.open THEN now() END,
			open_reason = CASE WHEN was.disabled OR was.open THEN coalesce(e.open_reason, '` + status.ResumedReason + `') END,
			flow_version = e.flow_version + 1
		FROM was WHERE e.name = was.name AND (was.paused OR was.disabled OR was.open)
		RETURNING was.paused, was.disabled, was.open`
	err = db.pool.QueryRow(ctx, db.sql(resume), name).Scan(&was.Paused, &was.Disabled, &was.Open)
	if noRows(err) {
		return Resumed{}, nil
	}
	return was, db.translate("resume endpoint", err)
}

// ReadFlow implements [delivery.FlowStore]. How long an endpoint is left alone is told by the database's clock, from which this process's may
// differ by hours at the moment.
func (p *Process) ReadFlow(ctx context.Context) (map[string]delivery.FlowState, int, error) {
	const (
		read = `SELECT name, flow_version, paused_at IS NOT NULL, coalesce(paused_reason, disabled_reason, ''), failures, failing_since, open_since,
			extract(epoch FROM open_until - now())::float8, coalesce(open_reason, ''), pauses, noticed, last_success_at, last_error_at FROM {schema}.endpoint`
		// A program that has begun anew, as after a reload, has two rows until its old lease ends.
		count = `SELECT count(DISTINCT (host, place, pid, birth)) FROM {schema}.process WHERE lease_until > now()`
	)
	states, processes := map[string]delivery.FlowState{}, 0
	b := &pgx.Batch{}
	b.Queue(p.db.sql(read)).Query(func(rows pgx.Rows) error {
		var name string
		var s delivery.FlowState
		var failing, since, success, failure *time.Time
		var wait *float64
		_, err := pgx.ForEachRow(rows, []any{&name, &s.Version, &s.Paused, &s.Blocked, &s.Failures, &failing, &since, &wait, &s.OpenReason, &s.Pauses, &s.Noticed, &success, &failure}, func() error {
			s.FailingSince, s.OpenSince, s.OpenUntil, s.LastSuccess, s.LastFailure = timeOf(failing), timeOf(since), time.Time{}, timeOf(success), timeOf(failure)
			if wait != nil {
				s.OpenUntil = time.Now().Add(time.Duration(*wait * float64(time.Second)))
			}
			states[name] = s
			return nil
		})
		return err
	})
	b.Queue(p.db.sql(count)).QueryRow(func(row pgx.Row) error { return row.Scan(&processes) })
	err := p.db.pool.SendBatch(ctx, b).Close()
	return states, processes, p.db.translate("read the state of endpoints", err)
}

// SaveFlow implements [delivery.FlowStore].
func (p *Process) SaveFlow(ctx context.Context, endpoint string, s delivery.FlowState, event string) (saved bool, err error) {
	const save = `INSERT INTO {schema}.endpoint AS e (name, failures, failing_since, open_since, open_until, open_reason, pauses, noticed, flow_version)
		VALUES ($1, $2, $3, $4, now() + make_interval(secs => $5), $6, $7, $8, $9::bigint + 1)
		ON CONFLICT (name) DO UPDATE SET failures = excluded.failures, failing_since = excluded.failing_since, open_since = excluded.open_since,
			open_until = excluded.open_until, open_reason = excluded.open_reason, pauses = excluded.pauses, noticed = excluded.noticed, flow_version = excluded.flow_version
		WHERE e.flow_version = $9`
	var reason *string
	if !s.OpenSince.IsZero() {
		text := clean(s.OpenReason)
		reason = &text
	}
	var wait *float64
	if !s.OpenUntil.IsZero() {
		left := time.Until(s.OpenUntil).Seconds()
		wait = &left
	}
	args := []any{endpoint, s.Failures, orNull(s.FailingSince), orNull(s.OpenSince), wait, reason, s.Pauses, s.Noticed, s.Version}
	if event == "" || !p.db.alerts().about(endpoint) {
		tag, err := p.db.pool.Exec(ctx, p.db.sql(save), args...)
		return tag.RowsAffected() > 0, p.db.translate("store the state of an endpoint", err)
	}
	n := delivery.Notice{Event: event, Endpoint: endpoint, Reason: s.OpenReason, Since: s.OpenSince, Failures: s.Failures, At: time.Now().UTC().Truncate(time.Microsecond)}
	err = p.db.withPartitions(ctx, func() error {
		return p.db.transact(ctx, "store the state of an endpoint", func(t *transaction) error {
			if err := p.db.lockSource(ctx, t); err != nil {
				return err
			}
			if err := t.send(ctx, func(b *pgx.Batch) {
				b.Queue(p.db.sql(save), args...).Exec(func(tag pgconn.CommandTag) error {
					saved = tag.RowsAffected() > 0
					return nil
				})
			}); err != nil || !saved {
				return err
			}
			return p.db.tell(ctx, t, n)
		})
	})
	return saved && err == nil, err
}
