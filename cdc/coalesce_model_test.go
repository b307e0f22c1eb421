package cdc

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// model is the naive form of coalescing: a table as a map of rows, before and after the
// transaction. What a row's net change is follows from comparing both; it
// knows nothing of spans.
type model struct {
	table  shape
	before map[string]modelRow // as of the start, or empty since a TRUNCATE
	now    map[string]modelRow
	known  map[string]bool // under DEFAULT: the second column was written in this transaction, under this key
	touch  map[string]*modelTouch
	cut    int // ordinal of the last TRUNCATE, or -1
}

type modelRow struct{ a, b string } // b is what TOAST leaves out

type modelTouch struct {
	last, writes int
	image        string // of the row before, when there was one
	rank         int
}

func (m *model) full() bool { return m.table.identity == 'f' }

func (m *model) rowText(key string, r modelRow) string {
	return fmt.Sprintf("{id=%s a=%s b=%s}", key, r.a, r.b)
}

// touched notes a write of a key. image says what the message tells of the row before.
func (m *model) touched(key string, ordinal, rank int, image string) {
	t := m.touch[key]
	if t == nil {
		t = &modelTouch{image: image}
		m.touch[key] = t
	}
	t.last, t.rank = ordinal, rank
	t.writes++
}

// net returns the expected changes with their ordinals.
func (m *model) net(out map[[2]int]string) {
	for key, t := range m.touch {
		_, was := m.before[key]
		after, is := m.now[key]
		before, afterText := "none", "none"
		op := ""
		switch {
		case was && is:
			op = "write"
		case was:
			op = "unlink"
		case is:
			op = "create"
		default:
			continue
		}
		if was {
			before = t.image
		}
		if is {
			if !m.full() && !m.known[key] {
				after.b = "?"
			}
			afterText = m.rowText(key, after)
		}
		line := fmt.Sprintf("%d %s %s %s %s → %s", t.last, op, m.table.name, key, before, afterText)
		if t.writes > 1 {
			line += fmt.Sprintf(" ×%d", t.writes)
		}
		out[[2]int{t.last, t.rank}] = line
	}
	if m.cut >= 0 {
		out[[2]int{m.cut, 0}] = fmt.Sprintf("%d truncate %s", m.cut, m.table.name)
	}
}

// step draws one write, applies it to the model and returns its message.
func (m *model) step(t *rapid.T, ordinal int) wire {
	keys := slices.Sorted(maps.Keys(m.now))
	fresh := fmt.Sprint(rapid.IntRange(1, 12).Draw(t, "id"))
	_, taken := m.now[fresh]
	op := rapid.SampledFrom([]string{"insert", "update", "update", "update", "delete", "move", "truncate"}).Draw(t, "op")
	if op == "truncate" && rapid.IntRange(0, 9).Draw(t, "rarely") > 0 {
		op = "update"
	}
	if op != "truncate" && len(keys) == 0 {
		if taken {
			op = "truncate"
		} else {
			op = "insert"
		}
	}
	if op == "insert" && taken || op == "move" && taken {
		op = "update"
	}
	value := func(name string) string { return rapid.SampledFrom([]string{"x", "y", "z", "longer"}).Draw(t, name) }
	if op == "insert" {
		r := modelRow{value("a"), value("b")}
		m.now[fresh], m.known[fresh] = r, true
		m.touched(fresh, ordinal, 1, "none")
		return m.table.insert(row(fresh, r.a, r.b))
	}
	if op == "truncate" {
		m.before, m.now = map[string]modelRow{}, map[string]modelRow{}
		m.known, m.touch, m.cut = map[string]bool{}, map[string]*modelTouch{}, ordinal
		return truncateMsg(m.table)
	}
	key := rapid.SampledFrom(keys).Draw(t, "key")
	old := m.now[key]
	oldFull, oldKey := row(key, old.a, old.b), row(key, nil, nil)
	fullText, keyText := m.rowText(key, old), fmt.Sprintf("key{id=%s a=? b=?}", key)
	switch op {
	case "delete":
		delete(m.now, key)
		delete(m.known, key)
		if m.full() {
			m.touched(key, ordinal, 0, fullText)
			return m.table.delete('O', oldFull)
		}
		m.touched(key, ordinal, 0, keyText)
		return m.table.delete('K', oldKey)
	case "move":
		r := modelRow{value("a"), value("b")}
		delete(m.now, key)
		delete(m.known, key)
		m.now[fresh], m.known[fresh] = r, true
		if m.full() {
			m.touched(key, ordinal, 0, fullText)
			m.touched(fresh, ordinal, 1, "none")
			return m.table.updateOld('O', oldFull, row(fresh, r.a, r.b))
		}
		m.touched(key, ordinal, 0, keyText)
		m.touched(fresh, ordinal, 1, "none")
		return m.table.updateOld('K', oldKey, row(fresh, r.a, r.b))
	}
	r := modelRow{a: value("a"), b: old.b}
	var b any = toast
	if rapid.Bool().Draw(t, "b written") {
		r.b = value("b")
		b, m.known[key] = r.b, true
	}
	m.now[key] = r
	if m.full() {
		m.touched(key, ordinal, 1, fullText)
		return m.table.updateOld('O', oldFull, row(key, r.a, b))
	}
	m.touched(key, ordinal, 1, "unknown")
	return m.table.update(row(key, r.a, b))
}

// Invariant 6: the net changes are those of the naive model, whether the transaction stays in memory, is
// spilled now and then, or after every row.
func TestCoalesceModel(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		models := []*model{{table: full}, {table: byKey}}
		messages := []wire{begin(1)}
		for _, m := range models {
			m.before, m.now, m.cut = map[string]modelRow{}, map[string]modelRow{}, -1
			m.known, m.touch = map[string]bool{}, map[string]*modelTouch{}
			for id := range rapid.IntRange(0, 6).Draw(rt, "rows") {
				m.before[fmt.Sprint(id+1)] = modelRow{"x", "y"}
			}
			m.now = maps.Clone(m.before)
			messages = append(messages, m.table.relation())
		}
		for ordinal := range rapid.IntRange(0, 60).Draw(rt, "writes") {
			messages = append(messages, models[rapid.IntRange(0, 1).Draw(rt, "table")].step(rt, ordinal))
		}
		messages = append(messages, commit())

		expected := map[[2]int]string{}
		for _, m := range models {
			m.net(expected)
		}
		want := []string{}
		for _, k := range slices.SortedFunc(maps.Keys(expected), func(a, b [2]int) int { return slices.Compare(a[:], b[:]) }) {
			want = append(want, expected[k])
		}
		for _, memory := range []int64{0, 1, 4000} {
			d := NewDecoder(testSchema(), wantNet, Limits{Memory: memory, TempDir: dir})
			var got []string
			for _, m := range messages {
				tx, err := d.Decode(t.Context(), m)
				if err != nil {
					rt.Fatal(err)
				}
				if tx != nil {
					got = showAll(t, tx)
					if err := tx.Close(); err != nil {
						rt.Fatal(err)
					}
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				rt.Fatalf("memory %d (-want +got):\n%s", memory, diff)
			}
		}
	})
}
