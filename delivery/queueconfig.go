package delivery

import (
	"fmt"
	"time"
)

// QueueConfig bounds what is kept for an endpoint that does not take its deliveries, so that it cannot fill the disk (F5). Dead
// letters are counted apart, up to the same rows and bytes; beyond them the oldest are dropped.
type QueueConfig struct {
	MaxRows  int64    `toml:"max_rows"`  // pending deliveries; default 5,000,000, at least 1000
	MaxBytes Size     `toml:"max_bytes"` // of their bodies; default 10GiB, at least 16MiB
	MaxAge   Duration `toml:"max_age"`   // a delivery that was queued longer ago is not sent any more: it is a dead letter; default none
	Overflow string   `toml:"overflow"`  // at the limit: "park" (default), new events are not queued; or "drop-oldest"
}

// The values of QueueConfig.Overflow.
const (
	OverflowPark       = "park"
	OverflowDropOldest = "drop-oldest"
)

// The least limits: a batch of ingest must fit.
const (
	minQueueRows  = 2 * maxBatch
	minQueueBytes = 16 * maxBatchBytes
)

// WithDefaults fills what is zero.
func (c QueueConfig) WithDefaults() QueueConfig {
	fill(&c.MaxRows, 5_000_000)
	fill(&c.MaxBytes, 10<<30)
	fill(&c.Overflow, OverflowPark)
	return c
}

func (c *QueueConfig) validate(p *problems) {
	if c.MaxRows < minQueueRows {
		p.add("queue.max_rows", fmt.Sprintf("%d is too few", c.MaxRows), fmt.Sprintf("use %d or more", minQueueRows))
	}
	if c.MaxBytes < minQueueBytes {
		p.add("queue.max_bytes", fmt.Sprintf("%s is too little", c.MaxBytes), fmt.Sprintf("use %s or more", Size(minQueueBytes)))
	}
	if c.MaxAge != 0 {
		p.atLeast("queue.max_age", c.MaxAge, time.Second)
	}
	p.oneOf("queue.overflow", c.Overflow, OverflowPark, OverflowDropOldest)
}

// expired returns the record of a delivery that is too old to be sent; nil when it is not.
func (c *QueueConfig) expired(d *Delivery, now time.Time) *Attempt {
	age := now.Sub(d.Enqueued)
	if c.MaxAge == 0 || d.Enqueued.IsZero() || age < c.MaxAge.Std() {
		return nil
	}
	return &Attempt{Number: d.Attempts + 1, At: now, Class: ClassExpired,
		Error: fmt.Sprintf("too old: it was queued %s ago, the endpoint's queue.max_age is %s; nothing was sent", age.Round(time.Second), c.MaxAge)}
}

// limit brings the time of the next attempt forward to when the delivery will be too old, so that it ends then.
func (c *QueueConfig) limit(d *Delivery, next, now time.Time) time.Time {
	if c.MaxAge == 0 || d.Enqueued.IsZero() {
		return next
	}
	if end := d.Enqueued.Add(c.MaxAge.Std()); end.Before(next) {
		return later(end, now)
	}
	return next
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
