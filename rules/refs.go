package rules

import (
	"slices"
	"strconv"

	"walhook/cdc"
)

// Missing appends to dst the related rows that [Matcher.Match] and the rule's outputs need for c and that tx.Related does not hold yet: those
// of rules that may match it, judging by what is there. Fetch them, and ask again until nothing is missing. What a payload needs
// is not asked for before the condition is certain.
func (m *Matcher) Missing(dst []Ref, tx TxInfo, c *cdc.Change) []Ref {
	w, rules := m.begin(tx, c)
	if w == nil {
		return dst
	}
	if ref, wanted := w.wanting(tx, c); wanted {
		return append(dst, ref) // all else hangs on the record's own row
	}
	if len(w.places) == 0 {
		return dst
	}
	x := missing{frame: &m.frame, dst: dst, have: len(dst)}
	for _, r := range rules {
		if len(r.whenNeeds) == 0 && len(r.outputNeeds) == 0 || !m.meant(r, c) {
			continue
		}
		may, certain := m.mayMatch(r)
		switch {
		case may && !certain:
			x.record(r.whenNeeds)
		case may:
			x.record(r.outputNeeds)
		}
	}
	return x.dst
}

// mayMatch evaluates a rule's condition as far as it goes with the related rows that are there; it is certain if that is to the end.
func (m *Matcher) mayMatch(r *Rule) (may, certain bool) {
	f := &m.frame
	if !r.takes(f.change) {
		return false, true
	}
	if !f.change.Raw && f.change.Op == cdc.Write && !hasLines(f.change) {
		if changed, known := f.written(r); known && !changed {
			return false, true
		}
	}
	if r.when == nil {
		return true, true
	}
	f.collecting, f.missing = true, false
	ok, err := m.condition(r)
	f.collecting = false
	return f.missing || err == nil && ok, !f.missing
}

// missing collects the rows that are not there.
type missing struct {
	frame *frame
	dst   []Ref
	have  int // how many of dst are others'
}

// record looks at what is needed of the record's relations.
func (x *missing) record(needs []*need) {
	for _, n := range needs {
		x.need(n, *x.frame.version(n.place.of).row)
	}
}

// need looks at one relation of a row, and then at those of the rows that it leads to.
func (x *missing) need(n *need, above cdc.Row) {
	column := n.place.key
	rel := above.Relation()
	if rel == nil {
		return
	}
	v := n.place.pointerAs.read(above.Value(rel.Column(column)), x.frame.change)
	if v.State != cdc.Present {
		return // of NULL nothing is needed; the unknown fails in Match
	}
	id, err := strconv.ParseInt(string(v.Text), 10, 64)
	if err != nil {
		return
	}
	var rows []cdc.Row
	fetched := false
	if related := x.frame.tx.Related; related != nil {
		rows, fetched = related.Rows(n.place.link, id)
	}
	if !fetched {
		x.add(Ref{Link: n.place.link, ID: id})
		return
	}
	for _, row := range rows {
		for _, below := range n.below {
			x.need(below, row)
		}
	}
}

// add looks for the same Ref among the last ones only: many lines can have many products, and to ask for one twice costs little.
func (x *missing) add(ref Ref) {
	if !slices.Contains(x.dst[max(x.have, len(x.dst)-64):], ref) {
		x.dst = append(x.dst, ref)
	}
}
