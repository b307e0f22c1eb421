package state

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"walhook/delivery"
)

var _ delivery.ScheduleStore = (*Schedules)(nil)

// Schedules keeps what rules on schedule have seen, for the process that reads the slot. It implements [delivery.ScheduleStore].
type Schedules struct{ p *Process }

// Schedules returns what this process may do as the reader.
func (p *Process) Schedules() *Schedules { return &Schedules{p} }

const scheduleColumns = `condition, set_at, coalesce(run_at, 'epoch'), done_to, stock, rows_read, fired`

// Schedule implements [delivery.ScheduleStore].
func (s *Schedules) Schedule(ctx context.Context, rule string) (out delivery.ScheduleState, err error) {
	const read = `SELECT ` + scheduleColumns + ` FROM {schema}.schedule WHERE rule = $1`
	var done *int64
	err = s.p.db.pool.QueryRow(ctx, s.p.db.sql(read), rule).Scan(&out.Condition, &out.SetAt, &out.RunAt, &done, &out.Stock, &out.Rows, &out.Fired)
	if noRows(err) {
		return delivery.ScheduleState{}, nil
	}
	out.SetAt, out.RunAt = out.SetAt.UTC(), out.RunAt.UTC()
	if out.RunAt.Unix() == 0 {
		out.RunAt = time.Time{}
	}
	if done != nil {
		out.Running, out.DoneTo = true, *done
	}
	return out, s.p.db.translate("read a schedule", err)
}

// Crossings implements [delivery.ScheduleStore].
func (s *Schedules) Crossings(ctx context.Context, rule string, after, until int64, limit int) (records []int64, err error) {
	const read = `SELECT record FROM {schema}.crossing WHERE rule = $1 AND record > $2 AND record <= $3 ORDER BY record LIMIT $4`
	rows, err := s.p.db.pool.Query(ctx, s.p.db.sql(read), rule, after, until, limit)
	if err == nil {
		records, err = pgx.CollectRows(rows, pgx.RowTo[int64])
	}
	return records, s.p.db.translate("read crossings", err)
}

// Advance implements [delivery.ScheduleStore]. What it commits beside deliveries goes into the transaction that numbers and queues them, behind the lock
// on the source row, where the right to read is compared.
func (s *Schedules) Advance(ctx context.Context, step *delivery.ScheduleStep) error {
	first := func(ctx context.Context, t *transaction) (delivery.Position, error) {
		at, err := s.fence(ctx, t)
		if err == nil {
			err = s.move(ctx, t, step)
		}
		return at, err
	}
	batch := &delivery.Batch{Deliveries: step.Deliveries, Parked: step.Parked, Matched: step.Matched, Sampled: step.Sampled}
	if len(batch.Deliveries)+len(batch.Parked)+len(batch.Matched) > 0 {
		_, err := s.p.enqueueAfter(ctx, batch, nil, first)
		return err
	}
	return s.p.db.transact(ctx, "move a schedule on", func(t *transaction) error {
		_, err := first(ctx, t)
		return err
	})
}

// fence locks the source row for the reader, and returns the position, which stays as it is.
func (s *Schedules) fence(ctx context.Context, t *transaction) (at delivery.Position, err error) {
	const lock = `SELECT lsn::text, open_lsn::text, open_count FROM {schema}.source WHERE reader = $1 FOR NO KEY UPDATE`
	var lsn, open string
	err = t.send(ctx, func(b *pgx.Batch) {
		b.Queue(s.p.db.sql(lock), s.p.id).QueryRow(func(row pgx.Row) error { return row.Scan(&lsn, &open, &at.Count) })
	})
	if noRows(err) {
		return at, fmt.Errorf("%w (this one is process %d)", delivery.ErrSuperseded, s.p.id)
	}
	if err != nil {
		return at, err
	}
	if at.LSN, err = parseLSN(lsn); err == nil {
		at.Open, err = parseLSN(open)
	}
	return at, err
}

