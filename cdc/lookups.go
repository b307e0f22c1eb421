package cdc

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

// Lookups serves related rows with few queries: what it has read it keeps in memory, up to a bound, until the stream brings
// a change of it.
//
// It guarantees that rows are at least as new as everything that the stream has brought when they are asked for. A row that is read
// now reflects all that was committed up to now, and that includes what the stream has brought, since [Live.Await] waits
// until it is visible. A row in memory is dropped by the first change of it that the stream brings after it was read; that the change may have been
// committed before, and be in the row already, does no harm. So whatever is in memory has no change that has been brought and is not in it.
//
// It does not guarantee that rows which were read at different times fit each other. What changes rows without a trace in
// WAL (ALTER TABLE, a table that leaves the publication) is seen after Age at the latest.
//
// One goroutine at a time may call its methods, but for Forget and Stats.
type Lookups struct {
	live  *Live
	cfg   LookupsConfig
	cache *linkCache

	lsn  LSN      // as far as the stream has brought
	xids []uint32 // transactions that it has brought, of which it is not known yet whether queries see them
	slow map[*Link]*slowLink

	forget         atomic.Bool
	hits, misses   atomic.Int64
	queries, nanos atomic.Int64
}

// LookupsConfig says what Lookups may keep. Zero values mean the defaults, but for Bytes, where it means to keep nothing.
type LookupsConfig struct {
	Bytes int64            // most memory of what is kept
	Age   time.Duration    // after which it is read again in any case; 1 min
	Now   func() time.Time // time.Now
}

// LookupStats are counts since the start, and what is kept now.
type LookupStats struct {
	Hits, Misses   int64 // ids whose rows were in memory, or were not
	Dropped        int64 // of what was kept: dropped by a change in the stream
	Evicted        int64 // dropped for want of room
	Queries        int64 // pieces of work for the server
	Duration       time.Duration
	Entries, Bytes int64 // kept now
}

// NewLookups looks up over live, and keeps rows of those links that cached allows: links whose tables the stream brings all
// changes of, see [Facts.Streams].
func NewLookups(live *Live, cfg LookupsConfig, links []*Link, cached func(*Link) bool) *Lookups {
	setDefault(&cfg.Age, time.Minute)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	l := &Lookups{live: live, cfg: cfg, cache: newLinkCache(cfg.Bytes, cfg.Age), slow: make(map[*Link]*slowLink)}
	if cfg.Bytes > 0 {
		for _, link := range links {
			if cached(link) {
				l.cache.watch(link)
			}
		}
	}
	return l
}

// Wants says that the stream must bring changes of a table, as rows of it are kept.
func (l *Lookups) Wants(schema, table string) bool {
	return l.cache.tables[tableName{schema, table}] != nil
}

// Forget drops what is kept, before the next look-up: the stream may have been attached to another server.
func (l *Lookups) Forget() { l.forget.Store(true) }

// Stats may be called at any time.
func (l *Lookups) Stats() LookupStats {
	return LookupStats{Hits: l.hits.Load(), Misses: l.misses.Load(), Dropped: l.cache.dropped.Load(), Evicted: l.cache.evicted.Load(),
		Queries: l.queries.Load(), Duration: time.Duration(l.nanos.Load()), Entries: l.cache.entries.Load(), Bytes: l.cache.bytes.Load()}
}

// maxAwaited bounds the transactions whose visibility is still to be looked at (invariant 9).
const maxAwaited = 4096

// Begin takes note of transactions that the stream has brought. It must be called before rows are looked up for any of
// them, with all transactions, in order.
func (l *Lookups) Begin(ctx context.Context, txs []*Tx) error {
	l.obey()
	for _, tx := range txs {
		l.lsn = max(l.lsn, tx.EndLSN)
		l.xids = append(l.xids, tx.XID)
		if tx.Spilled() {
			l.cache.clear() // it has changed more than is worth looking at
			continue
		}
		if l.cache.empty() {
			continue
		}
		for c, err := range tx.Changes() {
			if err != nil {
				return err
			}
			l.cache.pass(c)
		}
	}
	if len(l.xids) < maxAwaited {
		return nil
	}
	return l.await(ctx)
}

// obey does what Forget has asked for.
func (l *Lookups) obey() {
	if l.forget.Swap(false) {
		l.cache.clear()
	}
}

