package state

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/status"
)

// DroppedPartition is a day of deliveries or attempts that retention has dropped.
type DroppedPartition struct {
	Name  string // delivery_20260301
	Bytes int64  // what it took on disk
	Size  bool   // the log had become too large; else its time had passed
}

func (d *DroppedPartition) reason() string {
	if d.Size {
		return "size"
	}
	return "age"
}

// retention is what decides which days go.
type retention struct {
	deliveries, attempts time.Duration
	size                 int64 // 0 for no limit
}

// due returns which partitions are to be dropped, oldest first, and how large the others are. It is pure.
//
// By age every table goes by itself. By size whole days go, oldest first, attempts before deliveries. Today stays, and so does a day of deliveries whose bodies
// pending deliveries need: no row comes to a past day any more, so what is not needed now never will be. Attempts are needed by nobody.
func (r retention) due(all partitionList, today time.Time, needed map[time.Time]bool) (drop []DroppedPartition, left int64) {
	left = all.bytes()
	var stays partitionList
	for _, p := range all {
		age := r.attempts
		if p.parent == "delivery" {
			age = r.deliveries
		}
		switch past := p.day.Before(today.Add(-age).Truncate(24 * time.Hour)); {
		case !p.day.Before(today) || p.parent == "delivery" && needed[p.day]:
		case past:
			drop = append(drop, DroppedPartition{Name: p.name, Bytes: p.bytes})
			left -= p.bytes
		default:
			stays = append(stays, p)
		}
	}
	for _, p := range stays {
		if r.size == 0 || left <= r.size {
			break
		}
		drop = append(drop, DroppedPartition{Name: p.name, Bytes: p.bytes, Size: true})
		left -= p.bytes
	}
	return drop, left
}

// pastAfter is how long after its end a day counts as past: a transaction writes to the day on which it began, and may be committed later. None takes
// as long: the longest idle for ten minutes at most, see RetryParked.
const pastAfter = time.Hour

// writtenTo is the first day that rows may still come to.
func writtenTo(now time.Time) time.Time { return now.UTC().Add(-pastAfter).Truncate(24 * time.Hour) }

// DropPartitions drops days of the log that have passed retention or, oldest first, are beyond the log's size, and returns those, and what
// the log is since. One that a pg_dump or report is reading stays: to wait for it would make every writer wait too. It is tried again later.
func (db *DB) DropPartitions(ctx context.Context) (dropped []DroppedPartition, log status.LogState, err error) {
	// The days are few, and the tables small unless receivers are away.
	const pending = `SELECT DISTINCT day FROM (SELECT day FROM {schema}.queue UNION ALL SELECT day FROM {schema}.waiting) pending`
	var all partitionList
	var now time.Time
	needed := map[time.Time]bool{}
	if err := db.read(ctx, "list partitions", func(tx pgx.Tx) (err error) {
		if all, err = db.partitions(ctx, tx, true); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, "SELECT now()").Scan(&now); err != nil {
			return err
		}
		var day time.Time
		return each(ctx, tx, look{db.sql(pending), []any{&day}, func() { needed[day] = true }})
	}); err != nil {
		return nil, log, err
	}
	r := retention{deliveries: db.cfg.Retention, attempts: db.cfg.AttemptRetention, size: db.cfg.RetentionSize}
	due, _ := r.due(all, writtenTo(now), needed)
	var problems []error
	for _, d := range due {
		if err := db.dropPartition(ctx, d); err != nil {
			problems = append(problems, err)
			continue
		}
		dropped = append(dropped, d)
	}
	problems = append(problems, db.read(ctx, "look at the log", func(tx pgx.Tx) (err error) {
		log, err = db.logState(ctx, tx)
		return err
	}))
	return dropped, log, errors.Join(problems...)
}

// dropPartition drops one table, or gives up after a moment: DROP of a partition locks its parent.
func (db *DB) dropPartition(ctx context.Context, d DroppedPartition) error {
	const note = `INSERT INTO {schema}.dropped_partition (name, day, reason, bytes) VALUES ($1, to_date(right($1, 8), 'YYYYMMDD'), $2, $3)
		ON CONFLICT (name) DO UPDATE SET reason = excluded.reason, bytes = excluded.bytes, dropped_at = now()`
	return db.transact(ctx, fmt.Sprintf("drop partition %s", d.Name), func(t *transaction) error {
		return t.send(ctx, func(b *pgx.Batch) {
			b.Queue("SET LOCAL lock_timeout = '250ms'")
			b.Queue("DROP TABLE IF EXISTS " + db.schema + "." + ident(d.Name))
			b.Queue(db.sql(note), d.Name, d.reason(), d.Bytes)
		})
	})
}

// logState looks at the size of the log.
func (db *DB) logState(ctx context.Context, tx pgx.Tx) (s status.LogState, err error) {
	const dropped = `SELECT count(*) FILTER (WHERE reason = 'age'), count(*) FILTER (WHERE reason = 'size') FROM {schema}.dropped_partition`
	list, err := db.partitions(ctx, tx, true)
	if err != nil {
		return s, err
	}
	s.Bytes, s.MaxBytes, s.Since = list.bytes(), db.cfg.RetentionSize, list.since("delivery")
	s.Over = s.MaxBytes > 0 && s.Bytes > s.MaxBytes
	return s, tx.QueryRow(ctx, db.sql(dropped)).Scan(&s.DroppedForAge, &s.DroppedForSize)
}
