package rules

import "walhook/cdc"

// Quiet reports that nothing follows from a change, whatever else its transaction does to other rows: no rule matches it, or fails on it. It is false
// also where that cannot be told from the change alone, as when a rule looks at other rows, or the table is not one of rules.
func (m *Matcher) Quiet(tx TxInfo, c *cdc.Change) bool {
	if c.Rel == nil || c.Op < cdc.Create || c.Op > cdc.Unlink || !m.bind(c.Rel).alone {
		return false
	}
	if c.Op == cdc.Unlink && (m.set.Follows(c.Rel.Schema, c.Rel.Name) || m.set.Leads(c.Rel.Schema, c.Rel.Name)) {
		return false // other deletions are told to follow from this one
	}
	m.quiet = m.Match(m.quiet[:0], tx, c)
	return len(m.quiet) == 0
}

// alone says that what rules make of a row of a table depends on no other row.
func (s *Set) alone(w *watched) bool {
	if w == nil || w.record != nil || len(s.rollups[tableName{w.table.Schema, w.table.Name}]) > 0 {
		return false
	}
	for _, lists := range [...]*[cdc.Schedule + 1][]*Rule{&w.net, &w.raw} {
		for _, list := range lists {
			for _, r := range list {
				if len(r.whenNeeds) > 0 {
					return false
				}
			}
		}
	}
	return true
}
