package cdc

import (
	"cmp"
	"iter"
	"slices"
)

// Judge says of a change of a large transaction, while the rest of it is still being received, that nothing will follow from it, unless its row is
// written again in the same transaction: then it is judged no more. What it calls quiet is not read back from the temporary file
// where that is enough, see [Tx.Telling]. tx has no more than XID, CommitLSN and CommitTime.
//
// It must be certain, and say the same whenever it is asked. It is called by the goroutine that decodes; the change is valid during the call.
type Judge func(tx *Tx, c *Change) (quiet bool)

// Judge sets who judges changes; nil for nobody. It must not be called between the messages of a transaction.
func (d *Decoder) Judge(by Judge) { d.tx.judge = by }

// quiet asks the judge about a row that goes to the temporary file.
func (t *transaction) quiet(p *pending) bool {
	if t.judge == nil || p.message || p.whole {
		return false
	}
	op, ok := p.op()
	if !ok {
		return false
	}
	p.change(&t.judged, op)
	quiet := t.judge(&t.about, &t.judged)
	t.judged = Change{}
	return quiet
}

// selection says which changes of a spilled transaction are read.
type selection struct {
	telling bool                     // those that are quiet are left out
	of      func(rel *Relation) bool // only those of such tables; nil for all
}

// Telling yields the changes as [Tx.Changes] does, but for those of a spilled transaction that the [Judge] has called quiet.
func (t *Tx) Telling() iter.Seq2[*Change, error] { return t.selected(selection{telling: true}) }

// ChangesOf yields the changes of some tables. Of a spilled transaction no others are read back. What [Tx.Through] adds is not in them.
func (t *Tx) ChangesOf(table func(rel *Relation) bool) iter.Seq2[*Change, error] {
	if t.spill != nil {
		return t.spill.all(selection{of: table})
	}
	return func(yield func(*Change, error) bool) {
		for _, c := range t.changes {
			if c.Rel != nil && table(c.Rel) && !yield(c, nil) {
				return
			}
		}
	}
}

// tellingRuns are the runs that hold anything but what is quiet. A run whose rows lie in others, too, is kept: together they may be more.
func tellingRuns(runs []run) []run {
	byKey := slices.Clone(runs)
	slices.SortFunc(byKey, func(a, b run) int { return a.first.compare(b.first) })
	var kept []run
	var last runKey // of all runs so far
	for i, r := range byKey {
		apart := (i == 0 || last.compare(r.first) < 0) && (i+1 == len(byKey) || r.last.compare(byKey[i+1].first) < 0)
		if !r.quiet || !apart {
			kept = append(kept, r)
		}
		if i == 0 || last.compare(r.last) < 0 {
			last = r.last
		}
	}
	return kept
}

// runKey is where a part stands in a run: as [comparePartKeys] has it, or by ordinal alone, when the rest is empty.
type runKey struct {
	group   uint32
	key     string
	ordinal uint64
}

func (k runKey) compare(l runKey) int {
	return cmp.Or(cmp.Compare(k.group, l.group), cmp.Compare(len(k.key), len(l.key)), cmp.Compare(k.key, l.key), cmp.Compare(k.ordinal, l.ordinal))
}
