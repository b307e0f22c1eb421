package rules

import (
	"walhook/cdc"
	"walhook/cdc/catalog"
)

// watched is what a Set knows of one table: who wants its changes, which of
// its columns the programs read, and which related rows.
type watched struct {
	rowSlots
	index  int  // of Set.tables
	odoo   bool // an Odoo model is stored in it
	places []*place
	links  *links // of the Set

	record  *Link         // to the table's own rows by id, for rules that roll up; nil when there are none
	shape   *cdc.Relation // of changes that stand for their lines alone
	rollers []*Rule       // active rules that roll up

	net, raw [cdc.Schedule + 1][]*Rule // by operation, active rules only, in the order of the configuration
}

func newWatched(t *catalog.Table, odoo bool, index int, links *links) *watched {
	return &watched{rowSlots: newRowSlots(t, nil), index: index, odoo: odoo, links: links}
}

// interested returns the active rules that want this kind of change.
func (w *watched) interested(c *cdc.Change) []*Rule {
	if c.Op < cdc.Create || c.Op == cdc.Truncate {
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
		if r.EachWrite || op == cdc.Message {
			w.raw[op] = append(w.raw[op], r)
		} else {
			w.net[op] = append(w.net[op], r)
		}
	}
}

// wants says which kinds of changes any active rule wants.
func (w *watched) wants() (net, raw bool) {
	for _, op := range []cdc.Op{cdc.Create, cdc.Write, cdc.Unlink, cdc.Message} {
		net = net || len(w.net[op]) > 0
		raw = raw || len(w.raw[op]) > 0
	}
	return net, raw
}
