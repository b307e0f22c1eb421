package state

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
)

// byAge says that deliveries in the queue are met in the order in which they were enqueued.
func (f Filter) byAge() bool { return f.Oldest && f.Limit > 0 && len(f.IDs) == 0 }

// agedWindow is how many rows are looked at in one transaction.
const agedWindow = "5000"

// queuedByAge returns what a window is, after $3, and the tables q and d that it comes from. The queue has no order of age, and is sorted only where it is small. Else the log is gone through,
// which has that order, from the oldest that is in the queue on, and each of its rows is looked for there. The limits let the planner do it row by row. $2 is for the order of keys, and empty.
func (f Filter) queuedByAge(few bool) (window, from string) {
	if !few { // of whatever endpoint: with a filter here a window would have no end where the log has few of it
		window = `(SELECT seq, day, id, endpoint, lane, rule, model, record, enqueued_at, epoch, sequence, commit_lsn, commit_at FROM {schema}.delivery WHERE seq > $3 AND $1::text IS NOT NULL AND $2 = '' ORDER BY seq LIMIT ` + agedWindow + `)`
		return window, ` FROM ` + window + ` d JOIN LATERAL (SELECT q.* FROM {schema}.queue q WHERE q.endpoint = d.endpoint AND q.lane = d.lane AND q.seq = d.seq AND q.day = d.day LIMIT 1) q ON true`
	}
	window = `(SELECT * FROM {schema}.queue WHERE ` + f.ofEndpoint() + ` AND $2 = '' AND seq > $3 ORDER BY seq LIMIT ` + agedWindow + `)`
	return window, ` FROM ` + window + ` q JOIN LATERAL (SELECT d.* FROM {schema}.delivery d WHERE d.day = q.day AND d.seq = q.seq LIMIT 1) d ON true`
}

// ofEndpoint is the condition on rows of the queue that they are of the filter's endpoint, $1, if it has one.
func (f Filter) ofEndpoint() string {
	if f.Endpoint == "" {
		return "$1 = ''"
	}
	return "endpoint = $1"
}

// eachQueuedByAge is eachQueued, oldest first.
func (db *DB) eachQueuedByAge(ctx context.Context, op string, f Filter, due bool, fn func(context.Context, *transaction, []pendingRow) (int64, error)) (done, left int64, err error) {
	oldest := `SELECT coalesce(min(seq), $2) - 1, (SELECT count(*) <= ` + agedWindow + ` FROM (SELECT FROM {schema}.queue WHERE ` + f.ofEndpoint() + ` LIMIT ` + agedWindow + ` + 1) some_of_it)
		FROM {schema}.queue WHERE ` + f.ofEndpoint()
	var after int64
	var few bool
	if err := db.pool.QueryRow(ctx, expand(oldest, db.cfg.Schema), f.Endpoint, f.Before).Scan(&after, &few); err != nil {
		return 0, 0, db.translate(op, err)
	}
	window, from := f.queuedByAge(few)
	from, c := f.selectQueued(due, from)
	statement := expand(`SELECT q.endpoint, q.lane, q.seq, q.bytes, d.epoch, d.sequence, d.commit_lsn::text, d.commit_at`+from+" WHERE "+c.where()+" ORDER BY d.seq LIMIT $4", db.cfg.Schema)
	end := expand(`SELECT coalesce(max(seq), 0) FROM `+window+` looked`, db.cfg.Schema)
	made := map[laneKey]bool{} // lanes that were made due: what is left of them counts
	for after < f.Before {
		n := min(int64(chunk), int64(f.Limit)-done)
		if n <= 0 {
			break
		}
		var list []pendingRow
		var looked, some int64
		err := db.transact(ctx, op, func(t *transaction) (err error) {
			if err := t.send(ctx, func(b *pgx.Batch) {
				c.args[0], c.args[1], c.args[2], c.args[3] = f.Endpoint, "", after, n
				if due {
					c.args[4], c.args[5] = splitKeys(slices.Collect(maps.Keys(made)))
				}
				b.Queue(end, f.Endpoint, "", after).QueryRow(func(row pgx.Row) error { return row.Scan(&looked) })
				b.Queue(statement, c.args...).Query(func(rows pgx.Rows) (err error) {
					list, err = pgx.CollectRows(rows, scanPending)
					return err
				})
			}); err != nil || len(list) == 0 {
				return err
			}
			last := list[len(list)-1].seq
			if int64(len(list)) == n || looked < last { // or rows have left the window between the two statements, and it went further
				looked = last
			}
			slices.SortFunc(list, func(a, b pendingRow) int { // as lanes are locked
				return cmp.Or(cmp.Compare(a.endpoint, b.endpoint), cmp.Compare(a.lane, b.lane), cmp.Compare(a.seq, b.seq))
			})
			some, err = fn(ctx, t, list)
			return err
		})
		if err != nil || looked == 0 {
			return done, left, err
		}
		after = looked
		if due {
			for _, r := range list {
				made[laneKey{r.endpoint, r.lane}] = true
			}
		}
		done, left = done+some, left+int64(len(list))-some
		f.report(done, f.After)
	}
	return done, left, nil
}

func scanPending(row pgx.CollectableRow) (r pendingRow, err error) {
	return r, row.Scan(&r.endpoint, &r.lane, &r.seq, &r.bytes, &r.epoch, &r.sequence, &r.lsn, &r.at)
}
