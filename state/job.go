package state

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"walhook/cdc"
	"walhook/delivery"
	"walhook/status"
)

// keepJob is how long a job that has ended is kept.
const keepJob = 30 * 24 * time.Hour

const jobColumns = `id, kind, coalesce(resync, 0), made_at, coalesce(rule, ''), endpoints, table_schema, table_name, model, condition, filter, rate, row_limit, spec,
	state, after_key, cursor, steps, rows, events, sent, parked, total, coalesce(next_at, 'epoch'), greatest(extract(epoch FROM next_at - clock_timestamp()), 0)::float8,
	waits, error, coalesce(begun_at, 'epoch'), coalesce(moved_at, 'epoch'), coalesce(ended_at, 'epoch')`

func scanJob(row pgx.CollectableRow) (*delivery.Job, error) {
	var j delivery.Job
	var filter []byte
	var rest *float64
	err := row.Scan(&j.ID, &j.Kind, &j.Resync, &j.Made, &j.Rule, &j.Endpoints, &j.Schema, &j.Table, &j.Model, &j.Where, &filter, &j.Rate, &j.Limit, (*[]byte)(&j.Spec),
		&j.State, &j.After, (*[]byte)(&j.Cursor), &j.Steps, &j.Rows, &j.Events, &j.Sent, &j.Parked, &j.Total, &j.NextAt, &rest,
		&j.Waits, &j.Error, &j.Begun, &j.Moved, &j.Ended)
	if err != nil {
		return nil, err
	}
	if rest != nil {
		j.Rest = time.Duration(*rest * float64(time.Second))
	}
	j.Made = j.Made.UTC()
	for _, t := range []*time.Time{&j.NextAt, &j.Begun, &j.Moved, &j.Ended} {
		if *t = t.UTC(); t.Unix() == 0 {
			*t = time.Time{}
		}
	}
	if filter != nil {
		j.Filter = &cdc.Filter{}
		if err := json.Unmarshal(filter, j.Filter); err != nil {
			return nil, fmt.Errorf("filter of job %d: %w", j.ID, err)
		}
	}
	return &j, nil
}

func (db *DB) jobs(ctx context.Context, where string, args ...any) ([]*delivery.Job, error) {
	rows, err := db.pool.Query(ctx, db.sql(`SELECT `+jobColumns+` FROM {schema}.job `+where), args...)
	if err != nil {
		return nil, db.translate("read jobs", err)
	}
	list, err := pgx.CollectRows(rows, scanJob)
	return list, db.translate("read jobs", err)
}

// openJobs are the jobs that have not ended, as status shows them.
func (db *DB) openJobs(ctx context.Context, tx pgx.Tx) ([]status.JobLine, error) {
	rows, err := tx.Query(ctx, db.sql(`SELECT `+jobColumns+` FROM {schema}.job WHERE state NOT IN ('done', 'cancelled') ORDER BY id LIMIT 100`))
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, scanJob)
	var lines []status.JobLine
	for _, j := range list {
		lines = append(lines, status.LineOfJob(j))
	}
	return lines, err
}

// ListJobs returns jobs, the newest first: of a kind, or of all kinds with "". Without ended, only those that have not.
func (db *DB) ListJobs(ctx context.Context, kind delivery.JobKind, ended bool, limit int) ([]*delivery.Job, error) {
	if limit <= 0 {
		limit = 1000
	}
	return db.jobs(ctx, `WHERE ($1 = '' OR kind = $1) AND ($2 OR state NOT IN ('done', 'cancelled')) ORDER BY id DESC LIMIT $3`, string(kind), ended, limit)
}

