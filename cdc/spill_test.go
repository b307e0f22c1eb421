package cdc

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A large transaction in random order of keys, with several writes per row, spilled with so little memory that
// runs are merged in passes, gives the same changes as in memory.
func TestSpillMergesInPasses(t *testing.T) {
	messages := []wire{begin(1), byKey.relation(), full.relation()}
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 4000 {
		id := rng.IntN(2500)
		if i%2 == 0 {
			messages = append(messages, full.updateOld('O', row(id, "old", i), row(id, "new", i+1)))
		} else {
			messages = append(messages, byKey.update(row(id, i, toast)))
		}
	}
	messages = append(messages, commit())
	want := showAll(t, play(t, NewDecoder(testSchema(), wantBoth, Limits{Memory: 1 << 30}), messages...)[0])
	dir := t.TempDir()
	tx := play(t, NewDecoder(testSchema(), wantBoth, Limits{Memory: 1 << 12, TempDir: dir}), messages...)[0]
	if !tx.Spilled() || tx.Empty() {
		t.Fatal("the transaction is not spilled")
	}
	if n := len(tx.spill.(*spool).raw.runs); n <= fanIn {
		t.Errorf("only %d runs: no pass of merging is tested", n)
	}
	for range 2 {
		if diff := cmp.Diff(want, showAll(t, tx)); diff != "" {
			t.Fatalf("(-memory +file):\n%s", diff)
		}
	}
	// Stopping early, then reading on from the start.
	for range tx.Changes() {
		break
	}
	if got := showAll(t, tx); len(got) != len(want) {
		t.Errorf("%d changes, want %d", len(got), len(want))
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("the file has a name: %v, %v", entries, err)
	}
}