// await makes sure that queries see what the stream has brought.
func (l *Lookups) await(ctx context.Context) error {
	if len(l.xids) == 0 {
		return nil
	}
	if err := l.live.Await(ctx, l.lsn, l.xids); err != nil {
		return err
	}
	l.xids = l.xids[:0]
	return nil
}

// Load is [Live.Load] with what is in memory, and with look-ups that see what the stream has brought. The Linked that found is
// given must not be changed.
func (l *Lookups) Load(ctx context.Context, link *Link, ids []int64, found func(id int64, got Linked) error) error {
	l.obey()
	now := l.cfg.Now()
	missing := ids
	if keeps := l.cache.links[link]; keeps != nil {
		missing = nil
		for _, id := range ids {
			e := l.cache.get(keeps, id, now)
			if e == nil {
				missing = append(missing, id)
				continue
			}
			l.hits.Add(1)
			if err := found(id, e.got); err != nil {
				return err
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	l.misses.Add(int64(len(missing)))
	if err := l.tooSlow(link, now); err != nil {
		return err
	}
	began := time.Now()
	defer func() { l.nanos.Add(int64(time.Since(began))) }()
	if err := l.await(ctx); err != nil {
		return err
	}
	l.queries.Add(1)
	err := l.live.Load(ctx, link, missing, func(id int64, got Linked) error {
		l.cache.put(link, id, got, now)
		return found(id, got)
	})
	return l.judge(link, err, now)
}

// A look-up that the server ends for taking too long may be unlucky; after so many in a row it is a matter of a missing index, and the
// events that need it are parked rather than that the stream stands still.
const slowAttempts, slowPause = 3, time.Minute

// slowLink counts look-ups that took too long.
type slowLink struct {
	attempts int
	until    time.Time // no look-up before
}

// SlowLookupError says that look-ups over a link time out again and again.
type SlowLookupError struct {
	Link *Link
	Err  error // not unwrapped: it says that it is temporary
}

func (e *SlowLookupError) Error() string {
	return fmt.Sprintf("look-ups of %s take too long: %v", e.Link, e.Err)
}

// Hint returns the remedy.
func (e *SlowLookupError) Hint() string {
	schema, table, column := e.Link.Schema, e.Link.Table, e.Link.By
	if r := e.Link.Rel; r != nil {
		schema, table, column = r.Schema, r.Table, r.From
	}
	return fmt.Sprintf("as the table's owner, where no index begins with that column: CREATE INDEX CONCURRENTLY ON %s (%s)", quoteTable(schema, table), quoteIdent(column))
}

// judge counts look-ups that the server has ended for taking too long.
func (l *Lookups) judge(link *Link, err error, now time.Time) error {
	if sqlState(err) != "57014" {
		if err == nil {
			delete(l.slow, link)
		}
		return err
	}
	s := l.slow[link]
	if s == nil {
		s = &slowLink{}
		l.slow[link] = s
	}
	if s.attempts++; s.attempts < slowAttempts {
		return err
	}
	s.until = now.Add(slowPause)
	return &SlowLookupError{Link: link, Err: err}
}

// tooSlow is an error while a link is left alone.
func (l *Lookups) tooSlow(link *Link, now time.Time) error {
	if s := l.slow[link]; s != nil && now.Before(s.until) {
		return &SlowLookupError{Link: link, Err: fmt.Errorf("%d in a row were ended by the server; the next is tried at %s", s.attempts, instantText(s.until))}
	}
	return nil
}

// Streams says that the publication brings all changes of a table, every one with the primary key of its row: key, or any if key is
// nil. Only rows of such tables can be kept, since the stream tells when they change.
func (f *Facts) Streams(schema, table string, key []string) bool {
	t, pub := f.table(schema, table), f.Publication
	return t != nil && pub != nil && pub.Insert && pub.Update && pub.Delete && pub.Truncate &&
		t.Exists && t.Kind == "r" && !t.Unlogged && !t.Temporary && !t.Inherited && t.Published && !t.ColumnList && !t.RowFilter &&
		len(t.PrimaryKey) > 0 && !t.keyless() && !t.hidesKey() && (key == nil || slices.Equal(t.PrimaryKey, key))
}

// StreamsLink says so of the tables of a link.
func (f *Facts) StreamsLink(l *Link) bool {
	return f.Streams(l.Schema, l.Table, []string{byID}) && (l.Rel == nil || f.Streams(l.Rel.Schema, l.Rel.Table, nil))
}
