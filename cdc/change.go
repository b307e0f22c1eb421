package cdc

import (
	"bytes"
	"context"
	"github.com/jackc/pglogrepl"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"
)

// LSN is a position in the write-ahead log, in bytes. Its String form is
// PostgreSQL's, "16/B374D848".
type LSN = pglogrepl.LSN

// Op is what a transaction did to a row, in Odoo's words.
type Op uint8

// The operations. Truncate has no row: it stands for a whole table. Message is none of a row, but a custom event, see
// [MessageRelation]. Schedule is never in WAL: a row that was looked at, at a set time, is what it is, as After.
const (
	Create Op = iota + 1
	Write
	Unlink
	Truncate
	Message
	Schedule
)

// String returns "create", "write", "unlink", "truncate", "message" or "schedule".
func (o Op) String() string {
	switch o {
	case Create:
		return "create"
	case Write:
		return "write"
	case Unlink:
		return "unlink"
	case Truncate:
		return "truncate"
	case Message:
		return "message"
	case Schedule:
		return "schedule"
	}
	return "op(" + strconv.Itoa(int(o)) + ")"
}

// Origin says what a [Change] was made of.
type Origin uint8

// The origins. A row that was looked at is a Create of what is there now; whether it is new is not known.
const (
	FromWAL      Origin = iota // a transaction that was read, or the time (Schedule)
	FromSnapshot               // a row that was looked at to send what is there already (backfill)
	FromResync                 // a row that was looked at, or missed, after changes could not be read
)

// String returns "", "snapshot" or "resync".
func (o Origin) String() string { return [...]string{"", "snapshot", "resync"}[o] }

// Change is what one transaction did to one row: either the net change (the
// default) or, when Raw is set, one single write for rules with each_write.
//
// A Change and the bytes that it refers to are valid until its [Tx] is closed;
// of a spilled transaction only until the next step of [Tx.Changes]. Copy what
// must live longer.
type Change struct {
	Op  Op
	Rel *Relation // the table as it was when the row was last written in this transaction

	// Key is the primary key as text: "42", or for composite keys the
	// column values joined by "," in the key's order, where a comma or a
	// backslash inside a value is escaped by a backslash. Empty for Truncate, and for raw
	// changes of rows without a known key, see [NewDecoder].
	Key string

	// Before is the row as it was before the transaction (of a Raw change:
	// before this write); After as it is at commit. A create has no Before
	// (ImageNone), an unlink has no After.
	Before, After Row

	// Ordinal is the position, from 0, of the last write that went into this
	// change among all published writes of the transaction, of unwanted tables too. It
	// orders changes and, for Raw changes, is part of their identity. An update of the key
	// gives two changes of one ordinal, the unlink of the old key first; a raw change
	// comes before the net change of the same write.
	Ordinal uint64
	Writes  int  // how many writes were merged; 1 for Raw
	Raw     bool // one write of the row, not the net change. An update of the key gives an unlink and a create.
	Origin  Origin

	// From is the key that the row had before, of a Create that an update of the key has made and whose WAL leaves unchanged values out: the
	// row of that key has them.
	From string

	Gathered *Gathered // changes of other rows that go with this one; nil in what the decoder hands over
	Cascade  *Cascade  // of an Unlink, when it is known that another row's deletion has caused it
}

// Row returns the row that a reader means by "the record": After, or for an
// unlink Before.
func (c *Change) Row() Row {
	if c.Op == Unlink {
		return c.Before
	}
	return c.After
}

// ID returns the record id if the primary key is a single integer.
func (c *Change) ID() (int64, bool) {
	n, err := strconv.ParseInt(c.Key, 10, 64)
	return n, err == nil
}

// Clone returns a copy that stays valid when its transaction is read on or closed.
func (c *Change) Clone() *Change {
	copied := *c
	copied.Key, copied.From = strings.Clone(c.Key), strings.Clone(c.From)
	copied.Before.tuple, copied.Before.at = bytes.Clone(c.Before.tuple), slices.Clone(c.Before.at)
	copied.After.tuple, copied.After.at = bytes.Clone(c.After.tuple), slices.Clone(c.After.at)
	return &copied
}

// Size is how many bytes the values of both versions of the row take.
func (c *Change) Size() int { return len(c.Before.tuple) + len(c.After.tuple) }

