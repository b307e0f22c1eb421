package state

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// States are the states that deliveries can be listed by.
func States() []State {
	return []State{Pending, Retrying, Waiting, Dead, Delivered, Discarded, Superseded, Test, Again}
}

// listWindow is how many rows of the log, or of the dead letters, are looked at for one page at most, where what a filter selects is rare.
const listWindow = 20_000

// ListDeliveries returns deliveries without their bodies, newest first. The next page starts Before the last one's Seq.
// The rarer what the filter selects, the longer it takes: see [DB.PageDeliveries].
func (db *DB) ListDeliveries(ctx context.Context, f Filter) (list []Listed, err error) {
	for limit := f.limit(); ; {
		f.Limit = limit - len(list)
		page, next, err := db.PageDeliveries(ctx, f)
		if err != nil {
			return nil, err
		}
		if list = append(list, page...); next == 0 || len(list) >= limit {
			return list, nil
		}
		f.Before = next
	}
}

// PageDeliveries returns deliveries without their bodies, newest first, at most f.Limit, in a bounded time: however long the log is, and however rare what
// is looked for, it looks at no more than a window of it. So a page may hold fewer than that, or none, and there may be more all the same: the
// next page starts Before next, which is 0 at the end. What is enqueued meanwhile comes on no further page.
func (db *DB) PageDeliveries(ctx context.Context, f Filter) (list []Listed, next int64, err error) {
	err = db.read(ctx, "list deliveries", func(tx pgx.Tx) error {
		few, err := db.fewQueued(ctx, tx, f)
		if err != nil {
			return err
		}
		s, err := f.listStatement(db.window, few)
		if err != nil {
			return err
		}
		if !few {
			if err := tx.Conn().PgConn().Exec(ctx, byIndex).Close(); err != nil {
				return err
			}
		}
		rows, err := tx.Query(ctx, expand(s.rows, db.cfg.Schema), s.args...)
		if err != nil {
			return err
		}
		if list, err = pgx.CollectRows(rows, scanListed); err != nil {
			return err
		}
		switch {
		case len(list) >= f.limit():
			next = list[len(list)-1].Seq
		case s.window != "":
			if err := tx.QueryRow(ctx, expand(s.window, db.cfg.Schema), s.args[:s.shared]...).Scan(&next); err != nil {
				return err
			}
		}
		return nil
	})
	return onceEach(list), next, err
}

// onceEach leaves of deliveries with one seq the one that was logged last: what held its lane when it was retried on another day is in the log
// of both.
func onceEach(list []Listed) []Listed {
	kept := list[:0]
	for _, l := range list {
		if n := len(kept); n > 0 && kept[n-1].Seq == l.Seq {
			if l.Enqueued.After(kept[n-1].Enqueued) {
				kept[n-1] = l
			}
			continue
		}
		kept = append(kept, l)
	}
	return kept
}

// Conditions on a delivery d: it was logged again later; it is no test that a person has sent.
const (
	sentLater = `EXISTS (SELECT FROM {schema}.delivery n WHERE n.id = d.id AND n.seq > d.seq)`
	noTest    = `d.op <> '` + opTest + `'`
)

// byIndex makes what a window is joined with be looked up row by row: to read all of the queue, or all dead letters, for it would take as long as
// there are many.
const byIndex = `SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off`

// fewQueued says whether deliveries in the queue are found by the queue itself: it has no order of seq, so all of it is read.
func (db *DB) fewQueued(ctx context.Context, tx pgx.Tx, f Filter) (few bool, err error) {
	if f.State != Pending && f.State != Retrying {
		return false, nil
	}
	var c conditions
	if f.Endpoint != "" {
		c.add("endpoint = $%d", f.Endpoint)
	}
	count := "SELECT count(*) <= " + itoa(db.window/4) + " FROM (SELECT FROM {schema}.queue WHERE " + c.where() + " LIMIT " + itoa(db.window/4+1) + ") some_of_it"
	err = tx.QueryRow(ctx, expand(count, db.cfg.Schema), c.args...).Scan(&few)
	return few, err
}

// listing is what PageDeliveries asks.
type listing struct {
	rows   string
	window string // asks where the window ends; "" when there is none
	args   []any
	shared int // the first of args, those of window
}