// Job returns one job; [ErrNotFound] when there is none.
func (db *DB) Job(ctx context.Context, id int64) (*delivery.Job, error) {
	list, err := db.jobs(ctx, `WHERE id = $1`, id)
	if err == nil && len(list) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

// AddJobs makes jobs, all or none, and fills in their ids and times. It forgets those that ended long ago.
func (db *DB) AddJobs(ctx context.Context, jobs []*delivery.Job) error {
	return db.transact(ctx, "make jobs", func(t *transaction) error {
		const forget = `DELETE FROM {schema}.job WHERE ended_at < now() - $1::interval`
		if err := t.send(ctx, func(b *pgx.Batch) { b.Queue(db.sql(forget), keepJob) }); err != nil {
			return err
		}
		return db.addJobs(ctx, t, jobs)
	})
}

// addJobs makes jobs within a transaction.
func (db *DB) addJobs(ctx context.Context, t *transaction, jobs []*delivery.Job) error {
	const insert = `INSERT INTO {schema}.job (kind, resync, rule, endpoints, table_schema, table_name, model, condition, filter, rate, row_limit, spec, total)
		VALUES ($1, nullif($2::bigint, 0), nullif($3, ''), $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) RETURNING id, made_at`
	filters := make([][]byte, len(jobs))
	for i, j := range jobs {
		if j.Filter == nil {
			continue
		}
		var err error
		if filters[i], err = json.Marshal(j.Filter); err != nil {
			return err
		}
	}
	return t.send(ctx, func(b *pgx.Batch) {
		for i, j := range jobs {
			b.Queue(db.sql(insert), string(j.Kind), j.Resync, j.Rule, j.Endpoints, j.Schema, j.Table, j.Model, j.Where, filters[i], j.Rate, j.Limit, []byte(j.Spec), j.Total).QueryRow(func(row pgx.Row) error {
				j.State = delivery.JobQueued
				err := row.Scan(&j.ID, &j.Made)
				j.Made = j.Made.UTC()
				return err
			})
		}
	})
}

// JobStateError says that a job cannot be paused, resumed or cancelled as it stands.
type JobStateError struct {
	ID    int64
	State delivery.JobState
	To    delivery.JobState
}

func (e *JobStateError) Error() string {
	return fmt.Sprintf("job %d is %s: it cannot be %s", e.ID, e.State, map[delivery.JobState]string{delivery.JobQueued: "resumed", delivery.JobPaused: "paused", delivery.JobCancelled: "cancelled"}[e.To])
}

// SetJob pauses (JobPaused), resumes (JobQueued) or cancels (JobCancelled) a job, and returns it as it is then. A job that is so already is left as it is.
func (db *DB) SetJob(ctx context.Context, id int64, to delivery.JobState) (*delivery.Job, error) {
	const set = `UPDATE {schema}.job SET state = CASE WHEN $2 = 'queued' AND begun_at IS NOT NULL THEN 'running' ELSE $2 END, waits = '',
			error = CASE WHEN $2 = 'queued' THEN '' ELSE error END, ended_at = CASE WHEN $2 = 'cancelled' THEN now() END
		WHERE id = $1 AND CASE $2 WHEN 'paused' THEN state IN ('queued', 'running', 'failed') WHEN 'queued' THEN state IN ('paused', 'failed') ELSE state NOT IN ('done', 'cancelled') END`
	tag, err := db.pool.Exec(ctx, db.sql(set), id, string(to))
	if err != nil {
		return nil, db.translate("set a job", err)
	}
	j, err := db.Job(ctx, id)
	if err != nil || tag.RowsAffected() == 1 || j.State == to || to == delivery.JobQueued && j.State == delivery.JobRunning {
		return j, err
	}
	return j, &JobStateError{ID: id, State: j.State, To: to}
}

var _ delivery.JobStore = (*JobQueue)(nil)

// JobQueue is the jobs as the process that reads the slot works on them. It implements [delivery.JobStore].
type JobQueue struct{ p *Process }

// Jobs returns what this process may do as the reader.
func (p *Process) Jobs() *JobQueue { return &JobQueue{p} }

// Jobs implements [delivery.JobStore].
func (q *JobQueue) Jobs(ctx context.Context) ([]*delivery.Job, error) {
	return q.p.db.jobs(ctx, `WHERE state IN ('queued', 'running') ORDER BY id`)
}

// NoteJob implements [delivery.JobStore].
func (q *JobQueue) NoteJob(ctx context.Context, id int64, state delivery.JobState, waits, failure string) error {
	const note = `UPDATE {schema}.job SET state = CASE WHEN $2 = '' THEN state ELSE $2 END, waits = $3, error = CASE WHEN $4 = '' THEN error ELSE $4 END
		WHERE id = $1 AND state IN ('queued', 'running') AND (SELECT reader = $5 FROM {schema}.source)`
	_, err := q.p.db.pool.Exec(ctx, q.p.db.sql(note), id, string(state), clean(waits), clean(failure), q.p.id)
	return q.p.db.translate("note a job", err)
}

// jobBacklog is how many deliveries may wait for an endpoint before jobs wait, too: more would only lie there, and live events behind them.
const jobBacklog = 2000

// JobRoom implements [delivery.JobStore].
func (q *JobQueue) JobRoom(ctx context.Context, endpoints []string) (string, error) {
	s, err := q.p.db.sizes(ctx)
	if err != nil {
		return "", err
	}
	for _, name := range endpoints {
		u := s.at(name)
		switch {
		case u.Pending >= jobBacklog:
			return fmt.Sprintf("endpoint %s: %d deliveries are pending", name, u.Pending), nil
		case !u.ParkedSince.IsZero():
			return fmt.Sprintf("endpoint %s: its queue is full", name), nil
		case !s.room(name, 1<<20):
			return s.full(name, 1<<20).Error(), nil
		}
	}
	return "", nil
}

// step commits how far a job has come, in the transaction of what it led to.
func (p *Process) step(ctx context.Context, t *transaction, s *delivery.JobStep) error {
	if s == nil {
		return nil
	}
	const move = `UPDATE {schema}.job SET state = CASE WHEN $9 THEN 'done' ELSE 'running' END, after_key = $3, cursor = coalesce($4, cursor), steps = steps + 1,
			rows = rows + $5, events = events + $6, sent = sent + $7, parked = parked + $8, begun_at = coalesce(begun_at, now()), moved_at = now(), waits = '', error = '',
			ended_at = CASE WHEN $9 THEN now() END,
			next_at = CASE WHEN $10 > 0 THEN greatest(next_at, clock_timestamp()) + $10 * interval '1 microsecond' END
		WHERE id = $1 AND steps = $2 AND state IN ('queued', 'running')`
	moved := false
	err := t.send(ctx, func(b *pgx.Batch) {
		b.Queue(p.db.sql(move), s.Job, s.Steps, s.After, []byte(s.Cursor), s.Rows, s.Events, s.Sent, s.Parked, s.Done, s.Rest.Microseconds()).Exec(func(tag pgconn.CommandTag) error {
			moved = tag.RowsAffected() == 1
			return nil
		})
	})
	if err == nil && !moved {
		err = delivery.ErrJobMoved
	}
	if err == nil && s.Done {
		err = t.send(ctx, func(b *pgx.Batch) { b.Queue(p.db.sql(endCompare)) })
	}
	return err
}
