package state

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/delivery"
)

// Record says what is kept of changes for trying rules out. The zero value keeps nothing.
type Record struct {
	Keep     time.Duration // whole UTC days are dropped, so a day more may be kept; 0 for nothing at all
	MaxBytes int64         // on disk; beyond it the oldest days go before their time, and recording pauses when today's alone are more
}

// On says that changes are recorded.
func (r Record) On() bool { return r.Keep > 0 }

// Recording says whether changes are to be recorded now: it is configured, and there is room.
func (p *Process) Recording() bool { return p.db.cfg.Record.On() && !p.db.recordFull.Load() }

// record writes recorded changes in the transaction of the position (invariant 2).
func (db *DB) record(ctx context.Context, t *transaction, r *delivery.Recorded) error {
	const insert = `INSERT INTO {schema}.recorded (first_lsn, last_lsn, from_at, to_at, changes, tables, data) VALUES ($1::text::pg_lsn, $2::text::pg_lsn, $3, $4, $5, $6, $7)`
	if r == nil {
		return nil
	}
	return t.send(ctx, func(b *pgx.Batch) {
		b.Queue(db.sql(insert), r.FirstLSN.String(), r.LastLSN.String(), r.From, r.To, r.Changes, r.Tables, r.Data)
	})
}

// RecordState is what is recorded.
type RecordState struct {
	Bytes   int64     // on disk
	Changes int64     // in all
	Since   time.Time // of the oldest commit; zero when nothing is recorded
	Full    bool      // today's alone take more than they may: nothing is recorded at present
}

// RecordState looks at what is recorded.
func (db *DB) RecordState(ctx context.Context) (s RecordState, err error) {
	const read = `SELECT coalesce(sum(changes), 0), min(from_at) FROM {schema}.recorded`
	err = db.read(ctx, "look at recorded changes", func(tx pgx.Tx) error {
		days, err := db.recordedDays(ctx, tx)
		if err != nil {
			return err
		}
		for _, d := range days {
			s.Bytes += d.bytes
		}
		var since *time.Time
		if err := tx.QueryRow(ctx, db.sql(read)).Scan(&s.Changes, &since); err != nil {
			return err
		}
		if since != nil {
			s.Since = since.UTC()
		}
		return nil
	})
	s.Full = db.recordFull.Load()
	return s, err
}

// recordedPage is how many rows are read at once: each is a batch of up to about a MiB.
const recordedPage = 8

// Recorded hands over what was recorded of commits since a time, in order.
func (db *DB) Recorded(ctx context.Context, since time.Time, do func(*delivery.Recorded) error) error {
	const read = `SELECT day, n, first_lsn::text, last_lsn::text, from_at, to_at, changes, tables, data FROM {schema}.recorded
		WHERE to_at >= $1 AND (day, n) > ($2, $3) ORDER BY day, n LIMIT $4`
	day, n := time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), int64(0)
	for {
		var page []*delivery.Recorded
		err := db.read(ctx, "read recorded changes", func(tx pgx.Tx) error {
			rows, err := tx.Query(ctx, db.sql(read), since, day, n, recordedPage)
			if err != nil {
				return err
			}
			page, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (*delivery.Recorded, error) {
				r := &delivery.Recorded{}
				var first, last string
				if err := row.Scan(&day, &n, &first, &last, &r.From, &r.To, &r.Changes, &r.Tables, &r.Data); err != nil {
					return nil, err
				}
				if r.FirstLSN, err = parseLSN(first); err != nil {
					return nil, err
				}
				r.LastLSN, err = parseLSN(last)
				return r, err
			})
			return err
		})
		if err != nil {
			return err
		}
		for _, r := range page {
			if err := do(r); err != nil {
				return err
			}
		}
		if len(page) < recordedPage {
			return nil
		}
	}
}

// recordedDays lists the partitions of recorded with their sizes, oldest first.
func (db *DB) recordedDays(ctx context.Context, tx pgx.Tx) (partitionList, error) {
	const list = `SELECT 'recorded', c.relname, to_date(right(c.relname, 8), 'YYYYMMDD'), coalesce(pg_catalog.pg_total_relation_size(c.oid), 0)
		FROM pg_catalog.pg_inherits i
		JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
		JOIN pg_catalog.pg_class p ON p.oid = i.inhparent
		JOIN pg_catalog.pg_namespace n ON n.oid = p.relnamespace
		WHERE n.nspname = $1 AND p.relname = 'recorded' AND c.relname ~ '^recorded_[0-9]{8}$'
		ORDER BY c.relname`
	rows, err := tx.Query(ctx, list, db.cfg.Schema)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (p partition, err error) {
		return p, row.Scan(&p.parent, &p.name, &p.day, &p.bytes)
	})
}

// recordDue says which days of recorded changes are to be dropped: those that are past, and beyond the size the oldest ones, never today; and whether
// there is no room for more. It is pure.
func (r Record) due(days partitionList, today time.Time) (drop []DroppedPartition, full bool) {
	left := days.bytes()
	for _, p := range days {
		past := !r.On() || p.day.Before(today.Add(-r.Keep).Truncate(24*time.Hour))
		large := r.MaxBytes > 0 && left > r.MaxBytes
		if !p.day.Before(today) && r.On() || !past && !large {
			continue
		}
		drop = append(drop, DroppedPartition{Name: p.name, Bytes: p.bytes, Size: !past})
		left -= p.bytes
	}
	return drop, r.On() && r.MaxBytes > 0 && left > r.MaxBytes
}

// keepRecord drops recorded changes that are past or too many, all of them where recording was switched off, and pauses recording when
// there is no room. The reader alone drops: it is what records, and another process may be configured otherwise.
func (p *Process) keepRecord(ctx context.Context) error {
	db, mine := p.db, false
	var days partitionList
	var now time.Time
	if err := db.read(ctx, "list recorded changes", func(tx pgx.Tx) (err error) {
		if days, err = db.recordedDays(ctx, tx); err != nil {
			return err
		}
		return tx.QueryRow(ctx, db.sql("SELECT now(), EXISTS (SELECT FROM {schema}.source WHERE reader = $1)"), p.id).Scan(&now, &mine)
	}); err != nil {
		return err
	}
	drop, full := db.cfg.Record.due(days, now.UTC().Truncate(24*time.Hour))
	if !mine {
		drop = nil
	}
	for _, d := range drop {
		if err := db.transact(ctx, fmt.Sprintf("drop partition %s", d.Name), func(t *transaction) error {
			return t.send(ctx, func(b *pgx.Batch) {
				b.Queue("SET LOCAL lock_timeout = '250ms'")
				b.Queue("DROP TABLE IF EXISTS " + db.schema + "." + ident(d.Name))
			})
		}); err != nil {
			return err
		}
	}
	if db.recordFull.Swap(full) != full && db.cfg.Trace.RecordFull != nil {
		db.cfg.Trace.RecordFull(full)
	}
	return nil
}
