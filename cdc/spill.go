package cdc

import (
	"encoding/binary"
	"errors"
	"io"
	"iter"
	"slices"
	"sync"

	"walhook/internal/failpoint"
)

// spool is a transaction that is too large for memory (invariant 9), in two private temporary
// files. Row images are appended to one as they come, and written once. The other holds runs of
// parts, which are small: what happened to a row, and where its images lie. Parts of one row are brought
// together by an external merge sort by (table, key), merged as [span] says, and sorted
// again by the ordinal of the last write, in which order they are read.
//
// Merging waits for the first reader, so that COMMIT does not hold up the replication
// connection. A failed merge can be tried again. A spool is written by the
// decoder, then sealed, then read by the owner of the Tx.
type spool struct {
	limits    Limits
	images    *spillFile
	index     *spillFile
	relations []*Relation
	numbers   map[*Relation]uint32 // of relations
	net, raw  *sorter              // by key; by ordinal

	truncated []uint64  // by group: parts that ended before this ordinal are void
	truncates []pending // the TRUNCATEs themselves

	judged bool // what the judge was told of the transaction is true

	mu     sync.Mutex
	merged [2][]run // net and raw parts by ordinal, nil until the first reader: all, and those that are telling
	closed bool
}

// part is a span in the index file, with its images in the image file.
type part struct {
	span
	group         uint32
	rel           uint32 // of the last write
	key, from     string // see [Change.From]
	before, after imageRef
	quiet         bool // if nothing is merged into it, see [Judge]
}

// imageRef is where a row's tuple lies.
type imageRef struct {
	image Image
	rel   uint32
	at    int64
	len   uint32
}

func newSpool(limits Limits) (*spool, error) {
	images, err := newSpillFile(limits.TempDir)
	if err != nil {
		return nil, err
	}
	index, err := newSpillFile(limits.TempDir)
	if err != nil {
		return nil, errors.Join(err, images.close())
	}
	s := &spool{limits: limits, images: images, index: index, numbers: make(map[*Relation]uint32)}
	s.net = s.sorter(comparePartKeys)
	s.raw = s.sorter(comparePartOrdinals)
	return s, nil
}

func (s *spool) sorter(compare func(a, b *part) int) *sorter {
	return &sorter{file: s.index, compare: compare, limit: max(s.limits.Memory/4, 1<<10)}
}

// add takes a span with its images.
func (s *spool) add(p *pending, quiet bool) error {
	q := part{span: p.span, rel: s.number(p.rel), key: p.key, from: p.from, quiet: quiet}
	var err error
	if q.before, err = s.store(p.before); err != nil {
		return err
	}
	if q.after, err = s.store(p.after); err != nil {
		return err
	}
	if p.raw {
		return s.raw.add(q)
	}
	q.group = p.table.id
	return s.net.add(q)
}

func (s *spool) number(rel *Relation) uint32 {
	n, ok := s.numbers[rel]
	if !ok {
		n = uint32(len(s.relations))
		s.numbers[rel] = n
		s.relations = append(s.relations, rel)
	}
	return n
}

func (s *spool) store(r Row) (imageRef, error) {
	ref := imageRef{image: r.Image}
	if r.rel == nil {
		return ref, nil
	}
	ref.rel, ref.len = s.number(r.rel), uint32(len(r.tuple))
	var err error
	ref.at, err = s.images.append(r.tuple)
	return ref, err
}

// seal ends the writing. judged says that what the judge was told of the transaction is true.
func (s *spool) seal(truncated []uint64, truncates []pending, judged bool) {
	s.truncated = truncated
	s.truncates = slices.Clone(truncates)
	s.judged = judged
}

