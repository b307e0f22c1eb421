package rules

import (
	"slices"

	"walhook/cdc"
	"walhook/cdc/catalog"
)

// rowSlots are the columns of a row that programs read. Programs know columns by slot; which column of a
// relation a slot is, is worked out once per [cdc.Relation].
type rowSlots struct {
	table   *catalog.Table
	columns []string       // slot → column
	as      []*reading     // slot → how the column is seen; nil: as it is stored
	index   map[string]int // column and reading → slot
	link    *Link          // that the rows come by; nil for the watched table's own
}

func newRowSlots(t *catalog.Table, l *Link) rowSlots {
	return rowSlots{table: t, index: make(map[string]int), link: l}
}

// slot returns the slot of a column as it is stored, a new one if need be. Only of Odoo's booleans NULL is seen as false.
func (s *rowSlots) slot(column string) int {
	as := (*reading)(nil)
	if s.table.Content(column) == catalog.ContentBoolean {
		as = booleans
	}
	return s.slotAs(column, as)
}

// slotAs returns the slot of a column with a reading: a translated column has one for each language that it is read in.
func (s *rowSlots) slotAs(column string, as *reading) int {
	key := column + "\x00" + as.id()
	i, ok := s.index[key]
	if !ok {
		i = len(s.columns)
		s.columns, s.as = append(s.columns, column), append(s.as, as)
		s.index[key] = i
		if s.link != nil {
			s.link.read(column)
		}
	}
	return i
}

// slot is where a relation has a slot.
type slot struct {
	column int32    // -1 when the table has no such column now
	as     *reading // how the column is seen; nil: as it is stored
}

// in finds the slots in a relation.
func (s *rowSlots) in(rel *cdc.Relation) []slot {
	slots := make([]slot, len(s.columns))
	for i, name := range s.columns {
		slots[i] = slot{int32(rel.Column(name)), s.as[i]}
	}
	return slots
}

// version names one of the rows of a change.
type version uint8

const (
	versionRecord version = iota // what a reader means by "the record": after, or of an unlink before
	versionBefore
	versionAfter
)

// placeKind is how many rows a place has, and who goes through them.
type placeKind uint8

const (
	placeOne  placeKind = iota // what a many2one points to
	placeList                  // rows that the value of a path is collected from
	placeEach                  // rows that a payload makes objects of
)

// place is related rows that programs read, found from the record or from another place by a relation: those that
// "partner_id.country_id" leads to. Places of one kind that are reached in the same way are one, whichever rules read them, but
// for those of each: every each has its own.
type place struct {
	rowSlots
	index     int // of watched.places
	kind      placeKind
	above     *place         // that the relation starts at; nil: the watched record
	of        version        // of the watched record, when above is nil
	key       string         // column, there, that holds the id to find the rows by: the many2one's; of a one2many or many2many field "id"
	pointer   int            // its slot
	pointerAs *reading       // how it is seen: a many2one can depend on the company
	around    *place         // of an each: the place of the each that it stands in, nil when it stands in none
	name      string         // the path that leads here, for messages
	rel       *catalog.Table // of a many2many: the table of pairs
	shape     shape          // of the rows
}

// place returns the place that is described, a new one if need be.
func (w *watched) place(want place) *place {
	if want.kind != placeEach {
		for _, p := range w.places {
			if p.kind == want.kind && p.above == want.above && p.of == want.of && p.key == want.key && p.link == want.link {
				return p
			}
		}
	}
	want.rowSlots = newRowSlots(want.shape.table, want.link)
	want.index = len(w.places)
	if want.above != nil {
		want.pointer = want.above.slotAs(want.key, want.pointerAs)
	} else {
		want.pointer = w.slotAs(want.key, want.pointerAs)
	}
	p := &want
	w.places = append(w.places, p)
	return p
}

// many says that there can be more than one row.
func (p *place) many() bool { return p.kind != placeOne }

// way lists the places from the record to p.
func (p *place) way() []*place {
	if p == nil {
		return nil
	}
	return append(p.above.way(), p)
}

// need is a place whose rows must be fetched, and those that must be fetched for each of them.
type need struct {
	place *place
	below []*need
}

// needsOf arranges places as a tree, with all that lead to them.
func needsOf(places []*place) []*need {
	var tree []*need
	for _, p := range places {
		level := &tree
		for _, q := range p.way() {
			var n *need
			for _, have := range *level {
				if have.place == q {
					n = have
				}
			}
			if n == nil {
				n = &need{place: q}
				*level = append(*level, n)
			}
			level = &n.below
		}
	}
	return tree
}

// tables appends the tables that the place's rows and those on the way to it are read from, where they are not in list.
func (p *place) tables(list []*catalog.Table) []*catalog.Table {
	for _, q := range p.way() {
		for _, t := range []*catalog.Table{q.table, q.rel} {
			if t != nil && !slices.Contains(list, t) {
				list = append(list, t)
			}
		}
	}
	return list
}
