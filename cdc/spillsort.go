package cdc

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"io"
	"iter"
	"slices"
	"sort"
	"unsafe"
)

// sorter sorts any number of parts in bounded memory: it collects what fits its limit, sorts
// it and writes it as a run; runs are merged on reading. Parts that compare equal come out in
// unspecified order.
type sorter struct {
	file    *spillFile
	compare func(a, b *part) int
	limit   int64 // bytes of parts in memory
	parts   []part
	keys    int64 // bytes of their keys
	runs    []run
	encoded []byte // scratch
}

// run is a sorted stretch of the index file.
type run struct {
	at, len     int64
	first, last runKey
	begun       bool // there is a part
	quiet       bool // each part is, and each is of another row, or a single write
}

// fanIn is how many runs are merged at once; each takes a buffer of runBuffer bytes.
const (
	fanIn     = 64
	runBuffer = 16 << 10
)

// comparePartKeys brings the parts of one row together, in order of time. Keys sort
// by length first, since mass writes tend to go up in the id: such runs are sorted already.
func comparePartKeys(a, b *part) int {
	return cmp.Or(
		cmp.Compare(a.group, b.group),
		cmp.Compare(len(a.key), len(b.key)),
		cmp.Compare(a.key, b.key),
		cmp.Compare(a.ordinal, b.ordinal),
	)
}

func (s *sorter) add(p part) error {
	s.parts = append(s.parts, p)
	s.keys += int64(len(p.key))
	if int64(len(s.parts))*int64(unsafe.Sizeof(part{}))+s.keys < s.limit {
		return nil
	}
	return s.flush()
}

