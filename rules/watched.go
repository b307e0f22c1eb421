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

	looked   []*Rule                   // that rows may be told to which were there already: active rules on any change of a row but unlink
	net, raw [cdc.Schedule + 1][]*Rule // by operation, active rules only, in the order of the configuration
	found    [cdc.Schedule + 1][]*Rule // as both: for what was found to have happened, of which single writes are not known
}

func newWatched(t *catalog.Table, odoo bool, index int, links *links) *watched {
	return &watched{rowSlots: newRowSlots(t, nil), index: index, odoo: odoo, links: links}
}

// interested returns the active rules that want this kind of change.
func (w *watched) interested(c *cdc.Change) []*Rule {
	if c.Op < cdc.Create || c.Op == cdc.Truncate {
		return nil // a truncated table has no rows to speak of
	}
	if c.Origin != cdc.FromWAL {
		if c.Op == cdc.Create {
			return w.looked
		}
		return w.found[c.Op]
	}
	if c.Raw {
		return w.raw[c.Op]
	}
	return w.net[c.Op]
}

// add enters an active rule.
func (w *watched) add(r *Rule) {
	if r.TellsOfRows() {
		w.looked = append(w.looked, r)
	}
	for _, op := range r.ops {
		w.found[op] = append(w.found[op], r)
		if r.EachWrite || op == cdc.Message {
			w.raw[op] = append(w.raw[op], r)
		} else {
			w.net[op] = append(w.net[op], r)
		}
	}
}

// TellsOfRows says that the rule has events for rows that there are, so that those which were there before it can be sent (backfill).
func (r *Rule) TellsOfRows() bool { return r.on(cdc.Create) || r.on(cdc.Write) }

// wants says which kinds of changes any active rule wants.
func (w *watched) wants() (net, raw bool) {
	for _, op := range []cdc.Op{cdc.Create, cdc.Write, cdc.Unlink, cdc.Message} {
		net = net || len(w.net[op]) > 0
		raw = raw || len(w.raw[op]) > 0
	}
	return net, raw
}
