package cdc

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// ChunkSnapshot says which transactions a chunk's query has seen.
//
// On a primary it is told by their numbers, which in WAL and in txid_current_snapshot are those of whole transactions, never of savepoints. A standby's
// snapshot does not list what is running there; but a standby replays commits one after the other, so that what it has seen is what lies before a position.
type ChunkSnapshot struct {
	xids    snapshot
	standby bool
	before  LSN // replayed before the snapshot was taken
	after   LSN // and after it
}

// replayMargin is how far behind the end of one record the next one may begin: the header of a page of WAL.
const replayMargin = 64

// Sees says whether the snapshot has seen a transaction; known is false when it cannot be told.
func (s *ChunkSnapshot) Sees(xid uint32, commit, end LSN) (seen, known bool) {
	if !s.standby {
		return !s.xids.has(xid), true
	}
	switch {
	case end <= s.before:
		return true, true
	case commit > s.after+replayMargin:
		return false, true
	}
	return false, false
}

// take takes the snapshot of a transaction with its first statement, and then the end of WAL. What is visible lies before where WAL is inserted: with
// synchronous_commit = off it may be visible before it is written.
func (s *ChunkSnapshot) take(ctx context.Context, tx pgx.Tx, high *LSN) error {
	if s.standby {
		if err := tx.QueryRow(ctx, "SELECT pg_catalog.pg_last_wal_replay_lsn()::text").Scan(&s.after); err != nil {
			return err
		}
		*high = s.after
		return nil
	}
	var text string
	var block, segment int64
	err := tx.QueryRow(ctx, `SELECT pg_catalog.txid_current_snapshot()::text, pg_catalog.pg_current_wal_insert_lsn()::text,
		pg_catalog.current_setting('wal_block_size')::int8, pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size'))`).Scan(&text, high, &block, &segment)
	if err != nil {
		return err
	}
	if s.xids, err = parseSnapshot(text); err != nil {
		return err
	}
	*high = endOfRecord(*high, block, segment)
	return nil
}

// endOfRecord is where the last record ends when the next one would begin at an LSN: not behind the header of a page that was begun, which the
// server never says that it has sent, as long as nothing else is written.
func endOfRecord(next LSN, block, segment int64) LSN {
	const short, long = 24, 40 // SizeOfXLogShortPHD, SizeOfXLogLongPHD
	if block <= 0 || segment <= 0 {
		return next
	}
	header := LSN(short)
	if int64(next)%segment < block {
		header = long
	}
	if next%LSN(block) == header {
		return next - header
	}
	return next
}

// maxWindow bounds the bytes of changes that are kept for one chunk (invariant 9).
const maxWindow = 4 << 20

// ChunkWindow keeps what transactions do to a table from before a chunk of it is read until it is acted upon. It is opened before the chunk is read;
// [ChunkWindow.Note] is then told of every transaction that is handled. It is not safe for concurrent use.
type ChunkWindow struct {
	schema, table string
	noted         []noted
	bytes         int
	over          bool // more than may be kept: the chunk is of no use, whatever it has seen
}

// noted is a transaction.
type noted struct {
	xid         uint32
	commit, end LSN
	changes     []*Change // nil: too large to be kept; a chunk that has not seen it is of no use
}

// OpenChunkWindow begins to keep changes of a table.
func OpenChunkWindow(schema, table string) *ChunkWindow {
	return &ChunkWindow{schema: schema, table: table}
}

// Note keeps what a transaction did to the table. It must be told of each transaction in order; of one that is told of again, as handling it had
// failed, the last time counts.
func (w *ChunkWindow) Note(tx *Tx) {
	if w.over {
		return
	}
	n := noted{xid: tx.XID, commit: tx.CommitLSN, end: tx.EndLSN}
	if !tx.Spilled() { // else it is not read an extra time: the chunk is
		for c, err := range tx.Changes() {
			if err != nil {
				n.changes = nil
				break
			}
			if c.Rel == nil || c.Rel.Name != w.table || c.Rel.Schema != w.schema {
				continue
			}
			kept := c.Clone()
			n.changes = append(n.changes, kept)
			w.bytes += kept.Size()
		}
		if len(n.changes) == 0 {
			return
		}
	}
	w.noted = append(w.noted, n)
	if w.bytes += 256 * (1 + len(n.changes)); w.bytes > maxWindow {
		w.noted, w.over = nil, true
	}
}

// ErrChunkStale says that a chunk cannot be brought up to date: it is to be read again.
var ErrChunkStale = errors.New("the rows have changed in a way that takes reading them again")

// Settle brings a chunk up to date with the transactions that were noted and that its snapshot has not seen, in their order: rows that were written
// become what they are now, rows that are gone are left out. Keys that are new were created in the stream. An error is an [ErrChunkStale].
func (w *ChunkWindow) Settle(c *Chunk) error {
	if w.over {
		return fmt.Errorf("%w: more was written meanwhile than can be followed", ErrChunkStale)
	}
	gone := false
	for i := range w.noted {
		n := &w.noted[i]
		seen, known := c.Seen.Sees(n.xid, n.commit, n.end)
		switch {
		case seen && known:
			continue
		case !known || len(n.changes) == 0:
			return fmt.Errorf("%w: whether transaction %d was seen cannot be told, or it was too large to follow", ErrChunkStale, n.xid)
		}
		for _, change := range n.changes {
			if c.apply(change) {
				gone = true
				continue
			}
			return fmt.Errorf("%w: %s has another shape now", ErrChunkStale, change.Rel)
		}
	}
	if gone {
		c.compact()
	}
	return nil
}

// apply does to the chunk's rows what a change has done. It reports false when the row as it is now cannot be told.
func (c *Chunk) apply(change *Change) bool {
	if change.Op == Truncate {
		for i := range c.Rows {
			c.Rows[i] = Row{}
		}
		c.at = map[string]int{}
		return true
	}
	if c.at == nil {
		c.at = make(map[string]int, len(c.Keys))
		for i, key := range c.Keys {
			c.at[key] = i
		}
	}
	if change.Key == "" {
		return false // a write of a row without a known key
	}
	i, here := c.at[change.Key]
	if !here {
		return true
	}
	if change.Op == Unlink {
		c.Rows[i] = Row{}
		delete(c.at, change.Key)
		return true
	}
	row, ok := c.follow(c.Rows[i], change.After)
	if ok {
		c.Rows[i] = row
	}
	return ok
}

// follow is a row of the chunk as it is after a write. What WAL left out is as it was.
func (c *Chunk) follow(old, after Row) (Row, bool) {
	if after.Image != ImageFull || after.rel == nil {
		return Row{}, false
	}
	var tuple []byte
	for i := range c.Rel.Columns {
		col := &c.Rel.Columns[i]
		j := after.rel.Column(col.Name)
		if j < 0 || after.rel.Columns[j].Type.OID != col.Type.OID {
			return Row{}, false
		}
		v := after.Value(j)
		if v.State == Unknown {
			v = old.Value(i)
		}
		tuple = AppendTuple(tuple, []Value{v})
	}
	return NewRow(c.Rel, ImageFull, tuple)
}

// compact leaves out the rows that are gone.
func (c *Chunk) compact() {
	n := 0
	for i := range c.Rows {
		if c.Rows[i].rel == nil {
			continue
		}
		c.Rows[n], c.Keys[n] = c.Rows[i], c.Keys[i]
		n++
	}
	clear(c.Rows[n:])
	c.Rows, c.Keys, c.at = c.Rows[:n], c.Keys[:n], nil
}