// Invariant 9: one transaction of 300,000 rows, some 150 MiB of rows and bookkeeping, takes no more memory than
// the limit says, and a little.
func TestSpillMemory(t *testing.T) {
	const rows, limit = 300_000, 4 << 20
	d := NewDecoder(testSchema(), wantNet, Limits{Memory: limit, TempDir: t.TempDir()})
	play(t, d, begin(1), full.relation())
	used := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	base, peak := used(), uint64(0)
	for i := range rows {
		m := full.updateOld('O', row(i, "some text before", i), row(i, "some text after", i+1))
		if _, err := d.Decode(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		if i%(rows/10) == 0 {
			peak = max(peak, used())
		}
	}
	tx := play(t, d, commit())[0]
	n := 0
	for c, err := range tx.Changes() {
		if err != nil {
			t.Fatal(err)
		}
		if c.Key != fmt.Sprint(n) || c.Ordinal != uint64(n) || string(c.After.Value(1).Text) != "some text after" {
			t.Fatalf("change %d is %s", n, show(c))
		}
		if n++; n%(rows/10) == 0 {
			peak = max(peak, used())
		}
	}
	if n != rows {
		t.Errorf("%d changes, want %d", n, rows)
	}
	if peak > base+4*limit {
		t.Errorf("%d MiB in use, limit %d MiB", (peak-base)>>20, limit>>20)
	}
}

// A row that is written over and over stays one row in memory.
func TestHotRowStaysInMemory(t *testing.T) {
	d := NewDecoder(testSchema(), wantNet, Limits{Memory: 1 << 14, TempDir: t.TempDir()})
	play(t, d, begin(1), full.relation())
	for i := range 50_000 {
		m := full.updateOld('O', row(1, "text", 100_000+i), row(1, "text", 100_001+i))
		if _, err := d.Decode(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	tx := play(t, d, commit())[0]
	if tx.Spilled() {
		t.Error("the transaction is spilled")
	}
	if diff := cmp.Diff([]string{"49999 write p 1 {id=1 a=text b=100000} → {id=1 a=text b=150000} ×50000"}, showAll(t, tx)); diff != "" {
		t.Error(diff)
	}
}

// A row larger than the file's buffers and blocks.
func TestSpillLargeRow(t *testing.T) {
	big := strings.Repeat("0123456789", 100_000)
	d := NewDecoder(testSchema(), wantNet, Limits{Memory: 1, TempDir: t.TempDir()})
	tx := play(t, d, begin(1), full.relation(), full.insert(row(1, big, "x")), full.insert(row(2, "small", big)), commit())[0]
	want := []string{"0 create p 1 none → {id=1 a=" + big + " b=x}", "1 create p 2 none → {id=2 a=small b=" + big + "}"}
	if got := showAll(t, tx); !slices.Equal(got, want) {
		t.Error("the rows came back changed")
	}
}

func TestSpillErrors(t *testing.T) {
	var spillErr *SpillError
	check := func(err error) {
		t.Helper()
		if !errors.As(err, &spillErr) || !spillErr.Temporary() || !strings.Contains(spillErr.Hint(), spillErr.Dir) {
			t.Errorf("%v", err)
		}
	}
	dir := filepath.Join(t.TempDir(), "missing")
	d := NewDecoder(testSchema(), wantNet, Limits{Memory: 1, TempDir: dir})
	_, err := tryPlay(t, d, begin(1), full.relation(), full.insert(row(1, "x", nil)))
	check(err)

	// The file fails on reading: the error ends the sequence, and a repaired file would be read from the start.
	d = NewDecoder(testSchema(), wantNet, Limits{Memory: 1, TempDir: t.TempDir()})
	tx := play(t, d, begin(1), full.relation(), full.insert(row(1, "x", nil)), full.insert(row(2, "x", nil)), commit())[0]
	s := tx.spill.(*spool)
	images := s.images.file
	readOnly, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	s.images.file = readOnly // writing fails, reading gives nothing
	read := func() (n int, err error) {
		for _, e := range tx.Changes() {
			if e != nil {
				return n, e
			}
			n++
		}
		return n, nil
	}
	_, err = read()
	check(err)
	s.images.file = images
	if n, err := read(); n != 2 || err != nil {
		t.Errorf("%d changes, %v", n, err)
	}
	s.images.file = readOnly
	n, err := read()
	check(err)
	if n != 0 {
		t.Errorf("%d changes", n)
	}
	s.images.file = images
	if err := errors.Join(tx.Close(), tx.Close(), readOnly.Close()); err != nil {
		t.Error(err)
	}
	_, err = read()
	check(err)
}

// A full disk is an error of Decode, while the transaction is still being read.
func TestSpillDiskFull(t *testing.T) {
	full512, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no /dev/full on this system")
	}
	d := NewDecoder(testSchema(), wantNet, Limits{Memory: 1, TempDir: t.TempDir()})
	play(t, d, begin(1), full.relation(), full.insert(row(1, "x", nil)))
	kept := d.tx.spool.images.file
	d.tx.spool.images.file = full512
	for i := 0; err == nil && i < 1000; i++ {
		_, err = d.Decode(t.Context(), full.insert(row(i, strings.Repeat("x", 10_000), nil)))
	}
	if err == nil || !strings.Contains(err.Error(), "no space left on device") {
		t.Error(err)
	}
	if err := kept.Close(); err != nil {
		t.Error(err)
	}
	d.Reset()
	if txs := play(t, d, begin(1), full.relation(), full.insert(row(1, "x", nil)), commit()); len(showAll(t, txs[0])) != 1 {
		t.Error("no change after Reset")
	}
}

// Merging that fails leaves nothing in the files: it may be tried for hours while the disk is full.
func TestSpillMergeIsTriedAgainFromTheStart(t *testing.T) {
	messages := []wire{begin(1), byKey.relation()}
	for i := range 2000 {
		messages = append(messages, byKey.update(row(1000+i, i, "x")))
	}
	for i := range 4 { // the last rows by key lack a value, which is completed when all others are merged
		messages = append(messages, byKey.update(row(2999-i, i, toast)))
	}
	messages = append(messages, commit())
	want := showAll(t, play(t, NewDecoder(testSchema(), wantNet, Limits{Memory: 1 << 30}), messages...)[0])
	tx := play(t, NewDecoder(testSchema(), wantNet, Limits{Memory: 1 << 14, TempDir: t.TempDir()}), messages...)[0]
	defer tx.Close()
	s := tx.spill.(*spool)
	if err := errors.Join(s.net.flush(), s.raw.flush(), s.images.flush()); err != nil {
		t.Fatal(err)
	}
	size := func() (sum int64) {
		for _, f := range []*spillFile{s.index, s.images} {
			info, err := f.file.Stat()
			if err != nil {
				t.Fatal(err)
			}
			sum += info.Size()
		}
		return sum
	}
	before := size()
	writable := s.images.file
	reader, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", writable.Fd()))
	if err != nil {
		t.Skipf("no second way to the file on this system: %v", err)
	}
	defer reader.Close()
	s.images.file = reader // values that WAL left out are read from it, and what is completed cannot be written to it
	for range 3 {
		var failure *SpillError
		for _, err := range tx.Changes() {
			if !errors.As(err, &failure) {
				t.Fatalf("read: %v", err)
			}
		}
		if after := size(); after != before {
			t.Errorf("the files grew from %d to %d bytes", before, after)
		}
	}
	s.images.file = writable
	if diff := cmp.Diff(want, showAll(t, tx)); diff != "" {
		t.Errorf("(-memory +file):\n%s", diff)
	}
}

// A spilled transaction counts as much as one may hold in memory, so that few of them are in flight (invariant 9): each
// holds buffers and two files.
func TestInvariant9SpilledTransactionsCount(t *testing.T) {
	const limit = 1 << 12
	d := NewDecoder(testSchema(), wantNet, Limits{Memory: limit, TempDir: t.TempDir()})
	f := newFeed(4096, 2*limit, 0)
	for n := 1; ; n++ {
		messages := []wire{begin(uint32(n)), full.relation()}
		for i := range 100 {
			messages = append(messages, full.insert(row(i, strings.Repeat("x", 100), nil)))
		}
		tx := play(t, d, append(messages, commit())...)[0]
		if !tx.Spilled() || tx.Size() != limit {
			t.Fatalf("spilled: %t, size %d", tx.Spilled(), tx.Size())
		}
		f.put(tx, tx.Size())
		if f.full() {
			if n != 2 {
				t.Errorf("full with %d transactions of %d bytes in a queue of %d", n, limit, 2*limit)
			}
			break
		}
	}
	for _, tx := range f.drop() {
		if err := tx.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Files are closed with the transaction, or with a Reset in the middle of it.
func TestSpillClosesFiles(t *testing.T) {
	open := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("no /proc on this system")
		}
		return len(entries)
	}
	before := open()
	for i := range 20 {
		d := NewDecoder(testSchema(), wantNet, Limits{Memory: 1, TempDir: t.TempDir()})
		messages := []wire{begin(1), full.relation(), full.insert(row(1, "x", nil))}
		for _, m := range messages {
			if _, err := d.Decode(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
		if i%2 == 0 {
			d.Reset()
			continue
		}
		tx, err := d.Decode(t.Context(), commit())
		if err != nil {
			t.Fatal(err)
		}
		if err := tx.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if after := open(); after > before+2 {
		t.Errorf("%d files open, %d before", after, before)
	}
}
