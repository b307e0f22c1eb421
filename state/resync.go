package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/cdc"
	"walhook/delivery"
	"walhook/internal/failpoint"
	"walhook/status"
)

// ErrMovedOn says that the state is not as it was when it was looked at: another command, or a process, has changed it.
var ErrMovedOn = errors.New("the state has moved on since it was looked at: look again")

// ResyncStart is how a resync begins. What it was worked out from is compared with what is there when it is committed: with an adoption nobody reads, and
// the position is as it was; without one the reader may go on meanwhile.
type ResyncStart struct {
	Binding  Binding
	Position delivery.Position
	Base     int64  // number of the last delivery before what was told was looked up, see [DB.LastDelivery]: later ones the stream has made
	Timeline uint32 // of the server now

	Adoption *Adoption // of a slot that does not go on where the state ends; nil when it does
	Since    time.Time
	Derived  string
	High     cdc.LSN // WAL ended there after records were looked for
	Report   any     // as JSON
	Gone     []delivery.Gone
	Jobs     []*delivery.Job
}

// StartResync commits all of it in one transaction: what was lost is put on record, a new epoch begins where the slot does, and the work is there for the
// process that reads next. Nobody who read before can write any more (invariant 2). It returns the resync's number.
func (db *DB) StartResync(ctx context.Context, r *ResyncStart) (n int64, err error) {
	const (
		fence  = `UPDATE {schema}.source SET reader = NULL`
		insert = `INSERT INTO {schema}.resync (reasons, from_lsn, to_lsn, since, derived, high_lsn, base_seq, epoch, report, walhook, ended_at)
			SELECT $1, $2::text::pg_lsn, lsn, $3, $4, $5::text::pg_lsn, $9, epoch, $6, $7, CASE WHEN $8 THEN now() END FROM {schema}.source RETURNING n`
		gone = `INSERT INTO {schema}.resync_gone (resync, rule, record, endpoint) SELECT $1, u.* FROM unnest($2::text[], $3::text[], $4::text[]) u`
	)
	report, err := json.Marshal(r.Report)
	if err != nil {
		return 0, fmt.Errorf("encode report: %w", err)
	}
	err = db.transact(ctx, "begin a resync", func(t *transaction) error {
		stored, at, bound, err := db.binding(ctx, t)
		if err != nil {
			return err
		}
		if !bound || stored != r.Binding || r.Adoption != nil && at != r.Position {
			return ErrMovedOn
		}
		from, reasons := at.LSN, []string{}
		if a := r.Adoption; a != nil {
			reasons = a.Reasons
			stored.Timeline = r.Timeline
			if err := db.updateBinding(ctx, t, stored, delivery.Position{LSN: a.To}); err != nil {
				return err
			}
			if err := t.send(ctx, func(b *pgx.Batch) { b.Queue(db.sql(fence)) }); err != nil {
				return err
			}
			if err := db.adopt(ctx, t, a); err != nil {
				return err
			}
		}
		if err := t.send(ctx, func(b *pgx.Batch) {
			b.Queue(db.sql(insert), reasons, from.String(), r.Since, r.Derived, r.High.String(), report, db.cfg.Version, len(r.Gone) == 0, r.Base).
				QueryRow(func(row pgx.Row) error { return row.Scan(&n) })
		}); err != nil {
			return err
		}
		for some := range slices.Chunk(r.Gone, 5000) {
			rules, records, endpoints := make([]string, len(some)), make([]string, len(some)), make([]string, len(some))
			for i, g := range some {
				rules[i], records[i], endpoints[i] = g.Rule, g.Record, g.Endpoint
			}
			if err := t.send(ctx, func(b *pgx.Batch) { b.Queue(db.sql(gone), n, rules, records, endpoints) }); err != nil {
				return err
			}
		}
		for _, j := range r.Jobs {
			j.Resync = n
		}
		if err := db.mayCompare(ctx, t, r.Jobs); err != nil {
			return err
		}
		if err := db.addJobs(ctx, t, r.Jobs); err != nil {
			return err
		}
		failpoint.Hit(failpoint.Resync)
		return nil
	})
	return n, err
}

