package cdc

import (
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// beginTrue is a BEGIN that says of the transaction what commit says.
func beginTrue() wire { return wire("B").u64(1000).u64(86_400_000_000).u32(1) }

func telling(t testing.TB, tx *Tx) []string {
	t.Helper()
	out := []string{}
	for c, err := range tx.Telling() {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, show(c))
	}
	return out
}

// What is left out is nothing but what the judge would call quiet as it is in the end, however the transaction is spilled; and
// reading all of it still gives all.
func TestTellingModel(t *testing.T) {
	dir := t.TempDir()
	left := 0
	rapid.Check(t, func(rt *rapid.T) {
		salt := rapid.IntRange(0, 99).Draw(rt, "salt")
		quiet := func(text string) bool {
			h := fnv.New32a()
			fmt.Fprint(h, salt, text)
			return h.Sum32()%4 > 0
		}
		models := []*model{{table: full}, {table: byKey}}
		messages := []wire{beginTrue()}
		for _, m := range models {
			m.before, m.cut = map[string]modelRow{}, -1
			m.known, m.touch = map[string]bool{}, map[string]*modelTouch{}
			for id := range rapid.IntRange(0, 12).Draw(rt, "rows") {
				m.before[fmt.Sprint(id+1)] = modelRow{"x", "y"}
			}
			m.now = maps.Clone(m.before)
			messages = append(messages, m.table.relation())
		}
		for ordinal := range rapid.IntRange(0, 40).Draw(rt, "writes") {
			messages = append(messages, models[rapid.IntRange(0, 1).Draw(rt, "table")].step(rt, ordinal))
		}
		messages = append(messages, commit())
		for _, memory := range []int64{0, 1, 2000, 4000} {
			d := NewDecoder(testSchema(), wantBoth, Limits{Memory: memory, TempDir: dir})
			d.Judge(func(tx *Tx, c *Change) bool {
				if tx.XID != 1 || tx.CommitLSN != 1000 || !tx.CommitTime.Equal(time.Date(2000, 1, 2, 0, 0, 0, 0, time.UTC)) {
					rt.Fatalf("judged as of %d, %s, %s", tx.XID, tx.CommitLSN, tx.CommitTime)
				}
				return quiet(show(c))
			})
			tx := play(t, d, messages...)[0]
			got := telling(t, tx)
			all := showAll(t, tx)
			if again := telling(t, tx); !slices.Equal(got, again) {
				rt.Fatalf("memory %d: another time it is\n%s", memory, strings.Join(again, "\n"))
			}
			i := 0
			for _, c := range all {
				switch {
				case i < len(got) && got[i] == c:
					i++
				case memory == 0 || !quiet(c) || strings.Contains(c, " truncate "):
					rt.Fatalf("memory %d: %s is left out of\n%s", memory, c, strings.Join(got, "\n"))
				default:
					left++
				}
			}
			if i != len(got) {
				rt.Fatalf("memory %d: what nobody wrote, or out of order:\n%s\nall:\n%s", memory, strings.Join(got, "\n"), strings.Join(all, "\n"))
			}
			if err := tx.Close(); err != nil {
				rt.Fatal(err)
			}
		}
	})
	if left == 0 {
		t.Error("nothing was ever left out")
	}
}

// massUpdate updates rows 1 to n, those in more another time at the end.
func massUpdate(first wire, n int, more ...int) []wire {
	messages := []wire{first, full.relation()}
	for i := range n {
		messages = append(messages, full.updateOld('O', row(i+1, "old", i), row(i+1, "new", i)))
	}
	for _, id := range more {
		messages = append(messages, full.updateOld('O', row(id, "new", id-1), row(id, "newer", id-1)))
	}
	return append(messages, commit())
}

