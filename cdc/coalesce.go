package cdc

import "cmp"

// span is what happened to one row over some stretch of a transaction: one write,
// or several merged. Two adjacent spans of a row merge into one with [span.then], and in which
// groups they are merged makes no difference: rows held in memory and rows
// merged from a spill file come out the same (invariant 6).
//
// The two bits say all there is to say about the net effect:
//
//	row before    row after     net change
//	absent        present       create, with the final row
//	present       present       write, from the first before to the last after
//	present       absent        unlink, with the first before
//	absent        absent        none
//
// so that of the writes of one transaction
//
//	insert, update …                    → create with the final row
//	update, update …                    → one write
//	update …, delete                    → unlink with the row as it was before the first update
//	insert, …, delete                   → nothing
//	delete, insert of the same key      → write
//	update that changes the key         → unlink of the old key and create of the new one, which
//	                                      then merge with what else happens to those keys
//	truncate                            → one Truncate per table, at the last one; what was pending
//	                                      of the table is dropped, later inserts are creates
//	rolled back to a savepoint          → never in the stream
//
// The first write alone decides what is known of the row before: if its WAL
// has no old row, Before is ImageUnknown even when a later update has one
// (replica identity may change in between). The row after has the columns that WAL left out
// (unchanged TOAST) filled from the same message's old row, else from the
// version that this transaction wrote earlier under the same key; otherwise they stay Unknown.
// A raw change is filled from its own old row only.
//
// Changes are ordered by the last write that went into them; of one write, raw changes come
// first, and the unlink of the old key before the create of the new one.
//
// Two things cannot be told apart in WAL: under a DEFERRABLE primary key two rows may have the
// same key for a moment; their writes then merge as if they were of one row.
type span struct {
	created bool   // the row was absent before
	deleted bool   // the row is absent after
	unknown bool   // the row after has columns that are not known yet
	raw     bool   // one single write, not to be merged
	whole   bool   // not a row: the whole table, truncated
	message bool   // not a row: a custom event; raw
	ordinal uint64 // of the last write
	writes  uint64
}

// then returns s followed by next, a later span of the same row.
func (s span) then(next span) span {
	return span{
		created: s.created,
		deleted: next.deleted,
		unknown: next.unknown,
		ordinal: next.ordinal,
		writes:  s.writes + next.writes,
	}
}

// op returns the net operation; false if there is none.
func (s span) op() (Op, bool) {
	switch {
	case s.whole:
		return Truncate, true
	case s.message:
		return Message, true
	case s.created && s.deleted:
		return 0, false
	case s.created:
		return Create, true
	case s.deleted:
		return Unlink, true
	}
	return Write, true
}

// compare orders changes within a transaction.
func (s span) compare(t span) int {
	if c := cmp.Compare(s.ordinal, t.ordinal); c != 0 {
		return c
	}
	return cmp.Compare(s.rank(), t.rank())
}

func (s span) rank() int {
	rank := 0
	if !s.raw {
		rank = 2
	}
	if !s.deleted {
		rank++
	}
	return rank
}

// pending is a span with its images, in the memory of a transaction.
type pending struct {
	span
	table         *group
	key           string
	rel           *Relation // of the last write
	before, after Row
	from          string // see [Change.From]
}

// change fills c from a span that has a net operation.
func (p *pending) change(c *Change, op Op) {
	*c = Change{Op: op, Rel: p.rel, Key: p.key, Before: p.before, After: p.after,
		Ordinal: p.ordinal, Writes: int(p.writes), Raw: p.raw, From: p.from}
}
