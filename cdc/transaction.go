package cdc

import (
	"slices"
	"time"

	"walhook/internal/failpoint"
)

// transaction is the one being read, between BEGIN and COMMIT. It merges writes
// as they come; what it holds is bounded by Limits.Memory, beyond which it goes to a spool
// (invariant 9).
type transaction struct {
	open      bool
	xid       uint32
	serial    uint64 // tells the groups of this transaction from leftovers of earlier ones
	ordinal   uint64 // of the next write
	groups    []*group
	rows      []pending // net, in order of the first write
	raws      []pending
	truncates []pending // one per table, at its last TRUNCATE
	keys      int64     // bytes of keys
	arena     *arena
	spool     *spool // nil until the limit is exceeded
	filled    []byte // scratch
	sorted    []*pending

	judge  Judge  // nil for none
	about  Tx     // what BEGIN says, for the judge
	judged Change // scratch
}

// group is a table within a transaction: the rows that were written, by key. When the primary key
// itself changes in mid-transaction, the table goes on as a new group.
type group struct {
	oid       uint32
	serial    uint64
	id        uint32           // index in transaction.groups
	rows      map[string]int32 // key to index in transaction.rows
	truncated uint64           // spans that ended before this ordinal were truncated away
}

// write is what one message says about one row. Its rows point into the message.
type write struct {
	span
	rel           *Relation
	key           []byte
	keyed         bool // the key is known
	before, after Row
	kept          bool   // the rows are in the arena already
	from          string // see [Change.From]
}

const (
	// pendingCost is what a span costs beside its images: itself, its Change
	// and its part of the map.
	pendingCost = 512
	// keptMap is the size up to which a map is cleared and used again. Clearing takes time by
	// its capacity, which small transactions should not pay after a large one.
	keptMap = 1024
	// keptRows likewise bounds what is kept of the slices.
	keptRows = 4096
	// keptScratch bounds the buffers that a single large row has grown, in bytes.
	keptScratch = 1 << 20
)

func (t *transaction) begin(xid uint32, commit LSN, at time.Time) {
	t.open, t.xid, t.ordinal = true, xid, 0
	t.about.XID, t.about.CommitLSN, t.about.CommitTime = xid, commit, at
	t.serial++
}

// add merges a write into the transaction. net and raw say what is wanted; a row
// without a key can only be raw.
func (t *transaction) add(g *group, w write, net, raw bool, pool *arenaPool) {
	if t.arena == nil {
		t.arena = pool.get()
	}
	w.ordinal, w.writes = t.ordinal, 1
	if raw || !w.keyed {
		w.before, w.after, w.kept = t.arena.keep(w.before), t.arena.keep(w.after), true
		p := w.pending(g)
		p.raw = true
		if w.keyed {
			p.key = string(w.key)
			t.keys += int64(len(w.key))
		}
		t.raws = append(t.raws, p)
	}
	if !net || !w.keyed {
		return
	}
	t.join(g)
	i, found := g.rows[string(w.key)]
	if found && t.rows[i].ordinal >= g.truncated {
		t.merge(&t.rows[i], w)
		return
	}
	if !w.kept {
		w.before, w.after = t.arena.keep(w.before), t.arena.keep(w.after)
	}
	p := w.pending(g)
	if found { // what was pending is truncated away: the row starts anew
		p.key = t.rows[i].key
		t.rows[i] = p
		return
	}
	p.key = string(w.key)
	t.keys += int64(len(w.key))
	g.rows[p.key] = int32(len(t.rows))
	t.rows = append(t.rows, p)
}

func (w *write) pending(g *group) pending {
	return pending{span: w.span, table: g, rel: w.rel, before: w.before, after: w.after, from: w.from}
}

