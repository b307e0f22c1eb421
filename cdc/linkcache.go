package cdc

import (
	"sync/atomic"
	"time"
)

// linkCache keeps what look-ups have found, the least recently used going first when there is no more room (invariant 9). It
// knows what must be dropped when a row changes: see pass.
type linkCache struct {
	max    int64
	age    time.Duration
	links  map[*Link]*linkEntries
	tables map[tableName]*linkTable

	rel  *Relation // of the last change, and its table
	last *linkTable

	newest, oldest *linkEntry

	bytes, entries   atomic.Int64 // read by others too
	dropped, evicted atomic.Int64
}

// linkEntry is what a link leads to from one id.
type linkEntry struct {
	of           *linkEntries
	id           int64
	got          Linked
	bytes        int64
	at           time.Time // it was read then or later
	newer, older *linkEntry
}

// linkEntries are the entries of one link.
type linkEntries struct {
	link    *Link
	byID    map[int64]*linkEntry
	holders map[int64][]*linkEntry // of one2many and many2many: the entries that a row is a member of
	partial int                    // entries that do not know all of their members
}

// linkTable is a table whose changes make entries invalid.
type linkTable struct {
	rel   *Relation      // as it was last seen
	rows  []*linkEntries // of links that lead to its rows
	pairs []*linkEntries // of links that lead through it, as the table of a many2many
}

// What an entry, and each member of one, takes besides its rows, roughly.
const entryCost, memberCost = 256, 64

func newLinkCache(limit int64, age time.Duration) *linkCache {
	return &linkCache{max: limit, age: age, links: make(map[*Link]*linkEntries), tables: make(map[tableName]*linkTable)}
}

// watch lets entries of a link be kept: changes of its tables will be passed.
func (c *linkCache) watch(link *Link) {
	e := &linkEntries{link: link, byID: make(map[int64]*linkEntry)}
	if link.many() {
		e.holders = make(map[int64][]*linkEntry)
	}
	c.links[link] = e
	t := c.table(tableName{link.Schema, link.Table})
	t.rows = append(t.rows, e)
	if r := link.Rel; r != nil {
		t := c.table(tableName{r.Schema, r.Table})
		t.pairs = append(t.pairs, e)
	}
}

func (c *linkCache) table(name tableName) *linkTable {
	t := c.tables[name]
	if t == nil {
		t = &linkTable{}
		c.tables[name] = t
	}
	return t
}

func (c *linkCache) empty() bool { return c.newest == nil }

// get returns the entry of an id; nil when there is none, or one that is too old.
func (c *linkCache) get(of *linkEntries, id int64, now time.Time) *linkEntry {
	e := of.byID[id]
	if e == nil {
		return nil
	}
	if now.Sub(e.at) > c.age {
		c.remove(e)
		return nil
	}
	if e != c.newest {
		c.unlink(e)
		c.push(e)
	}
	return e
}

// put keeps what was read at a time, if the link's entries are kept and it is not too large.
func (c *linkCache) put(link *Link, id int64, got Linked, at time.Time) {
	of := c.links[link]
	if of == nil {
		return
	}
	if old := of.byID[id]; old != nil {
		c.remove(old)
	}
	e := &linkEntry{of: of, id: id, got: got, at: at, bytes: entryCost + memberCost*int64(len(got.members))}
	for _, row := range got.Rows {
		e.bytes += int64(row.Size())
	}
	if e.bytes > c.max/8 {
		return
	}
	of.byID[id] = e
	for _, m := range got.members {
		of.holders[m] = append(of.holders[m], e)
	}
	if got.partial {
		of.partial++
	}
	c.push(e)
	c.entries.Add(1)
	for c.bytes.Add(e.bytes); c.bytes.Load() > c.max; {
		c.remove(c.oldest)
		c.evicted.Add(1)
	}
}

// push makes an entry the newest.
func (c *linkCache) push(e *linkEntry) {
	e.newer, e.older = nil, c.newest
	if c.newest != nil {
		c.newest.newer = e
	} else {
		c.oldest = e
	}
	c.newest = e
}

func (c *linkCache) unlink(e *linkEntry) {
	if e.newer != nil {
		e.newer.older = e.older
	} else {
		c.newest = e.older
	}
	if e.older != nil {
		e.older.newer = e.newer
	} else {
		c.oldest = e.newer
	}
}

// remove forgets an entry.
func (c *linkCache) remove(e *linkEntry) {
	c.unlink(e)
	delete(e.of.byID, e.id)
	for _, m := range e.got.members {
		rest := without(e.of.holders[m], e)
		if len(rest) == 0 {
			delete(e.of.holders, m)
		} else {
			e.of.holders[m] = rest
		}
	}
	if e.got.partial {
		e.of.partial--
	}
	c.entries.Add(-1)
	c.bytes.Add(-e.bytes)
}

// without takes an entry out of a list, whose order does not matter.
func without(list []*linkEntry, e *linkEntry) []*linkEntry {
	for i := range list {
		if list[i] == e {
			list[i] = list[len(list)-1]
			list[len(list)-1] = nil
			return list[:len(list)-1]
		}
	}
	return list
}

// clear forgets everything.
func (c *linkCache) clear() {
	for _, of := range c.links {
		c.dropAll(of)
	}
}
