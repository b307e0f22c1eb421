package cdc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDecodeTransaction(t *testing.T) {
	d := NewDecoder(testSchema(), wantNet, Limits{})
	txs := play(t, d,
		wire("B").u64(0x16B374D848).u64(0).u32(77), wire("O").u64(1).str("origin"), full.relation(), full.insert(row(1, "x", nil)),
		wire("M").u8(1).u64(1).str("walhook").u32(2).raw([]byte("{}")),
		wire("C").u8(0).u64(0x16B374D848).u64(0x16B374D900).u64(86_400_000_001),
		begin(78), commit())
	if len(txs) != 2 {
		t.Fatalf("%d transactions", len(txs))
	}
	tx := txs[0]
	if tx.XID != 77 || tx.CommitLSN.String() != "16/B374D848" || tx.EndLSN.String() != "16/B374D900" ||
		tx.CommitTime != testTime.Add(1000) || tx.Empty() || tx.Spilled() || tx.Size() <= 0 {
		t.Errorf("%+v", tx)
	}
	if !txs[1].Empty() || txs[1].Size() != 0 {
		t.Errorf("%+v", txs[1])
	}
}

func TestDecodeRefuses(t *testing.T) {
	open := []wire{begin(1), full.relation()}
	in := func(m wire) []wire { return append(slices.Clone(open), m) }
	for _, c := range []struct {
		name     string
		messages []wire
		want     string
	}{
		{"empty", []wire{{}}, "decode empty message at byte 0: no message type"},
		{"unknown", []wire{wire("Z")}, `decode unknown ('Z') message at byte 0: no such message in protocol version 1`},
		{"streaming", []wire{wire("S").u32(1).u8(1)}, "decode Stream Start message at byte 0: streaming of open transactions is off"},
		{"short begin", []wire{wire("B").u64(1)}, "decode Begin message at byte 9: commit time is cut off"},
		{"long begin", []wire{begin(1).u8(0)}, "decode Begin message at byte 21: 1 bytes too many"},
		{"begin twice", []wire{begin(1), begin(2)}, "decode Begin message at byte 0: transaction 1 is still open"},
		{"commit alone", []wire{commit()}, "decode Commit message at byte 0: outside of a transaction"},
		{"short commit", []wire{begin(1), wire("C").u8(0)}, "decode Commit message at byte 2: commit LSN is cut off"},
		{"row outside", []wire{full.relation(), full.insert(row(1, "x", nil))}, "decode Insert message at byte 0: outside of a transaction"},
		{"row of an unknown relation", in(byKey.update(row(1, "x", nil))), "decode Update message at byte 1: relation 200 was never described"},
		{"no relation", in(wire("D").u16(1)), "decode Delete message at byte 3: relation OID is cut off"},
		{"insert without a tuple", in(wire("I").u32(100)), "decode Insert message at byte 5: no new tuple"},
		{"insert of an old tuple", in(wire("I").u32(100).u8('O').raw(tuple(1, "x", nil))), "decode Insert message at byte 5: no new tuple"},
		{"too few columns", in(full.insert(row(1, "x"))), "decode Insert message at byte 6: tuple of 2 columns for public.p, which has 3"},
		{"cut in a value", in(full.insert(row(1, "x", "long"))[:25]), "decode Insert message at byte 20: tuple of public.p is cut off"},
		{"binary value", in(wire("I").u32(100).u8('N').u16(3).u8('b').u32(1).u8(0).u8('n').u8('n')), "decode Insert message at byte 8: tuple of public.p is cut off or not in text form"},
		{"a huge length", in(wire("I").u32(100).u8('N').u16(3).u8('t').u32(0xffffffff).u8('n').u8('n')), "decode Insert message at byte 8"},
		{"trailing bytes", in(full.insert(row(1, "x", nil)).u8(0)), "decode Insert message at byte 21: 1 bytes too many"},
		{"update with old only", in(wire("U").u32(100).u8('O').raw(tuple(1, "x", nil))), "decode Update message at byte 21: no new tuple"},
		{"update with nothing", in(wire("U").u32(100)), "decode Update message at byte 5: tuple is cut off"},
		{"delete without old", in(wire("D").u32(100).u8('N').raw(tuple(1, "x", nil))), "decode Delete message at byte 5: no old tuple"},
		{"truncate count", in(wire("T").u32(3).u8(0).u32(100)), "decode Truncate message at byte 6: the list of relations has another length than it says"},
		{"truncate of an unknown relation", in(truncateMsg(full, byKey)), "decode Truncate message at byte 10: relation 200 was never described"},
		{"relation cut", []wire{full.relation()[:20]}, "decode Relation message at byte 18: column name is cut off"},
		{"relation with fewer columns", []wire{wire("R").u32(1).str("s").str("t").u8('d').u16(9)}, "decode Relation message at byte 12: column flags is cut off"},
		{"relation identity", []wire{wire("R").u32(1).str("s").str("t").u8('z').u16(0)}, "decode Relation message at byte 9: no such replica identity: 'z'"},
		{"type cut", []wire{wire("Y").u32(1).str("s").raw([]byte("name"))}, "decode Type message at byte 7: name is cut off"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := NewDecoder(testSchema(), wantNet, Limits{})
			_, err := tryPlay(t, d, c.messages...)
			var protocol *ProtocolError
			if !errors.As(err, &protocol) || !strings.HasPrefix(err.Error(), c.want) {
				t.Fatalf("got %v\nwant %s", err, c.want)
			}
			// After a Reset the decoder works.
			d.Reset()
			if txs := play(t, d, begin(2), full.relation(), full.insert(row(1, "x", nil)), commit()); len(txs[0].changes) != 1 {
				t.Error("no change after Reset")
			}
		})
	}
}

