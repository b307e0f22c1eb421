package cdc

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The tables of the cases: p has (id, a, b), key id; c has a composite key (x, y).
var (
	full    = shape{oid: 100, name: "p", identity: 'f', cols: []string{"*id", "a", "b"}}
	byKey   = shape{oid: 200, name: "q", identity: 'd', cols: []string{"*id", "a", "b"}}
	pair    = shape{oid: 300, name: "c", identity: 'f', cols: []string{"*x", "*y", "v"}}
	keyless = shape{oid: 400, name: "k", identity: 'f', cols: []string{"a"}}
	indexed = shape{oid: 500, name: "i", identity: 'i', cols: []string{"*id", "code"}}
)

func testSchema() *fakeSchema {
	return &fakeSchema{keys: map[uint32][]string{100: {"id"}, 200: {"id"}, 300: {"x", "y"}, 500: {"id"}}}
}

var coalesceCases = []struct {
	name     string
	messages []wire
	net, raw []string
}{
	{
		name: "insert then updates is a create with the final row",
		messages: []wire{full.relation(),
			full.insert(row(1, nil, nil)),
			full.updateOld('O', row(1, nil, nil), row(1, "x", nil)),
			full.updateOld('O', row(1, "x", nil), row(1, "x", "y"))},
		net: []string{"2 create p 1 none → {id=1 a=x b=y} ×3"},
		raw: []string{"0 create p raw 1 none → {id=1 a=NULL b=NULL}",
			"1 write p raw 1 {id=1 a=NULL b=NULL} → {id=1 a=x b=NULL}",
			"2 write p raw 1 {id=1 a=x b=NULL} → {id=1 a=x b=y}"},
	},
	{
		name: "updates are one write from first before to last after",
		messages: []wire{full.relation(),
			full.updateOld('O', row(1, "draft", 0), row(1, "posted", 0)),
			full.updateOld('O', row(1, "posted", 0), row(1, "posted", "INV/1"))},
		net: []string{"1 write p 1 {id=1 a=draft b=0} → {id=1 a=posted b=INV/1} ×2"},
		raw: []string{"0 write p raw 1 {id=1 a=draft b=0} → {id=1 a=posted b=0}",
			"1 write p raw 1 {id=1 a=posted b=0} → {id=1 a=posted b=INV/1}"},
	},
	{
		name: "insert and delete is nothing",
		messages: []wire{full.relation(),
			full.insert(row(1, "x", nil)),
			full.updateOld('O', row(1, "x", nil), row(1, "y", nil)),
			full.delete('O', row(1, "y", nil))},
		net: []string{},
		raw: []string{"0 create p raw 1 none → {id=1 a=x b=NULL}",
			"1 write p raw 1 {id=1 a=x b=NULL} → {id=1 a=y b=NULL}",
			"2 unlink p raw 1 {id=1 a=y b=NULL} → none"},
	},
	{
		name: "updates and delete is an unlink with the first before",
		messages: []wire{full.relation(),
			full.updateOld('O', row(1, "x", nil), row(1, "y", nil)),
			full.delete('O', row(1, "y", nil))},
		net: []string{"1 unlink p 1 {id=1 a=x b=NULL} → none ×2"},
		raw: []string{"0 write p raw 1 {id=1 a=x b=NULL} → {id=1 a=y b=NULL}",
			"1 unlink p raw 1 {id=1 a=y b=NULL} → none"},
	},
	{
		name: "delete and insert of one key is a write",
		messages: []wire{full.relation(),
			full.delete('O', row(1, "x", "old")),
			full.insert(row(1, "x", "new"))},
		net: []string{"1 write p 1 {id=1 a=x b=old} → {id=1 a=x b=new} ×2"},
		raw: []string{"0 unlink p raw 1 {id=1 a=x b=old} → none", "1 create p raw 1 none → {id=1 a=x b=new}"},
	},
	{
		name: "delete, insert, delete is an unlink; insert, delete, insert a create",
		messages: []wire{full.relation(),
			full.delete('O', row(1, "x", nil)), full.insert(row(1, "y", nil)), full.delete('O', row(1, "y", nil)),
			full.insert(row(2, "x", nil)), full.delete('O', row(2, "x", nil)), full.insert(row(2, "y", nil))},
		net: []string{"2 unlink p 1 {id=1 a=x b=NULL} → none ×3", "5 create p 2 none → {id=2 a=y b=NULL} ×3"},
	},
	{
		name: "key change under FULL is unlink and create",
		messages: []wire{full.relation(),
			full.updateOld('O', row(1, "x", toast), row(2, "x", toast)),
			full.updateOld('O', row(2, "x", "big"), row(2, "z", toast))},
		net: []string{"0 unlink p 1 {id=1 a=x b=?} → none", "1 create p 2 none → {id=2 a=z b=big} ×2"},
		raw: []string{"0 unlink p raw 1 {id=1 a=x b=?} → none", "0 create p raw 2 none → {id=2 a=x b=?}",
			"1 write p raw 2 {id=2 a=x b=big} → {id=2 a=z b=big}"},
	},
	{
		name: "key change under DEFAULT is unlink by key and create",
		messages: []wire{byKey.relation(),
			byKey.updateOld('K', row(1, nil, nil), row(2, "x", "y"))},
		net: []string{"0 unlink q 1 key{id=1 a=? b=?} → none", "0 create q 2 none → {id=2 a=x b=y}"},
	},
	{
		name: "keys that move in a circle",
		messages: []wire{full.relation(),
			full.updateOld('O', row(1, "one", nil), row(9, "one", nil)),
			full.updateOld('O', row(2, "two", nil), row(1, "two", nil)),
			full.updateOld('O', row(9, "one", nil), row(2, "one", nil))},
		net: []string{"1 write p 1 {id=1 a=one b=NULL} → {id=1 a=two b=NULL} ×2",
			"2 write p 2 {id=2 a=two b=NULL} → {id=2 a=one b=NULL} ×2"},
	},
	{
		name: "first update without an old row leaves before unknown",
		messages: []wire{byKey.relation(),
			byKey.update(row(1, "x", nil)),
			shape{oid: 200, name: "q", identity: 'f', cols: byKey.cols}.relation(), // ALTER TABLE … REPLICA IDENTITY FULL
			byKey.updateOld('O', row(1, "x", nil), row(1, "y", nil)),
			byKey.delete('O', row(1, "y", nil)),
			byKey.updateOld('O', row(2, "x", nil), row(2, "y", nil))},
		net: []string{"2 unlink q 1 unknown → none ×3", "3 write q 2 {id=2 a=x b=NULL} → {id=2 a=y b=NULL}"},
	},
	{
		name:     "delete under DEFAULT knows the key",
		messages: []wire{byKey.relation(), byKey.delete('K', row(1, nil, nil))},
		net:      []string{"0 unlink q 1 key{id=1 a=? b=?} → none"},
	},
	{
		name:     "unchanged TOAST under FULL comes from the old row",
		messages: []wire{full.relation(), full.updateOld('O', row(1, "x", "big"), row(1, "y", toast))},
		net:      []string{"0 write p 1 {id=1 a=x b=big} → {id=1 a=y b=big}"},
		raw:      []string{"0 write p raw 1 {id=1 a=x b=big} → {id=1 a=y b=big}"},
	},
	{
		name: "unchanged TOAST under DEFAULT comes from this transaction or stays unknown",
		messages: []wire{byKey.relation(),
			byKey.insert(row(1, "x", "big")), byKey.update(row(1, "y", toast)), byKey.update(row(1, "z", toast)),
			byKey.update(row(2, "y", toast)), byKey.update(row(2, "z", toast))},
		net: []string{"2 create q 1 none → {id=1 a=z b=big} ×3", "4 write q 2 unknown → {id=2 a=z b=?} ×2"},
		raw: []string{"0 create q raw 1 none → {id=1 a=x b=big}", "1 write q raw 1 unknown → {id=1 a=y b=?}",
			"2 write q raw 1 unknown → {id=1 a=z b=?}", "3 write q raw 2 unknown → {id=2 a=y b=?}", "4 write q raw 2 unknown → {id=2 a=z b=?}"},
	},
	{
		name: "truncate drops what is pending, later inserts are creates",
		messages: []wire{full.relation(), byKey.relation(),
			full.insert(row(1, "x", nil)), full.updateOld('O', row(2, "x", nil), row(2, "y", nil)), byKey.update(row(1, "k", nil)),
			truncateMsg(full),
			full.insert(row(2, "z", nil)), full.insert(row(3, "z", nil))},
		net: []string{"2 write q 1 unknown → {id=1 a=k b=NULL}", "3 truncate p",
			"4 create p 2 none → {id=2 a=z b=NULL}", "5 create p 3 none → {id=3 a=z b=NULL}"},
		raw: []string{"0 create p raw 1 none → {id=1 a=x b=NULL}", "1 write p raw 2 {id=2 a=x b=NULL} → {id=2 a=y b=NULL}",
			"2 write q raw 1 unknown → {id=1 a=k b=NULL}", "3 truncate p",
			"4 create p raw 2 none → {id=2 a=z b=NULL}", "5 create p raw 3 none → {id=3 a=z b=NULL}"},
	},
	{
		name: "truncate of several tables, twice, is one event per table at the last one",
		messages: []wire{full.relation(), byKey.relation(),
			truncateMsg(full, byKey), full.insert(row(1, "x", nil)), truncateMsg(full)},
		net: []string{"1 truncate q", "3 truncate p"},
	},
	{
		name: "changes are ordered by their last write",
		messages: []wire{full.relation(),
			full.insert(row(1, "x", nil)), full.insert(row(2, "x", nil)), full.insert(row(3, "x", nil)),
			full.updateOld('O', row(1, "x", nil), row(1, "y", nil))},
		net: []string{"1 create p 2 none → {id=2 a=x b=NULL}", "2 create p 3 none → {id=3 a=x b=NULL}",
			"3 create p 1 none → {id=1 a=y b=NULL} ×2"},
	},
	{
		name: "composite keys",
		messages: []wire{pair.relation(),
			pair.insert(row(1, 2, "v")), pair.insert(row("a,b", `c\d`, "v")),
			pair.updateOld('O', row(1, 2, "v"), row(1, 3, "v"))},
		net: []string{`1 create c a\,b,c\\d none → {x=a,b y=c\d v=v}`, "2 create c 1,3 none → {x=1 y=3 v=v}"},
	},
	{
		name: "without a primary key every write is raw",
		messages: []wire{keyless.relation(),
			keyless.insert(row("x")), keyless.updateOld('O', row("x"), row("y")), keyless.delete('O', row("y"))},
		net: []string{"0 create k raw  none → {a=x}", "1 write k raw  {a=x} → {a=y}", "2 unlink k raw  {a=y} → none"},
	},
	{
		name: "identity by an index that does not hold the primary key",
		messages: []wire{indexed.relation(),
			indexed.updateOld('K', row(nil, "c"), row(1, "d")), indexed.update(row(1, "d")), indexed.delete('K', row(nil, "d"))},
		net: []string{"1 write i 1 key{id=? code=?} → {id=1 code=d} ×2", "2 unlink i raw  key{id=? code=?} → none"},
	},
	{
		name: "a column is added and another dropped in the middle",
		messages: []wire{byKey.relation(),
			byKey.updateOld('K', row(1, nil, nil), row(1, "x", "big")),
			shape{oid: 200, name: "q", identity: 'd', cols: []string{"*id", "b", "n"}}.relation(),
			byKey.update(row(1, toast, 5))},
		net: []string{"1 write q 1 key{id=1 a=? b=?} → {id=1 b=big n=5} ×2"},
	},
	{
		name: "a column changes its type in the middle",
		messages: []wire{byKey.relation(),
			byKey.insert(row(1, "x", "12")),
			shape{oid: 200, name: "q", identity: 'd', cols: []string{"*id", "a", "b:1700"}}.relation(),
			byKey.update(row(1, "y", toast))},
		net: []string{"1 create q 1 none → {id=1 a=y b=?} ×2"},
	},
	{
		name: "the primary key itself changes in the middle",
		messages: []wire{byKey.relation(),
			byKey.insert(row(1, 2, "x")),
			shape{oid: 200, name: "q", identity: 'd', cols: []string{"id", "*a", "b"}}.relation(),
			byKey.insert(row(2, 1, "y")), truncateMsg(byKey), byKey.insert(row(3, 3, "z"))},
		net: []string{"2 truncate q", "3 create q 3 none → {id=3 a=3 b=z}"},
	},
}