// flush writes what is in memory as a run. After an error it can be called again.
func (s *sorter) flush() error {
	if len(s.parts) == 0 {
		return nil
	}
	sort.Sort(inPlace{s.parts, s.compare})
	written, err := s.write(func(yield func(*part, error) bool) {
		for i := range s.parts {
			if !yield(&s.parts[i], nil) {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	s.runs = append(s.runs, written)
	clear(s.parts)
	s.parts, s.keys = s.parts[:0], 0
	return nil
}

// write appends a run to the file, all of it or nothing.
func (s *sorter) write(parts iter.Seq2[*part, error]) (run, error) {
	at := s.file.end()
	r := run{at: at, quiet: true}
	for p, err := range parts {
		if err == nil {
			r.note(p)
			s.encoded = p.encode(s.encoded[:0])
			_, err = s.file.append(s.encoded)
		}
		if err != nil {
			return run{}, errors.Join(err, s.file.cut(at))
		}
	}
	if err := s.file.flush(); err != nil {
		return run{}, errors.Join(err, s.file.cut(at))
	}
	r.len = s.file.end() - at
	return r, nil
}

// note takes down the next part. What it keeps of the last key is the part's own string, which lasts.
func (r *run) note(p *part) {
	key := runKey{ordinal: p.ordinal}
	if !p.raw {
		key = runKey{group: p.group, key: p.key}
	}
	if !r.begun {
		r.first, r.begun = key, true
	} else if !p.raw && r.last == key {
		r.quiet = false // the row was written more than once
	}
	r.last = key
	r.quiet = r.quiet && p.quiet
}

// inPlace sorts parts where they lie: a function that took them by value would have to copy both
// for each comparison, to memory of their own.
type inPlace struct {
	parts   []part
	compare func(a, b *part) int
}

// Len, Less and Swap are sort.Interface.
func (p inPlace) Len() int           { return len(p.parts) }
func (p inPlace) Less(i, j int) bool { return p.compare(&p.parts[i], &p.parts[j]) < 0 }
func (p inPlace) Swap(i, j int)      { p.parts[i], p.parts[j] = p.parts[j], p.parts[i] }

// reduce merges runs until there are no more than fanIn.
func (s *sorter) reduce(runs []run) ([]run, error) {
	for len(runs) > fanIn {
		merged, err := s.write(mergeRuns(s.file, s.compare, runs[:fanIn]))
		if err != nil {
			return nil, err
		}
		runs = append(slices.Clone(runs[fanIn:]), merged)
	}
	return runs, nil
}

// mergeRuns yields the parts of several runs in order. A *part is valid until the next step.
func mergeRuns(file *spillFile, compare func(a, b *part) int, runs []run) iter.Seq2[*part, error] {
	return func(yield func(*part, error) bool) {
		heap := make([]*runReader, 0, len(runs))
		less := func(i, j int) bool { return compare(&heap[i].part, &heap[j].part) < 0 }
		for _, r := range runs {
			reader := &runReader{in: bufio.NewReaderSize(io.NewSectionReader(file.file, r.at, r.len), runBuffer)}
			if err := reader.next(); err != nil {
				yield(nil, file.fail(err)) // a run is never empty
				return
			}
			heap = append(heap, reader)
		}
		for i := len(heap)/2 - 1; i >= 0; i-- {
			siftDown(heap, i, less)
		}
		for len(heap) > 0 {
			if !yield(&heap[0].part, nil) {
				return
			}
			switch err := heap[0].next(); {
			case err == nil:
			case errors.Is(err, io.EOF):
				heap[0] = heap[len(heap)-1]
				heap = heap[:len(heap)-1]
			default:
				yield(nil, file.fail(err))
				return
			}
			siftDown(heap, 0, less)
		}
	}
}

func siftDown(heap []*runReader, i int, less func(i, j int) bool) {
	for {
		child := 2*i + 1
		if child >= len(heap) {
			return
		}
		if child+1 < len(heap) && less(child+1, child) {
			child++
		}
		if !less(child, i) {
			return
		}
		heap[i], heap[child] = heap[child], heap[i]
		i = child
	}
}

// runReader reads the parts of one run.
type runReader struct {
	in   *bufio.Reader
	part part
	key  []byte // scratch
}

// next reads one part. It returns io.EOF only at the end of the run.
func (r *runReader) next() error {
	flags, err := r.in.ReadByte()
	if err != nil {
		return err
	}
	if err := r.decode(flags); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	return nil
}

func (r *runReader) decode(flags byte) error {
	p := &r.part
	*p = part{}
	for i, field := range [...]*bool{&p.created, &p.deleted, &p.unknown, &p.raw, &p.whole, &p.message} {
		*field = flags>>i&1 == 1
	}
	var numbers [5]uint64
	for i := range numbers {
		var err error
		if numbers[i], err = binary.ReadUvarint(r.in); err != nil {
			return err
		}
	}
	p.quiet = flags>>7&1 == 1
	p.ordinal, p.writes, p.group, p.rel = numbers[0], numbers[1], uint32(numbers[2]), uint32(numbers[3])
	var err error
	if p.key, err = r.text(numbers[4]); err != nil {
		return err
	}
	if flags>>6&1 == 1 {
		n, err := binary.ReadUvarint(r.in)
		if err != nil {
			return err
		}
		if p.from, err = r.text(n); err != nil {
			return err
		}
	}
	for _, ref := range [...]*imageRef{&p.before, &p.after} {
		image, err := r.in.ReadByte()
		if err != nil {
			return err
		}
		ref.image = Image(image)
		if ref.image != ImageKey && ref.image != ImageFull {
			continue
		}
		var numbers [3]uint64
		for i := range numbers {
			if numbers[i], err = binary.ReadUvarint(r.in); err != nil {
				return err
			}
		}
		ref.rel, ref.at, ref.len = uint32(numbers[0]), int64(numbers[1]), uint32(numbers[2])
	}
	return nil
}

// text reads a text of so many bytes. Where a damaged file announces more than it holds, it takes no more memory than that.
func (r *runReader) text(n uint64) (string, error) {
	r.key = r.key[:0]
	for n > 0 {
		step := int(min(n, runBuffer))
		r.key = slices.Grow(r.key, step)[:len(r.key)+step]
		if _, err := io.ReadFull(r.in, r.key[len(r.key)-step:]); err != nil {
			return "", err
		}
		n -= uint64(step)
	}
	return string(r.key), nil
}