// Trap 12.
func TestStrayStreamAbort(t *testing.T) {
	d := NewDecoder(testSchema(), wantNet, Limits{})
	txs := play(t, d, wire("A").u32(5).u32(6), begin(1), full.relation(), full.insert(row(1, "x", nil)), wire("A").u32(5).u32(6), commit())
	if len(txs) != 1 || len(txs[0].changes) != 1 {
		t.Error("the transaction was disturbed")
	}
}

func TestResetForgets(t *testing.T) {
	d := NewDecoder(testSchema(), wantNet, Limits{Memory: 1, TempDir: t.TempDir()})
	play(t, d, begin(1), full.relation(), full.insert(row(1, "x", nil)), full.insert(row(2, "x", nil)))
	d.Reset()
	if _, err := tryPlay(t, d, begin(2), full.insert(row(3, "x", nil))); err == nil {
		t.Error("the relation is still known")
	}
	d.Reset()
	txs := play(t, d, begin(2), full.relation(), full.insert(row(3, "x", nil)), commit())
	if diff := cmp.Diff([]string{"0 create p 3 none → {id=3 a=x b=NULL}"}, showAll(t, txs[0])); diff != "" {
		t.Error(diff)
	}
}

func TestSchemaErrors(t *testing.T) {
	schema := testSchema()
	schema.err = errTest
	d := NewDecoder(schema, wantNet, Limits{})
	_, err := tryPlay(t, d, full.relation())
	if !errors.Is(err, errTest) || !strings.Contains(err.Error(), "look up the primary key of public.p") {
		t.Error(err)
	}
	odd := shape{oid: 1, name: "odd", identity: 'd', cols: []string{"*id", "m:99999"}}
	_, err = tryPlay(t, d, odd.relation())
	if !errors.Is(err, errTest) || !strings.Contains(err.Error(), "look up the type of column public.odd.m") {
		t.Error(err)
	}
	// Nobody asks the catalog about a table that is not wanted.
	d = NewDecoder(schema, wantNone, Limits{})
	if txs := play(t, d, begin(1), odd.relation(), odd.insert(row(1, "x")), commit()); !txs[0].Empty() {
		t.Error("an unwanted change")
	}
}

// Where the live catalog is ahead of WAL, the replica identity or the key known before stands in.
func TestPrimaryKeyWhenTheCatalogMovedOn(t *testing.T) {
	for _, c := range []struct {
		name     string
		identity byte
		live     []string
		want     string
	}{
		{"under DEFAULT the flags tell", 'd', []string{"renamed"}, "1"},
		{"under DEFAULT without a live table", 'd', nil, "1"},
		{"the live order counts", 'd', []string{"id"}, "1"},
		{"under FULL nothing tells", 'f', []string{"renamed"}, ""},
		{"under FULL the live key", 'f', []string{"id"}, "1"},
		{"a key that WAL has in part is none", 'f', []string{"id", "renamed"}, ""},
	} {
		schema := &fakeSchema{keys: map[uint32][]string{100: c.live}}
		table := shape{oid: 100, name: "p", identity: c.identity, cols: full.cols}
		txs := play(t, NewDecoder(schema, wantNet, Limits{}), begin(1), table.relation(), table.insert(row(1, "x", nil)), commit())
		if got := txs[0].changes[0]; got.Key != c.want || got.Raw != (c.want == "") {
			t.Errorf("%s: %s", c.name, show(got))
		}
	}
	// Known earlier in the stream, then renamed.
	schema := &fakeSchema{keys: map[uint32][]string{100: {"id"}}}
	d := NewDecoder(schema, wantNet, Limits{})
	play(t, d, full.relation())
	schema.keys[100] = []string{"renamed"}
	txs := play(t, d, full.relation(), begin(1), full.insert(row(1, "x", nil)), commit())
	if got := txs[0].changes[0]; got.Key != "1" {
		t.Error(show(got))
	}
}