func TestCoalesce(t *testing.T) {
	for _, c := range coalesceCases {
		t.Run(c.name, func(t *testing.T) {
			messages := append(append([]wire{begin(7)}, c.messages...), commit())
			for _, mode := range []struct {
				name string
				want func(string, string) (bool, bool)
				out  []string
			}{{"net", wantNet, c.net}, {"raw", wantRaw, c.raw}} {
				if mode.out == nil {
					continue
				}
				for _, memory := range []int64{0, 1} { // 1: spill after every row
					d := NewDecoder(testSchema(), mode.want, Limits{Memory: memory, TempDir: t.TempDir()})
					txs := play(t, d, messages...)
					if len(txs) != 1 {
						t.Fatalf("%d transactions", len(txs))
					}
					if diff := cmp.Diff(mode.out, showAll(t, txs[0])); diff != "" {
						t.Errorf("%s, memory %d (-want +got):\n%s", mode.name, memory, diff)
					}
				}
			}
		})
	}
}

// Net and raw changes side by side: of one write the raw one comes first.
func TestCoalesceNetAndRaw(t *testing.T) {
	for _, memory := range []int64{0, 1} {
		t.Run(fmt.Sprint(memory), func(t *testing.T) {
			d := NewDecoder(testSchema(), wantBoth, Limits{Memory: memory, TempDir: t.TempDir()})
			txs := play(t, d, begin(1), byKey.relation(),
				byKey.insert(row(1, "x", "big")), byKey.update(row(1, "y", toast)), byKey.update(row(1, "z", toast)), commit())
			want := []string{
				"0 create q raw 1 none → {id=1 a=x b=big}",
				"1 write q raw 1 unknown → {id=1 a=y b=?}",
				"2 write q raw 1 unknown → {id=1 a=z b=?}",
				"2 create q 1 none → {id=1 a=z b=big} ×3",
			}
			if diff := cmp.Diff(want, showAll(t, txs[0])); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(want, showAll(t, txs[0])); diff != "" {
				t.Errorf("second reading: %s", diff)
			}
		})
	}
}

// A change keeps the shape of the table that each of its rows has.
func TestCoalesceShapes(t *testing.T) {
	wide := shape{oid: 100, name: "p", identity: 'f', cols: []string{"*id", "a", "b", "n:23"}}
	for _, memory := range []int64{0, 1} {
		d := NewDecoder(testSchema(), wantNet, Limits{Memory: memory, TempDir: t.TempDir()})
		txs := play(t, d, begin(1), full.relation(),
			full.updateOld('O', row(1, "x", nil), row(1, "y", nil)),
			wide.relation(),
			wide.updateOld('O', row(1, "y", nil, nil), row(1, "y", nil, 5)), commit())
		n := 0
		for c, err := range txs[0].Changes() {
			if err != nil {
				t.Fatal(err)
			}
			n++
			if c.Before.Relation().Column("n") != -1 || c.After.Relation().Column("n") != 3 || c.Rel != c.After.Relation() {
				t.Errorf("memory %d: shapes %v, %v, %v", memory, c.Before.Relation().Columns, c.After.Relation().Columns, c.Rel.Columns)
			}
		}
		if n != 1 {
			t.Errorf("memory %d: %d changes", memory, n)
		}
	}
}