// merge adds a write to a row that this transaction wrote before.
func (t *transaction) merge(p *pending, w write) {
	kept := w.kept
	if w.unknown && !p.deleted {
		var unknown int
		t.filled, unknown = fillUnknown(t.filled[:0], w.after, p.after)
		w.after = t.index(w.after.rel, t.filled)
		w.unknown = unknown > 0
		kept = false
	}
	p.span = p.span.then(w.span)
	p.rel = w.rel
	if w.created {
		p.from = w.from
	}
	switch {
	case kept || w.after.rel == nil:
		p.after = w.after
	case !w.kept && len(w.after.tuple) <= cap(p.after.tuple) && len(w.after.at) <= cap(p.after.at):
		// A row that is written again and again does not grow the arena. With raw
		// changes wanted, one of them may hold on to the memory.
		tuple, at := p.after.tuple[:len(w.after.tuple)], p.after.at[:len(w.after.at)]
		copy(tuple, w.after.tuple)
		copy(at, w.after.at)
		p.after = Row{Image: w.after.Image, rel: w.after.rel, tuple: tuple, at: at}
	default:
		p.after = t.arena.keep(w.after)
	}
}

// moved completes a row whose key was updated with what this transaction wrote under the old key before, and says under which key the row
// stood before the transaction.
func (t *transaction) moved(g *group, old []byte, after Row, unchanged int) (Row, int, string) {
	from := string(old)
	i, found := g.rows[from]
	if g.serial != t.serial || !found || t.rows[i].ordinal < g.truncated || t.rows[i].deleted {
		return after, unchanged, from
	}
	p := &t.rows[i]
	if p.from != "" {
		from = p.from
	}
	tuple, unchanged := fillUnknown(nil, after, p.after)
	if unchanged == 0 {
		from = ""
	}
	return t.index(after.rel, tuple), unchanged, from
}

// index makes a row of a tuple that fillUnknown has built.
func (t *transaction) index(rel *Relation, tuple []byte) Row {
	row, _ := NewRow(rel, ImageFull, tuple) // fillUnknown writes one value per column
	return row
}

// join makes a group part of this transaction.
func (t *transaction) join(g *group) {
	if g.serial == t.serial {
		return
	}
	g.serial = t.serial
	g.id = uint32(len(t.groups))
	g.truncated = 0
	t.groups = append(t.groups, g)
	if g.rows == nil {
		g.rows = make(map[string]int32)
	}
}

// forget empties the map; a large one is replaced if it will not be filled again soon.
func (g *group) forget(large bool) {
	if large && len(g.rows) > keptMap {
		g.rows = make(map[string]int32)
	}
	clear(g.rows)
}

// truncate drops what is pending of a table.
func (t *transaction) truncate(g *group, rel *Relation) {
	t.join(g)
	for _, other := range t.groups {
		if other.oid == g.oid {
			other.truncated = t.ordinal + 1
		}
	}
	p := pending{span: span{ordinal: t.ordinal, writes: 1, deleted: true, whole: true}, table: g, rel: rel}
	t.truncates = slices.DeleteFunc(t.truncates, func(old pending) bool { return old.table.oid == g.oid })
	t.truncates = append(t.truncates, p)
}

// size is what the transaction holds in memory, in bytes.
func (t *transaction) size() int64 {
	n := t.keys + pendingCost*int64(len(t.rows)+len(t.raws)+len(t.truncates))
	if t.arena != nil {
		n += t.arena.size()
	}
	return n
}

// full says that it is time to flush. Once there is a spool, which needs memory for itself, a quarter of the
// limit is enough: most rows are written in one go.
func (t *transaction) full(limits Limits) bool {
	if t.spool != nil {
		return t.size() > limits.Memory/4
	}
	return t.size() > limits.Memory
}

