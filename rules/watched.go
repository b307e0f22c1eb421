package rules

import (
	"slices"

	"walhook/cdc"
	"walhook/cdc/catalog"
)

// watched is what a Set knows of one table: who wants its changes, and which of
// its columns the programs read. Programs know columns by slot; which column of a
// relation a slot is, is worked out once per [cdc.Relation].
type watched struct {
	table   *catalog.Table
	odoo    bool     // an Odoo model is stored in it
	columns []string // slot → column
	slots   map[string]int

	refs    []refColumn // columns of related rows that programs read
	targets []target    // the rows that refs lie in

	net, raw [cdc.Truncate + 1][]*Rule // by operation, active rules only, in the order of the configuration
}

// refColumn is a column of a related row: ref("partner_id").name.
type refColumn struct {
	target int // index into watched.targets
	column string
}

// target is a related row: what the many2one column points to.
type target struct {
	slot          int // of the many2one column
	schema, table string
	columns       []string // sorted; all that any program reads of it, and the primary key
}

func newWatched(t *catalog.Table, odoo bool) *watched {
	return &watched{table: t, odoo: odoo, slots: make(map[string]int)}
}

// slot returns the slot of a column, a new one if need be.
func (w *watched) slot(column string) int {
	i, ok := w.slots[column]
	if !ok {
		i = len(w.columns)
		w.columns = append(w.columns, column)
		w.slots[column] = i
	}
	return i
}

// target returns the index of the row that a many2one column points to, or -1.
func (w *watched) target(many2one string) int {
	slot := w.slot(many2one)
	return slices.IndexFunc(w.targets, func(t target) bool { return t.slot == slot })
}

// ref returns the index of a related row's column in refs, a new one if need be.
func (w *watched) ref(many2one string, to *catalog.Table, column string) int {
	slot, t := w.slot(many2one), w.target(many2one)
	if t < 0 {
		t = len(w.targets)
		w.targets = append(w.targets, target{slot: slot, schema: to.Schema, table: to.Name, columns: slices.Sorted(slices.Values(to.PrimaryKey))})
	}
	if at, found := slices.BinarySearch(w.targets[t].columns, column); !found {
		w.targets[t].columns = slices.Insert(w.targets[t].columns, at, column)
	}
	r := refColumn{target: t, column: column}
	if i := slices.Index(w.refs, r); i >= 0 {
		return i
	}
	w.refs = append(w.refs, r)
	return len(w.refs) - 1
}

// interested returns the active rules that want this kind of change.
func (w *watched) interested(c *cdc.Change) []*Rule {
	if c.Op < cdc.Create || c.Op > cdc.Unlink {
		return nil // a truncated table has no rows to speak of
	}
	if c.Raw {
		return w.raw[c.Op]
	}
	return w.net[c.Op]
}

// add enters an active rule.
func (w *watched) add(r *Rule) {
	for _, op := range r.ops {
		if r.EachWrite {
			w.raw[op] = append(w.raw[op], r)
		} else {
			w.net[op] = append(w.net[op], r)
		}
	}
}

// wants says which kinds of changes any active rule wants.
func (w *watched) wants() (net, raw bool) {
	for _, op := range []cdc.Op{cdc.Create, cdc.Write, cdc.Unlink} {
		net = net || len(w.net[op]) > 0
		raw = raw || len(w.raw[op]) > 0
	}
	return net, raw
}
