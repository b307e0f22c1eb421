package state

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"walhook/delivery"
)

// tellOfQueue tells the alert endpoint, once for all processes, that an endpoint's queue is full, and once that it has drained. The level in last is that of this look.
func (p *Process) tellOfQueue(ctx context.Context, last map[string]watched, a QueueAlarm) error {
	w := last[a.Endpoint]
	full := w.level == QueueFull
	if !p.db.alerts().about(a.Endpoint) || w.level == QueueHigh || w.told != nil && *w.told == full {
		return nil
	}
	n := delivery.Notice{Event: delivery.NoticeQueueDrained, Endpoint: a.Endpoint, At: time.Now().UTC().Truncate(time.Microsecond), Since: a.Usage.ParkedSince}
	if full {
		n.Event, n.Reason = delivery.NoticeQueueFull, a.reason()
	}
	if n.Since.IsZero() { // it drops, or has drained
		n.Since = n.At
	}
	const note = `INSERT INTO {schema}.queue_size AS q (endpoint, full_told) VALUES ($1, true) ON CONFLICT (endpoint) DO UPDATE SET full_told = true WHERE NOT q.full_told`
	const forget = `UPDATE {schema}.queue_size SET full_told = false WHERE endpoint = $1 AND full_told`
	sql := forget
	if full {
		sql = note
	}
	err := p.db.withPartitions(ctx, func() error {
		return p.db.transact(ctx, "tell of a queue", func(t *transaction) error {
			if err := p.db.lockSource(ctx, t); err != nil {
				return err
			}
			news := false
			if err := t.send(ctx, func(b *pgx.Batch) {
				b.Queue(p.db.sql(sql), a.Endpoint).Exec(func(tag pgconn.CommandTag) error {
					news = tag.RowsAffected() > 0
					return nil
				})
			}); err != nil || !news {
				return err
			}
			return p.db.tell(ctx, t, n)
		})
	})
	if err == nil {
		w.told = &full
		last[a.Endpoint] = w
	}
	return err
}

// reason says what a full queue does.
func (a QueueAlarm) reason() string {
	what := "new events are not queued until it has drained to 80 %"
	if a.Drops {
		what = "the oldest deliveries are dropped"
	}
	switch {
	case a.Limit.Rows > 0 && a.Usage.Pending*100 >= a.Limit.Rows*95:
		return fmt.Sprintf("the queue has reached queue.max_rows (%d): %s", a.Limit.Rows, what)
	case a.Limit.Bytes > 0 && a.Usage.PendingBytes*100 >= a.Limit.Bytes*95:
		return fmt.Sprintf("the queue has reached queue.max_bytes (%d): %s", a.Limit.Bytes, what)
	}
	return "the queue has reached its limit, or all queues together theirs: " + what
}