// flush moves what is in memory to the spool.
func (t *transaction) flush(limits Limits) error {
	first := t.spool == nil
	if first {
		s, err := newSpool(limits)
		if err != nil {
			return err
		}
		t.spool = s
	}
	t.rows = slices.DeleteFunc(t.rows, func(p pending) bool { return p.ordinal < p.table.truncated })
	for _, list := range [][]pending{t.rows, t.raws} {
		slices.SortFunc(list, func(a, b pending) int { return a.compare(b.span) })
		for i := range list {
			if err := t.spool.add(&list[i], t.quiet(&list[i])); err != nil {
				return err
			}
		}
	}
	for _, g := range t.groups {
		g.forget(first)
	}
	clear(t.rows)
	clear(t.raws)
	t.rows, t.raws, t.keys = t.rows[:0], t.raws[:0], 0
	if first {
		t.rows, t.raws = nil, nil
	}
	if t.arena != nil {
		t.arena.shrink(int(limits.Memory / 8)) // also of what one large row took
	}
	failpoint.Hit(failpoint.Spill)
	return nil
}

// commit ends the transaction and returns it, coalesced.
func (t *transaction) commit(limits Limits, pool *arenaPool, lsn, end LSN, at time.Time) (*Tx, error) {
	tx := &Tx{XID: t.xid, CommitLSN: lsn, EndLSN: end, CommitTime: at}
	if t.spool != nil {
		if err := t.flush(limits); err != nil {
			return nil, err
		}
		truncated := make([]uint64, len(t.groups))
		for i, g := range t.groups {
			truncated[i] = g.truncated
		}
		t.spool.seal(truncated, t.truncates, t.about.CommitLSN == lsn && t.about.CommitTime.Equal(at))
		tx.spill, t.spool = t.spool, nil
		tx.size = limits.Memory // what merging and reading it takes
		t.end(pool)
		return tx, nil
	}
	if n := len(t.rows) + len(t.raws) + len(t.truncates); n > 0 {
		tx.changes = t.coalesce(n)
		tx.size = t.size()
	}
	if len(tx.changes) > 0 && t.arena != nil {
		tx.arena, tx.pool, t.arena = t.arena, pool, nil
	}
	t.end(pool)
	return tx, nil
}

// coalesce returns the changes, at most n, of a transaction in memory.
func (t *transaction) coalesce(n int) []*Change {
	sorted := slices.Grow(t.sorted[:0], n)
	for i := range t.rows {
		if p := &t.rows[i]; p.ordinal >= p.table.truncated {
			sorted = append(sorted, p)
		}
	}
	for i := range t.raws {
		sorted = append(sorted, &t.raws[i])
	}
	for i := range t.truncates {
		sorted = append(sorted, &t.truncates[i])
	}
	before := func(a, b *pending) int { return a.compare(b.span) }
	if !slices.IsSortedFunc(sorted, before) { // they mostly are
		slices.SortFunc(sorted, before)
	}
	if t.sorted = nil; cap(sorted) <= keptRows {
		t.sorted = sorted
		defer clear(sorted)
	}
	changes, out := make([]Change, 0, len(sorted)), make([]*Change, 0, len(sorted))
	for _, p := range sorted {
		op, ok := p.op()
		if !ok {
			continue
		}
		changes = changes[:len(changes)+1]
		c := &changes[len(changes)-1]
		p.change(c, op)
		out = append(out, c)
	}
	return out
}

// end forgets the transaction; what it held is released, except what commit has handed on.
func (t *transaction) end(pool *arenaPool) error {
	var err error
	if t.spool != nil {
		err = t.spool.close()
		t.spool = nil
	}
	if t.arena != nil {
		pool.put(t.arena)
		t.arena = nil
	}
	for _, g := range t.groups {
		g.serial = 0
		g.forget(true)
	}
	t.open = false
	t.groups, t.keys = t.groups[:0], 0
	t.rows, t.raws, t.truncates = recycle(t.rows), recycle(t.raws), recycle(t.truncates)
	if cap(t.filled) > keptScratch {
		t.filled = nil
	}
	return err
}

// recycle empties a slice, so that it holds on to nothing, for the next transaction.
func recycle(s []pending) []pending {
	if cap(s) > keptRows {
		return nil
	}
	clear(s)
	return s[:0]
}