// A *Relation stays the same one as long as the table does, so that it can serve as a cache key.
func TestRelationIdentity(t *testing.T) {
	schema := testSchema()
	d := NewDecoder(schema, wantNet, Limits{})
	rel := func() *Relation {
		return play(t, d, begin(1), full.insert(row(1, "x", nil)), commit())[0].changes[0].Rel
	}
	play(t, d, full.relation())
	first := rel()
	play(t, d, full.relation())
	if rel() != first {
		t.Error("the same RELATION gives another Relation")
	}
	schema.keys[100] = []string{"a"}
	play(t, d, full.relation())
	if r := rel(); r == first || !slices.Equal(r.keyNames(), []string{"a"}) || first.Columns[1].Key {
		t.Error("another primary key gives the same Relation")
	}
}

// Memory is used again once a transaction is closed, and not before.
func TestTransactionsInFlight(t *testing.T) {
	d := NewDecoder(testSchema(), wantNet, Limits{})
	play(t, d, full.relation())
	var txs []*Tx
	for i := range 100 {
		tx := play(t, d, begin(uint32(i)), full.insert(row(i, fmt.Sprint("value ", i), nil)), commit())[0]
		txs = append(txs, tx)
		if i%3 == 0 {
			if err := txs[i/2].Close(); err != nil {
				t.Fatal(err)
			}
			txs[i/2] = nil
		}
	}
	for i, tx := range txs {
		if tx == nil {
			continue
		}
		want := fmt.Sprintf("0 create p %[1]d none → {id=%[1]d a=value %[1]d b=NULL}", i)
		if got := showAll(t, tx); got[0] != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestLimitsValidate(t *testing.T) {
	if err := (Limits{}).Validate(); err != nil {
		t.Error(err)
	}
	err := Limits{Memory: -1, TempDir: filepath.Join(t.TempDir(), "none")}.Validate()
	if err == nil || !strings.Contains(err.Error(), "memory: -1 bytes is negative") || !strings.Contains(err.Error(), "temp_dir: ") {
		t.Error(err)
	}
}

// A row of a table that nobody wants costs no allocation; wanted ones cost few.
func TestDecodeAllocations(t *testing.T) {
	wide, before, after := wideUpdate()
	update := wide.updateOld('O', before, after)
	ctx := context.Background()
	for _, c := range []struct {
		name string
		want func(string, string) (bool, bool)
		most float64 // allocations per transaction of 100 rows
	}{
		{"unwanted", wantNone, 1}, // the Tx
		{"wanted", wantNet, 100 + 10},
	} {
		d := NewDecoder(testSchema(), c.want, Limits{})
		play(t, d, wide.relation())
		messages := []wire{begin(1)}
		for i := range 100 {
			m := bytes.Clone(update)
			copy(m[13:], fmt.Sprintf("%06d", i))
			at := bytes.LastIndex(m, []byte("123456"))
			copy(m[at:], fmt.Sprintf("%06d", i))
			messages = append(messages, m)
		}
		messages = append(messages, commit())
		changes := 0
		got := testing.AllocsPerRun(20, func() {
			for _, m := range messages {
				tx, err := d.Decode(ctx, m)
				if err != nil {
					t.Fatal(err)
				}
				if tx != nil {
					changes = len(tx.changes)
					tx.Close()
				}
			}
		})
		if got > c.most {
			t.Errorf("%s: %v allocations for 100 rows, at most %v expected", c.name, got, c.most)
		}
		if c.name == "wanted" && changes != 100 {
			t.Errorf("%d changes", changes)
		}
	}
}

// wideUpdate is an update of a table with 47 columns, as of sale_order: half of them NULL.
func wideUpdate() (s shape, before, after []any) {
	s = shape{oid: 100, name: "sale_order", identity: 'f', cols: []string{"*id:23"}}
	before = row("123456")
	for i := range 46 {
		s.cols = append(s.cols, fmt.Sprintf("column_%d", i))
		if i%2 == 0 {
			before = append(before, nil)
		} else {
			before = append(before, fmt.Sprintf("a value of %d", i))
		}
	}
	after = slices.Clone(before)
	after[2], after[46] = "sale", "2024-01-31 10:00:00.5"
	return s, before, after
}