// Where everything is quiet, no run is read; rows that are written again in other runs come out, as what they are then.
func TestTellingLeavesOutRuns(t *testing.T) {
	for name, tc := range map[string]struct {
		want func(schema, table string) (net, raw bool)
		more []int
		runs int // least that are left out
		left []string
	}{
		"net":                   {want: wantNet, runs: 10, left: []string{}},
		"single writes":         {want: func(string, string) (bool, bool) { return false, true }, runs: 10, left: []string{}},
		"rows written again":    {want: wantNet, more: []int{2990, 2999}, runs: 8, left: []string{"3000 write p 2990 {id=2990 a=old b=2989} → {id=2990 a=newer b=2989} ×2", "3001 write p 2999 {id=2999 a=old b=2998} → {id=2999 a=newer b=2998} ×2"}},
		"of all runs":           {want: wantNet, more: []int{7, 1500}, left: []string{"3000 write p 7 {id=7 a=old b=6} → {id=7 a=newer b=6} ×2", "3001 write p 1500 {id=1500 a=old b=1499} → {id=1500 a=newer b=1499} ×2"}},
		"single, written again": {want: func(string, string) (bool, bool) { return false, true }, more: []int{7}, runs: 10, left: []string{}},
	} {
		d := NewDecoder(testSchema(), tc.want, Limits{Memory: 1 << 16, TempDir: t.TempDir()})
		d.Judge(func(_ *Tx, c *Change) bool { return c.Writes == 1 })
		tx := play(t, d, massUpdate(beginTrue(), 3000, tc.more...)...)[0]
		s := tx.spill.(*spool)
		if got := telling(t, tx); !slices.Equal(got, tc.left) {
			t.Errorf("%s: %s", name, strings.Join(got, "\n"))
		}
		all := len(s.net.runs) + len(s.raw.runs)
		if kept := len(tellingRuns(s.net.runs)) + len(tellingRuns(s.raw.runs)); all-kept < tc.runs {
			t.Errorf("%s: %d of %d runs are read", name, kept, all)
		}
		want := 3000 + len(tc.more)
		if net, _ := tc.want("", ""); net {
			want = 3000
		}
		if got := len(showAll(t, tx)); got != want {
			t.Errorf("%s: %d changes in all, want %d", name, got, want)
		}
		if err := tx.Close(); err != nil {
			t.Error(err)
		}
	}
}

// What was judged by another time or place than the commit's counts for nothing; nor does it in memory, or without a judge.
func TestTellingOfWhatIsNotTrue(t *testing.T) {
	for name, tc := range map[string]struct {
		first  wire
		judge  Judge
		memory int64
		want   int
	}{
		"true":          {beginTrue(), func(*Tx, *Change) bool { return true }, 1, 0},
		"other time":    {begin(1), func(*Tx, *Change) bool { return true }, 1, 50},
		"other place":   {wire("B").u64(999).u64(86_400_000_000).u32(1), func(*Tx, *Change) bool { return true }, 1, 50},
		"in memory":     {beginTrue(), func(*Tx, *Change) bool { return true }, 1 << 30, 50},
		"without judge": {beginTrue(), nil, 1, 50},
	} {
		d := NewDecoder(testSchema(), wantNet, Limits{Memory: tc.memory, TempDir: t.TempDir()})
		d.Judge(tc.judge)
		tx := play(t, d, massUpdate(tc.first, 50)...)[0]
		if got := len(telling(t, tx)); got != tc.want {
			t.Errorf("%s: %d changes, want %d", name, got, tc.want)
		}
		if err := tx.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Changes of some tables alone, quiet ones too; where the transaction has none of them, nothing is read.
func TestChangesOf(t *testing.T) {
	for _, memory := range []int64{1, 1 << 30} {
		d := NewDecoder(testSchema(), wantNet, Limits{Memory: memory, TempDir: t.TempDir()})
		d.Judge(func(*Tx, *Change) bool { return true })
		tx := play(t, d, beginTrue(), full.relation(), byKey.relation(), full.insert(row(1, "x", "y")), byKey.insert(row(2, "x", "y")), full.insert(row(3, "x", "y")), commit())[0]
		count := func(tx *Tx, name string) (n int) {
			for c, err := range tx.ChangesOf(func(rel *Relation) bool { return rel.Name == name }) {
				if err != nil || c.Rel.Name != name {
					t.Errorf("%v, of %s", err, c.Rel)
				}
				n++
			}
			return n
		}
		if a, b, none := count(tx, full.name), count(tx, byKey.name), count(tx, "other"); a != 2 || b != 1 || none != 0 {
			t.Errorf("memory %d: %d, %d, %d", memory, a, b, none)
		}
		if tx.Piecemeal(); count(tx, full.name) != 2 {
			t.Errorf("memory %d: piecemeal %d", memory, count(tx, full.name))
		}
		if err := tx.Close(); err != nil {
			t.Error(err)
		}
		if memory == 1 && count(tx, "other") != 0 {
			t.Error("a closed transaction was read for a table that it has not")
		}
	}
}
