package delivery

import (
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"walhook/cdc"
	"walhook/cdc/catalog"
)

// Recorded is a run of transactions with the net changes of watched tables, packed: what rules are tried on later. Columns that hold
// secrets are left out.
type Recorded struct {
	FirstLSN, LastLSN cdc.LSN // commit LSNs of the first and the last transaction
	From, To          time.Time
	Changes           int
	Tables            []string // "schema.table", sorted
	Data              []byte   // see Each
}

// RecordedChange is a change with the transaction that it is of.
type RecordedChange struct {
	CommitLSN cdc.LSN
	XID       uint32
	CommitAt  time.Time
	Change    *cdc.Change
}

// The packed text begins with recordedForm. Frames follow, each with its length before it: a transaction, its changes as [cdc.ChangePacker]
// appends them, the next transaction. The first byte of a frame tells the former from the latter.
const (
	recordedForm = 2

	frameTx     = 't' // LSN and id of the transaction, and its time in microseconds
	frameChange = 'c'
)

// maxRecordedFrame bounds one change in a packed text: PostgreSQL's rows hold no more than 1 GiB.
const maxRecordedFrame = 4 << 30

// Each unpacks the changes, in order. The changes stand on their own, but for the Relation that those of a table share.
func (r *Recorded) Each(do func(RecordedChange) error) error {
	unpacked := flate.NewReader(bytes.NewReader(r.Data))
	defer unpacked.Close()
	in := bufio.NewReaderSize(unpacked, 64<<10)
	if form, err := in.ReadByte(); err != nil || form != recordedForm {
		return errors.Join(errors.New("unpack recorded changes: they are in a form of another version of walhook"), err)
	}
	var changes cdc.ChangeUnpacker
	var of RecordedChange
	for {
		frame, err := readFrame(in)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("unpack recorded changes: %w", err)
		}
		if frame[0] == frameTx {
			if of, err = readRecordedTx(frame[1:]); err != nil {
				return fmt.Errorf("unpack recorded changes: %w", err)
			}
			continue
		}
		if of.Change, err = changes.Next(frame[1:]); err != nil {
			return fmt.Errorf("unpack recorded changes: %w", err)
		}
		if err := do(of); err != nil {
			return err
		}
	}
}

// readFrame reads a frame, which is not empty. [io.EOF] says that there is none.
func readFrame(in *bufio.Reader) ([]byte, error) {
	size, err := binary.ReadUvarint(in)
	switch {
	case err != nil:
		return nil, err
	case size == 0 || size > maxRecordedFrame:
		return nil, fmt.Errorf("a frame has %d bytes", size)
	}
	frame, err := io.ReadAll(io.LimitReader(in, int64(size))) // no more memory at once than there is data
	switch {
	case err != nil:
		return nil, err
	case uint64(len(frame)) < size:
		return nil, io.ErrUnexpectedEOF
	case frame[0] != frameTx && frame[0] != frameChange:
		return nil, fmt.Errorf("unknown frame %q", frame[0])
	}
	return frame, nil
}

func readRecordedTx(frame []byte) (of RecordedChange, err error) {
	in := bytes.NewReader(frame)
	lsn, first := binary.ReadUvarint(in)
	xid, second := binary.ReadUvarint(in)
	at, third := binary.ReadVarint(in)
	return RecordedChange{CommitLSN: cdc.LSN(lsn), XID: uint32(xid), CommitAt: time.UnixMicro(at).UTC()}, errors.Join(first, second, third)
}

// recording packs changes as they are planned.
type recording struct {
	out     bytes.Buffer
	packer  *flate.Writer
	changes *cdc.ChangePacker
	sum     *Recorded
	last    *cdc.Relation // whose table is in sum
	frame   []byte
	keep    func(rel *cdc.Relation, column string) bool // columns that hold no secret; nil: by their names
}

// add packs a change. It returns roughly how many bytes of memory that takes.
func (r *recording) add(tx *cdc.Tx, c *cdc.Change) (int, error) {
	had := r.out.Len()
	if r.sum == nil {
		if err := r.begin(tx); err != nil {
			return 0, err
		}
	}
	if r.sum.Changes == 0 || r.sum.LastLSN != tx.CommitLSN {
		r.frame = binary.AppendUvarint(append(r.frame[:0], frameTx), uint64(tx.CommitLSN))
		r.frame = binary.AppendVarint(binary.AppendUvarint(r.frame, uint64(tx.XID)), tx.CommitTime.UnixMicro())
		if err := r.write(); err != nil {
			return 0, err
		}
	}
	r.sum.LastLSN, r.sum.To = tx.CommitLSN, tx.CommitTime
	r.sum.Changes++
	if c.Rel != r.last {
		r.last = c.Rel
		table := c.Rel.Schema + "." + c.Rel.Name
		if at, found := slices.BinarySearch(r.sum.Tables, table); !found {
			r.sum.Tables = slices.Insert(r.sum.Tables, at, table)
		}
	}
	var err error
	if r.frame, err = r.changes.Append(append(r.frame[:0], frameChange), c); err != nil {
		return 0, fmt.Errorf("record a change of %s %s: %w", c.Rel, c.Key, err)
	}
	err = r.write()
	if cap(r.frame) > largeFrame {
		r.frame = nil
	}
	return r.out.Len() - had, err
}

// largeFrame is the size from which the memory of a frame is not kept for the next one.
const largeFrame = 1 << 20

// begin begins a run: each can be read without those before it.
func (r *recording) begin(tx *cdc.Tx) (err error) {
	if r.packer == nil {
		if r.packer, err = flate.NewWriter(&r.out, flate.BestSpeed); err != nil {
			return err
		}
		if r.keep == nil {
			r.keep = func(rel *cdc.Relation, column string) bool { return !catalog.Secret(rel.Name, column) }
		}
		r.changes = cdc.NewChangePacker(r.keep)
	}
	r.sum, r.last = &Recorded{FirstLSN: tx.CommitLSN, From: tx.CommitTime}, nil
	r.packer.Reset(&r.out)
	r.changes.Reset()
	_, err = r.packer.Write([]byte{recordedForm})
	return err
}

// write packs the frame with its length.
func (r *recording) write() error {
	var size [binary.MaxVarintLen64]byte
	if _, err := r.packer.Write(size[:binary.PutUvarint(size[:], uint64(len(r.frame)))]); err != nil {
		return err
	}
	_, err := r.packer.Write(r.frame)
	return err
}

// take ends a run; nil when nothing was recorded.
func (r *recording) take() (*Recorded, error) {
	sum := r.sum
	if sum == nil {
		return nil, nil
	}
	r.sum = nil
	if err := r.packer.Close(); err != nil {
		return nil, fmt.Errorf("pack recorded changes: %w", err)
	}
	sum.Data = bytes.Clone(r.out.Bytes())
	r.out.Reset()
	return sum, nil
}

// drop forgets what has not been taken.
func (r *recording) drop() {
	r.sum = nil
	r.out.Reset()
}

// Record makes the planner tell the net changes that it sees, to be recorded, as long as on says so. It is asked for each change.
func (p *Planner) Record(on func() bool) { p.recording = on }

// keeps says that a change is for the record.
func (p *Planner) keeps(c *cdc.Change) bool {
	return p.recording != nil && c.Rel != nil && !c.Raw && c.Gathered == nil && c.Op != cdc.Truncate && p.recording()
}
