package rules

import (
	"fmt"
	"strconv"

	"walhook/cdc"
)

// side is a row that programs read: a version of the changed row, or the current one of a place.
type side struct {
	name  string    // for errors: "before" or "after"; of a place "ref(…)"
	of    *rowSlots // what its slots are
	row   *cdc.Row
	slots []slot // where row has them
	cells []cell

	stamp uint64        // tells this row from all others, so that cells need no clearing
	above uint64        // of a place: the stamp of the row that it was found from
	rel   *cdc.Relation // of a place: what slots was worked out for
	own   cdc.Row       // of a place: what row points to
}

// newPlaces makes the sides of a table's places.
func newPlaces(w *watched) []side {
	sides := make([]side, len(w.places))
	for i, p := range w.places {
		sides[i] = side{name: fmt.Sprintf("ref(%q)", p.name), of: &p.rowSlots, cells: make([]cell, len(p.columns))}
		sides[i].row = &sides[i].own
	}
	return sides
}

// enter moves a place to a row that was found from another one.
func (f *frame) enter(s *side, row cdc.Row, above *side) {
	f.generation++
	s.own, s.stamp, s.above = row, f.generation, above.stamp
	if rel := row.Relation(); rel != nil && rel != s.rel {
		s.rel, s.slots = rel, s.of.in(rel)
	}
}

// above is the row that a place is found from; nil when it is not there.
func (f *frame) above(p *place) *side {
	if p.above != nil {
		return f.at(p.above)
	}
	return f.version(p.of)
}

// version is a version of the changed row.
func (f *frame) version(of version) *side {
	switch of {
	case versionBefore:
		return &f.before
	case versionAfter:
		return &f.after
	}
	return f.record
}

// at returns the row that a place is at: what the many2one points to, nil if that is NULL or gone; of a place
// with many rows, the one that [frame.visit] has come to.
func (f *frame) at(p *place) *side {
	s := &f.places[p.index]
	if p.many() {
		return s
	}
	above := f.above(p)
	if above == nil {
		return nil
	}
	if s.above != above.stamp {
		rows, ok := f.rows(p, above)
		if !ok {
			return nil // and nothing is kept: the row may be there when it is asked for again
		}
		row := cdc.Row{}
		if len(rows) > 0 {
			row = rows[0]
		}
		f.enter(s, row, above)
	}
	if s.row.Image == cdc.ImageNone {
		return nil
	}
	return s
}

// rows returns the rows of a place. It reports false when they are yet to be fetched, which is an error unless needs are being
// collected.
func (f *frame) rows(p *place, above *side) (rows []cdc.Row, ok bool) {
	id, ok := f.pointer(above, p)
	if !ok {
		return nil, true
	}
	fetched := false
	if f.tx.Related != nil {
		rows, fetched = f.tx.Related.Rows(p.link, id)
	}
	if !fetched {
		if f.missing = true; !f.collecting {
			raise("%s: no related rows were fetched", f.places[p.index].name)
		}
	}
	if f.group != nil && p.above == nil {
		rows = f.group.only(p.link, rows)
	}
	return rows, fetched
}

// pointer reads the id that a place's rows are found by. It reports false for NULL.
func (f *frame) pointer(above *side, p *place) (int64, bool) {
	v := f.read(above, p.pointer)
	switch v.State {
	case cdc.Null:
		return 0, false
	case cdc.Unknown:
		panic(f.unreadable(above, p.pointer))
	}
	id, err := strconv.ParseInt(string(v.Text), 10, 64)
	if err != nil {
		raise("cannot read %q as the id of a record", excerpt(string(v.Text)))
	}
	return id, true
}

// visit goes through at most limit rows of a place, moving it to each. It says how many there are.
func (f *frame) visit(p *place, limit int, each func() error) (n int, err error) {
	above := f.above(p)
	if above == nil {
		return 0, nil
	}
	rows, _ := f.rows(p, above)
	s := &f.places[p.index]
	for i := range rows {
		if i == limit {
			break
		}
		f.enter(s, rows[i], above)
		if err := each(); err != nil {
			return len(rows), err
		}
	}
	return len(rows), nil
}

// visitAll goes through the rows at the end of a chain of places, of which the first has many rows. Where a many2one of the chain
// leads nowhere, there is nil to visit. cut says that one of the places has more rows than limit.
func (f *frame) visitAll(chain []*place, limit int, each func(*side) error) (cut bool, err error) {
	p, rest := chain[0], chain[1:]
	if !p.many() {
		if s := f.at(p); s == nil || len(rest) == 0 {
			return false, each(s)
		}
		return f.visitAll(rest, limit, each)
	}
	n, err := f.visit(p, limit, func() error {
		if len(rest) == 0 {
			return each(&f.places[p.index])
		}
		inner, err := f.visitAll(rest, limit, each)
		cut = cut || inner
		return err
	})
	return cut || n > limit, err
}

// maxRelated bounds the rows of one list in an expression. To leave some out silently would make sums wrong.
const maxRelated = 10_000

// list collects a column of the rows at the end of a chain.
func (f *frame) list(chain []*place, slot int) any {
	list := emptyList()
	cut, _ := f.visitAll(chain, maxRelated, func(s *side) error { // which does not fail: programs raise
		f.step(1)
		var v any
		if s != nil {
			// A cell of its own: that of the place holds the next row's value soon.
			if read := f.read(s, slot); read.State == cdc.Unknown {
				panic(f.unreadable(s, slot))
			} else if read.State == cdc.Present {
				v = new(cell).hold(read, s.stamp)
			}
		}
		list = append(list, v)
		return nil
	})
	if cut {
		raise("%s has more than %d rows", chain[0].name, maxRelated)
	}
	return list
}