// merge brings the parts of each row together, on the first reading, and returns the runs of all parts in order.
func (s *spool) merge(tellingOnly bool) ([]run, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, &SpillError{Dir: s.limits.TempDir, Err: errors.New("the transaction is closed")}
	}
	merged := &s.merged[0]
	if tellingOnly {
		merged = &s.merged[1]
	}
	if *merged != nil {
		return *merged, nil
	}
	if err := errors.Join(s.net.flush(), s.raw.flush(), s.images.flush()); err != nil {
		return nil, err
	}
	s.net.parts, s.raw.parts = nil, nil
	index, images := s.index.end(), s.images.end()
	runs, err := s.mergeAll(tellingOnly)
	if err != nil {
		// Another try begins anew: it must not find the disk fuller for this one.
		return nil, errors.Join(err, s.index.cut(index), s.images.cut(images))
	}
	failpoint.Hit(failpoint.Merge)
	*merged = runs
	return runs, nil
}

// mergeAll merges the net parts, the TRUNCATEs and the raw parts.
func (s *spool) mergeAll(tellingOnly bool) ([]run, error) {
	net, raw := s.net.runs, s.raw.runs
	if tellingOnly {
		net, raw = tellingRuns(net), tellingRuns(raw)
	}
	out := s.sorter(comparePartOrdinals)
	net, err := s.net.reduce(net)
	if err != nil {
		return nil, err
	}
	if err := s.mergeNet(out, net, tellingOnly); err != nil {
		return nil, err
	}
	for i := range s.truncates {
		t := &s.truncates[i]
		if err := out.add(part{span: t.span, rel: s.number(t.rel)}); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(out.flush(), s.images.flush()); err != nil {
		return nil, err
	}
	merged, err := out.reduce(out.runs)
	if err != nil {
		return nil, err
	}
	if raw, err = s.raw.reduce(raw); err != nil {
		return nil, err
	}
	return append(append(make([]run, 0, 1), merged...), raw...), nil
}

func (s *spool) mergeNet(out *sorter, runs []run, tellingOnly bool) error {
	var row part // merged so far
	have := false
	emit := func() error {
		if _, ok := row.op(); !have || !ok || tellingOnly && row.quiet {
			return nil
		}
		return out.add(row)
	}
	reader := imageReader{spool: s}
	for p, err := range mergeRuns(s.index, s.net.compare, runs) {
		if err != nil {
			return err
		}
		if p.ordinal < s.truncated[p.group] {
			continue
		}
		if !have || p.group != row.group || p.key != row.key {
			if err := emit(); err != nil {
				return err
			}
			row, have = *p, true
			continue
		}
		if p.unknown && !row.deleted {
			if err := s.fillPart(&reader, p, row.after); err != nil {
				return err
			}
		}
		row.span = row.span.then(p.span)
		row.rel, row.after, row.quiet = p.rel, p.after, false
		if p.created {
			row.from = p.from
		}
	}
	return emit()
}

// fillPart completes the row after of p from an earlier version of the same row.
func (s *spool) fillPart(reader *imageReader, p *part, from imageRef) error {
	if err := s.images.flush(); err != nil {
		return err
	}
	var after, old rowBuffer
	if err := reader.read(&after, p.after); err != nil {
		return err
	}
	if err := reader.read(&old, from); err != nil {
		return err
	}
	tuple, unknown := fillUnknown(nil, after.row, old.row)
	at, err := s.images.append(tuple)
	if err != nil {
		return err
	}
	p.unknown = unknown > 0
	p.after.at, p.after.len = at, uint32(len(tuple))
	return nil
}

// all implements spilled. The *Change is the same one at every step.
func (s *spool) all(which selection) iter.Seq2[*Change, error] {
	return func(yield func(*Change, error) bool) {
		if which.of != nil && !slices.ContainsFunc(s.relations, which.of) {
			return
		}
		tellingOnly := which.telling && s.judged
		runs, err := s.merge(tellingOnly)
		if err != nil {
			yield(nil, err)
			return
		}
		before, after := imageReader{spool: s}, imageReader{spool: s}
		var c Change
		var oldRow, newRow rowBuffer
		for p, err := range mergeRuns(s.index, comparePartOrdinals, runs) {
			if err == nil && (tellingOnly && p.quiet || which.of != nil && !which.of(s.relations[p.rel])) {
				continue
			}
			if err == nil {
				err = before.read(&oldRow, p.before)
			}
			if err == nil {
				err = after.read(&newRow, p.after)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			op, _ := p.op()
			c = Change{Op: op, Rel: s.relations[p.rel], Key: p.key, Before: oldRow.row, After: newRow.row,
				Ordinal: p.ordinal, Writes: int(p.writes), Raw: p.raw, From: p.from}
			if !yield(&c, nil) {
				return
			}
		}
	}
}

func (s *spool) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	return errors.Join(s.images.close(), s.index.close())
}

// rowBuffer holds one row read back.
type rowBuffer struct {
	row   Row
	tuple []byte
	at    []uint32
}

// imageReader reads images. Neighbours in the file are mostly read one after the other, so it keeps some blocks.
type imageReader struct {
	spool  *spool
	blocks [imageBlocks]imageBlock
}

type imageBlock struct {
	number int64 // in the file, from 1; 0 for an empty one
	data   []byte
}

const (
	imageBlocks    = 32
	imageBlockSize = 16 << 10
)

var errDamaged = errors.New("a row came back damaged")

func (r *imageReader) read(dst *rowBuffer, ref imageRef) error {
	dst.row = Row{Image: ref.image}
	if ref.image == ImageNone || ref.image == ImageUnknown {
		return nil
	}
	if int(ref.rel) >= len(r.spool.relations) {
		return r.spool.images.fail(errDamaged)
	}
	rel := r.spool.relations[ref.rel]
	dst.tuple = slices.Grow(dst.tuple[:0], int(ref.len))
	for at, left := ref.at, int(ref.len); left > 0; {
		data, err := r.block(at / imageBlockSize)
		if err != nil {
			return err
		}
		from := int(at % imageBlockSize)
		if from >= len(data) {
			return r.spool.images.fail(io.ErrUnexpectedEOF)
		}
		n := min(left, len(data)-from)
		dst.tuple = append(dst.tuple, data[from:from+n]...)
		at, left = at+int64(n), left-n
	}
	dst.at = slices.Grow(dst.at[:0], len(rel.Columns))[:len(rel.Columns)]
	if end, _, ok := scanTuple(dst.tuple, dst.at); !ok || end != len(dst.tuple) {
		return r.spool.images.fail(errDamaged)
	}
	dst.row = Row{Image: ref.image, rel: rel, tuple: dst.tuple, at: dst.at}
	return nil
}

func (r *imageReader) block(n int64) ([]byte, error) {
	b := &r.blocks[n%imageBlocks]
	if b.number != n+1 || len(b.data) < imageBlockSize { // a short one may have grown
		if b.data == nil {
			b.data = make([]byte, 0, imageBlockSize)
		}
		b.number = n + 1
		var err error
		if b.data, err = r.spool.images.read(b.data[:imageBlockSize], n*imageBlockSize); err != nil {
			b.number = 0
			return nil, err
		}
	}
	return b.data, nil
}

func comparePartOrdinals(a, b *part) int { return a.compare(b.span) }

// encode appends p in binary: flags, then varints, then the key.
func (p *part) encode(dst []byte) []byte {
	var flags byte
	for i, set := range [...]bool{p.created, p.deleted, p.unknown, p.raw, p.whole, p.message, p.from != "", p.quiet} {
		if set {
			flags |= 1 << i
		}
	}
	dst = append(dst, flags)
	for _, n := range [...]uint64{p.ordinal, p.writes, uint64(p.group), uint64(p.rel), uint64(len(p.key))} {
		dst = binary.AppendUvarint(dst, n)
	}
	dst = append(dst, p.key...)
	if p.from != "" {
		dst = appendText(dst, p.from)
	}
	for _, ref := range [...]*imageRef{&p.before, &p.after} {
		dst = append(dst, byte(ref.image))
		if ref.image == ImageKey || ref.image == ImageFull {
			dst = binary.AppendUvarint(dst, uint64(ref.rel))
			dst = binary.AppendUvarint(dst, uint64(ref.at))
			dst = binary.AppendUvarint(dst, uint64(ref.len))
		}
	}
	return dst
}