// listStatement makes the statement that lists.
func (f Filter) listStatement(size int, fewQueued bool) (listing, error) {
	var c conditions
	var s listing
	if f.Before > 0 {
		c.add("d.seq < $%d", f.Before)
	}
	table := "delivery"
	if f.State == Dead {
		table = "dead_letter"
		if f.Endpoint != "" {
			c.add("d.endpoint = $%d", f.Endpoint) // has an index
		}
	} else {
		if !f.Since.IsZero() {
			c.add("d.day >= $%d::date", f.Since.UTC().Truncate(24*time.Hour))
		}
		if !f.Until.IsZero() {
			c.add("d.day <= $%d::date", f.Until.UTC().Truncate(24*time.Hour))
		}
	}
	s.shared = len(c.args)
	from := "{schema}." + table + " d"
	if len(f.IDs) == 0 && !fewQueued && f.State != Waiting {
		window := " FROM {schema}." + table + " d WHERE " + c.where() + " ORDER BY d.seq DESC LIMIT " + itoa(size)
		from = "(SELECT *" + window + ") d"
		s.window = "SELECT CASE WHEN count(*) < " + itoa(size) + " THEN 0 ELSE min(seq) END FROM (SELECT d.seq" + window + ") looked"
		c.text = nil
	}
	f.common(&c, "d", "enqueued_at")
	if f.Endpoint != "" && f.State != Dead {
		c.add("d.endpoint = $%d", f.Endpoint)
	}
	if f.Error != "" {
		c.contains("coalesce(x.reason, a.reason, '')", f.Error)
	}
	if f.Class != "" {
		c.add("coalesce(x.class, a.class, '') = $%d", f.Class)
	}
	if f.Status != 0 {
		c.add("coalesce(x.status, a.status, 0) = $%d", f.Status)
	}
	// Row by row: the limits are what keeps the planner from reading all of a table first, where it hopes to find few.
	queued := `LATERAL (SELECT q.* FROM {schema}.queue q WHERE q.endpoint = d.endpoint AND q.lane = d.lane AND q.seq = d.seq AND q.day = d.day LIMIT 1) q ON true`
	if f.State == Dead {
		queued = `{schema}.queue q ON false`
	}
	from += " LEFT JOIN " + queued + ` LEFT JOIN LATERAL (SELECT x.* FROM {schema}.dead_letter x WHERE x.seq = d.seq LIMIT 1) x ON true
		LEFT JOIN LATERAL (SELECT w.* FROM {schema}.waiting w WHERE w.seq = d.seq LIMIT 1) w ON true`
	day := "d.day"
	switch f.State {
	case "":
	case Pending, Retrying:
		c.add("(q.attempts > 0) = $%d", f.State == Retrying)
		if fewQueued {
			from = `{schema}.queue q JOIN {schema}.delivery d ON d.day = q.day AND d.seq = q.seq LEFT JOIN {schema}.dead_letter x ON false LEFT JOIN {schema}.waiting w ON false`
		}
	case Waiting:
		from = `{schema}.waiting w JOIN {schema}.delivery d ON d.day = w.day AND d.seq = w.seq LEFT JOIN {schema}.dead_letter x ON false LEFT JOIN {schema}.queue q ON false`
	case Dead:
		day = "(d.enqueued_at AT TIME ZONE 'UTC')::date"
	case Delivered:
		c.text = append(c.text, "a.result = 'delivered'", "q.seq IS NULL", "x.seq IS NULL", noTest)
	case Test:
		c.text = append(c.text, "(d.op = '"+opTest+"' OR a.result IS DISTINCT FROM 'delivered' AND q.seq IS NULL AND x.seq IS NULL AND w.seq IS NULL AND "+unsent+" = 'test' AND NOT "+sentLater+")")
	case Superseded, Discarded, Again:
		c.text = append(c.text, "a.result IS DISTINCT FROM 'delivered'", "q.seq IS NULL", "x.seq IS NULL", "w.seq IS NULL", noTest)
		switch f.State {
		case Discarded:
			c.text = append(c.text, unsent+" IS NULL")
		case Superseded:
			c.text = append(c.text, unsent+" = 'superseded'")
		}
		c.add(sentLater+" = $%d", f.State == Again)
	default:
		return s, fmt.Errorf("there is no state %q: use pending, retrying, dead, delivered, waiting, superseded, test, discarded or again", f.State)
	}
	s.rows = listedFrom + " FROM " + from + " LEFT JOIN {schema}.lane l ON l.endpoint = q.endpoint AND l.key = q.lane" +
		fmt.Sprintf(listedJoins, day) + " WHERE " + c.where() + fmt.Sprintf(" ORDER BY d.seq DESC LIMIT %d", f.limit())
	s.args = c.args
	return s, nil
}