// moveSchedule compares where the rule stood with where the step starts, and sets where it stands now.
const moveSchedule = `INSERT INTO {schema}.schedule AS s (rule, condition, set_at, run_at, done_to, stock, ended_at, next_at, rows_read, fired, runs, fired_total)
	SELECT $1, $2, $3, $4, $5, $6, CASE WHEN $4::timestamptz IS NOT NULL AND $5::bigint IS NULL THEN now() END, $7, $8, $9, $10, $11
	ON CONFLICT (rule) DO UPDATE SET condition = excluded.condition, set_at = excluded.set_at, run_at = excluded.run_at, done_to = excluded.done_to,
		stock = excluded.stock, ended_at = excluded.ended_at, next_at = excluded.next_at, rows_read = excluded.rows_read, fired = excluded.fired,
		runs = s.runs + excluded.runs, fired_total = s.fired_total + excluded.fired_total,
		error = CASE WHEN excluded.runs > 0 THEN NULL ELSE s.error END, error_at = CASE WHEN excluded.runs > 0 THEN NULL ELSE s.error_at END
	WHERE s.condition = $12 AND s.set_at = $13 AND s.run_at IS NOT DISTINCT FROM $14 AND s.done_to IS NOT DISTINCT FROM $15`

func (s *Schedules) move(ctx context.Context, t *transaction, step *delivery.ScheduleStep) error {
	const (
		add = `INSERT INTO {schema}.crossing (rule, record, since, sent) SELECT $1, u.record, $3, $4 FROM unnest($2::bigint[]) u (record)
			ON CONFLICT (rule, record) DO NOTHING`
		forget = `DELETE FROM {schema}.crossing WHERE rule = $1 AND record = ANY ($2)`
	)
	db, from, to := s.p.db, &step.From, &step.To
	ended := int64(0)
	if from.Running && !to.Running {
		ended = 1
	}
	moved := false
	err := t.send(ctx, func(b *pgx.Batch) {
		b.Queue(db.sql(moveSchedule), step.Rule, to.Condition, to.SetAt, orNull(to.RunAt), doneTo(to), to.Stock, orNull(step.Next), to.Rows, to.Fired, ended,
			max(to.Fired-from.Fired, 0), from.Condition, from.SetAt, orNull(from.RunAt), doneTo(from)).Exec(func(tag pgconn.CommandTag) error {
			moved = tag.RowsAffected() == 1
			return nil
		})
		if len(step.Crossed) > 0 {
			b.Queue(db.sql(add), step.Rule, step.Crossed, to.RunAt, !to.Stock)
		}
		if len(step.Forgot) > 0 {
			b.Queue(db.sql(forget), step.Rule, step.Forgot)
		}
	})
	if err == nil && !moved {
		err = fmt.Errorf("%w: the schedule of rule %q stands elsewhere", delivery.ErrSuperseded, step.Rule)
	}
	return err
}

// doneTo is NULL when no run is under way.
func doneTo(s *delivery.ScheduleState) *int64 {
	if !s.Running {
		return nil
	}
	return &s.DoneTo
}

// NoteSchedule implements [delivery.ScheduleStore].
func (s *Schedules) NoteSchedule(ctx context.Context, rule string, next time.Time, failure string) error {
	const note = `UPDATE {schema}.schedule SET next_at = $2, error = coalesce($3, error), error_at = CASE WHEN $3::text IS NOT NULL THEN now() ELSE error_at END
		WHERE rule = $1 AND (next_at IS DISTINCT FROM $2 OR $3::text IS NOT NULL) AND (SELECT reader = $4 FROM {schema}.source)`
	var text *string
	if failure != "" {
		failure = clean(failure)
		text = &failure
	}
	_, err := s.p.db.pool.Exec(ctx, s.p.db.sql(note), rule, orNull(next), text, s.p.id)
	return s.p.db.translate("note a schedule", err)
}

// keepSchedule is how long what a rule has seen outlives the rule: who takes it out of the configuration for a while does not begin anew.
const keepSchedule = 30 * 24 * time.Hour

// KeepSchedules implements [delivery.ScheduleStore].
func (s *Schedules) KeepSchedules(ctx context.Context, rules []string) error {
	const (
		seen = `UPDATE {schema}.schedule SET seen_at = now() WHERE rule = ANY ($1) AND seen_at < now() - interval '1 hour'`
		drop = `DELETE FROM {schema}.schedule WHERE rule <> ALL ($1) AND seen_at < now() - $2::interval`
	)
	if rules == nil {
		rules = []string{}
	}
	_, err := s.p.db.pool.Exec(ctx, s.p.db.sql(seen), rules)
	if err == nil {
		_, err = s.p.db.pool.Exec(ctx, s.p.db.sql(drop), rules, keepSchedule)
	}
	return s.p.db.translate("keep schedules", err)
}
