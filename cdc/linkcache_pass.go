package cdc

import "strconv"

// pass drops what a change makes invalid. Which entries these are:
//
//	many2one    the entry of the row's id
//	one2many    the entry of the parent that the row names, after the change and, where WAL holds it (REPLICA IDENTITY FULL), before;
//	            and the entries that the row is a member of, which include the parent that it had before, whatever WAL holds
//	many2many   those of which the row is a member, that is the ids which the relation's table gave; rows that do not count (archived, or gone)
//	            are members too. Entries that do not know all of their members are dropped by a change of any row
//	its table   the entry of the record that the pair begins at, before and after
//
// A table that is truncated, whose shape has changed or whose rows cannot be told apart takes all entries with it. A row that is not a
// member of an entry can become one only by a change that names the entry's id: of its inverse column, or of a pair.
func (c *linkCache) pass(ch *Change) {
	if ch.Rel != c.rel {
		c.rel, c.last = ch.Rel, c.tables[tableName{ch.Rel.Schema, ch.Rel.Name}]
	}
	t := c.last
	if t == nil {
		return
	}
	if t.rel != ch.Rel || ch.Op == Truncate || ch.Key == "" {
		t.rel = ch.Rel
		for _, of := range t.rows {
			c.dropAll(of)
		}
		for _, of := range t.pairs {
			c.dropAll(of)
		}
		return
	}
	for _, of := range t.rows {
		c.row(of, ch)
	}
	for _, of := range t.pairs {
		c.pair(of, ch)
	}
}

// row drops what a change of a row that a link leads to makes invalid.
func (c *linkCache) row(of *linkEntries, ch *Change) {
	id, ok := ch.ID()
	if key := ch.Rel.Key; !ok || len(key) != 1 || ch.Rel.Columns[key[0]].Name != byID {
		c.dropAll(of)
		return
	}
	if !of.link.many() {
		c.drop(of.byID[id])
		return
	}
	for list := of.holders[id]; len(list) > 0; list = of.holders[id] {
		c.drop(list[0])
	}
	switch {
	case of.link.Rel == nil:
		if ch.Op != Unlink && !c.named(of, ch.After, of.link.By) {
			c.dropAll(of)
		}
		c.named(of, ch.Before, of.link.By)
	case of.partial > 0 && ch.Op != Unlink:
		for _, e := range of.byID {
			if e.got.partial {
				c.drop(e)
			}
		}
	}
}

// pair drops what a change of a many2many's table makes invalid.
func (c *linkCache) pair(of *linkEntries, ch *Change) {
	from := ch.Rel.Column(of.link.Rel.From)
	before := c.named(of, ch.Before, of.link.Rel.From)
	after := c.named(of, ch.After, of.link.Rel.From)
	// Of a write without an old row, the key is the same before and after: all is known when the column is part of it.
	kept := from >= 0 && ch.Rel.Columns[from].Key
	if ch.Op != Unlink && !after || ch.Op == Unlink && !before || ch.Op == Write && !before && !kept {
		c.dropAll(of)
	}
}

// named drops the entry of the id that a row has in a column. It reports false when WAL does not hold that.
func (c *linkCache) named(of *linkEntries, row Row, column string) bool {
	if row.rel == nil {
		return false
	}
	v := row.Value(row.rel.Column(column))
	if v.State != Present {
		return v.State == Null
	}
	id, err := strconv.ParseInt(string(v.Text), 10, 64)
	if err != nil {
		return false
	}
	c.drop(of.byID[id])
	return true
}

// drop forgets an entry, which may be nil, because of a change.
func (c *linkCache) drop(e *linkEntry) {
	if e == nil {
		return
	}
	c.remove(e)
	c.dropped.Add(1)
}

func (c *linkCache) dropAll(of *linkEntries) {
	for _, e := range of.byID {
		c.drop(e)
	}
}