// Resync is one that was begun, as it stands.
type Resync struct {
	N        int64           `json:"resync"`
	Begun    time.Time       `json:"begun_at"`
	Reasons  []string        `json:"reasons"`
	From     string          `json:"from"` // the position before
	To       string          `json:"to"`   // where the slot begins
	Since    time.Time       `json:"since"`
	Derived  string          `json:"derived"`
	Epoch    int64           `json:"epoch"`
	Report   json.RawMessage `json:"rules"`
	Events   int64           `json:"records"`           // for which a condition held
	Unlinks  int64           `json:"unlinks"`           // deletions that were queued
	Skipped  int64           `json:"unlinks_skipped"`   // that the stream has told of meanwhile
	Left     int64           `json:"unlinks_left"`      // to be queued
	JobsLeft int64           `json:"jobs_left"`         // that look through rows, not ended
	Stuck    int64           `json:"jobs_stuck"`        // of these, failed or paused: a person has to see to them
	Ended    time.Time       `json:"ended_at,omitzero"` // of the deletions
}

// Done says that nothing of it is left.
func (r *Resync) Done() bool { return r.Left == 0 && r.JobsLeft == 0 }

// Resyncs lists them, the newest first. n asks for one; 0 for all.
func (db *DB) Resyncs(ctx context.Context, n int64, limit int) (all []Resync, err error) {
	const list = `SELECT r.n, begun_at, reasons, from_lsn::text, to_lsn::text, since, derived, epoch, report::text, unlinks, skipped,
			(SELECT count(*) FROM {schema}.resync_gone g WHERE g.resync = r.n), j.open, j.failed, j.events, coalesce(ended_at, 'epoch'), ended_at IS NULL
		FROM {schema}.resync r CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE state NOT IN ('done', 'cancelled')) AS open, count(*) FILTER (WHERE state IN ('failed', 'paused')) AS failed,
			coalesce(sum(events), 0)::bigint AS events FROM {schema}.job WHERE job.resync = r.n) j
		WHERE $1 = 0 OR r.n = $1 ORDER BY r.n DESC LIMIT $2`
	rows, err := db.pool.Query(ctx, db.sql(list), n, limit)
	if err == nil {
		all, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (r Resync, err error) {
			var report string
			var open bool
			err = row.Scan(&r.N, &r.Begun, &r.Reasons, &r.From, &r.To, &r.Since, &r.Derived, &r.Epoch, &report, &r.Unlinks, &r.Skipped, &r.Left, &r.JobsLeft, &r.Stuck, &r.Events, &r.Ended, &open)
			r.Report, r.Begun, r.Since, r.Ended = json.RawMessage(report), r.Begun.UTC(), r.Since.UTC(), r.Ended.UTC()
			if open {
				r.Ended = time.Time{}
			}
			return r, err
		})
	}
	return all, db.translate("list resyncs", err)
}

// openResync is the oldest resync that is not over, as status shows it; nil when all are.
func (db *DB) openResync(ctx context.Context, tx pgx.Tx) (*status.ResyncState, error) {
	const read = `SELECT r.n, r.begun_at, r.since, j.open, j.stuck, j.rows, (SELECT count(*) FROM {schema}.resync_gone g WHERE g.resync = r.n)
		FROM {schema}.resync r CROSS JOIN LATERAL (SELECT count(*) AS open, count(*) FILTER (WHERE state IN ('failed', 'paused')) AS stuck,
			coalesce(sum(greatest(total - rows, 0)), 0)::bigint AS rows FROM {schema}.job WHERE job.resync = r.n AND state NOT IN ('done', 'cancelled')) j
		WHERE r.ended_at IS NULL OR j.open > 0 ORDER BY r.n LIMIT 1`
	s := &status.ResyncState{}
	err := tx.QueryRow(ctx, db.sql(read)).Scan(&s.N, &s.Begun, &s.Since, &s.JobsLeft, &s.JobsStuck, &s.RowsLeft, &s.UnlinksLeft)
	if noRows(err) {
		return nil, nil
	}
	s.Begun, s.Since = s.Begun.UTC(), s.Since.UTC()
	return s, err
}