// Tx is one committed transaction, coalesced. It is never a part of one.
type Tx struct {
	XID        uint32
	CommitLSN  LSN       // of the commit record: identifies the transaction
	EndLSN     LSN       // first byte after the commit record: what is confirmed, and nothing else (trap 1)
	CommitTime time.Time // UTC, microseconds
	Received   time.Time // when the end of it was read, by this machine's clock; zero unless a [Source] has read it

	changes []*Change
	spill   spilled // nil unless the net changes exceed the memory limit
	through func(iter.Seq2[*Change, error]) iter.Seq2[*Change, error]
	size    int64 // bytes in memory

	arena *arena // that the changes lie in, and the pool that it goes back to; may be nil
	pool  *arenaPool
	feed  *feed // that counts it, as so many bytes; may be nil
	held  int64
}

// NewTx builds a transaction that is held in memory. The source builds its own;
// this is for tests and for commands that evaluate rules on rows at hand.
func NewTx(xid uint32, commit, end LSN, at time.Time, changes []*Change) *Tx {
	return &Tx{XID: xid, CommitLSN: commit, EndLSN: end, CommitTime: at, changes: changes}
}

// spilled is the part of a transaction that lies in a temporary file.
type spilled interface {
	// all yields changes in order of Ordinal. It may be called again.
	all(which selection) iter.Seq2[*Change, error]
	close() error
}

// Changes yields the changes in order of Ordinal. It can be ranged over more
// than once, though not after Close and, of a spilled transaction, not by several goroutines at once.
// An error (*[SpillError]) ends the sequence.
func (t *Tx) Changes() iter.Seq2[*Change, error] { return t.selected(selection{}) }

func (t *Tx) selected(which selection) iter.Seq2[*Change, error] {
	if t.spill != nil && t.through != nil {
		return t.through(t.spill.all(which))
	}
	if t.spill != nil {
		return t.spill.all(which)
	}
	return func(yield func(*Change, error) bool) {
		for _, c := range t.changes {
			if !yield(c, nil) {
				return
			}
		}
	}
}

// Through has the changes of a spilled transaction pass through f whenever they are read from now on: what one in memory says can be completed
// in place, a file's cannot.
func (t *Tx) Through(f func(iter.Seq2[*Change, error]) iter.Seq2[*Change, error]) { t.through = f }

// Piecemeal has a transaction in memory be processed in bounded pieces, as one in a file is: what its changes need besides would take too much memory at once.
// Changes yields copies from now on, so that what is filled into them lasts no longer than their step.
func (t *Tx) Piecemeal() {
	if t.spill == nil {
		t.spill = inMemory(t.changes)
	}
}

// inMemory are changes that are read as those in a file are.
type inMemory []*Change

func (m inMemory) all(which selection) iter.Seq2[*Change, error] {
	return func(yield func(*Change, error) bool) {
		for _, held := range m {
			c := *held
			if which.of != nil && (c.Rel == nil || !which.of(c.Rel)) {
				continue
			}
			if !yield(&c, nil) {
				return
			}
		}
	}
}

func (m inMemory) close() error { return nil }

// Spilled says that the changes lie in a temporary file, or that Piecemeal was called: the handler must
// process them in bounded pieces.
func (t *Tx) Spilled() bool { return t.spill != nil }

// Size is roughly how many bytes of memory the transaction holds until it is closed, for
// bounding how many are in flight. A spilled one counts as much as one may hold in memory: merging and reading it takes
// buffers, and it holds files open (invariant 9).
func (t *Tx) Size() int64 { return t.size }

// Empty says that no published table that anyone wants has changed.
func (t *Tx) Empty() bool { return t.spill == nil && len(t.changes) == 0 }

// Close releases memory and the temporary file. The source calls it after the
// handler has returned.
func (t *Tx) Close() error {
	if t.arena != nil {
		t.pool.put(t.arena)
		t.arena = nil
	}
	if t.feed != nil {
		t.feed.release(t.held)
		t.feed = nil
	}
	if t.spill != nil {
		return t.spill.close()
	}
	return nil
}

// Handler takes transactions in commit order. It is the border between ingest
// and everything else.
type Handler interface {
	// Handle processes txs, in order, and returns the LSN up to which all effects
	// are durable: the EndLSN of the last transaction whose deliveries and position
	// are committed. It may return less than the last EndLSN when the transactions at the end
	// had no effects: their position can wait for Advance. Only what it returns
	// is confirmed to the server (invariant 1). A nil error with a smaller LSN is
	// no failure. After an error the same transactions may be handed over again.
	Handle(ctx context.Context, txs []*Tx) (LSN, error)

	// Advance persists that everything before lsn has been processed, when
	// nothing is in flight, and returns the durable position. It is called at most
	// every 30 s, and once on an orderly stop.
	Advance(ctx context.Context, lsn LSN) (LSN, error)
}
