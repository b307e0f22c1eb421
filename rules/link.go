package rules

import (
	"fmt"
	"slices"
	"strings"

	"walhook/cdc"
	"walhook/cdc/catalog"
)

// Link is a way from a record to related rows, and what is read of them: from the id in a many2one column
// to the row that it names, or from a record's own id to the rows of a one2many or many2many field.
//
// A Link belongs to one [Set] and is immutable. There is one for each way, whatever the number of rules that take it, so
// that pointers can be compared. It does not say what the ids are: see [Ref].
type Link struct {
	Schema, Table string
	// By is the column that holds the id: "id" for what a many2one points to, the inverse many2one's column for the rows of a
	// one2many, "" for those of a many2many, which Rel leads to.
	By  string
	Rel *RelTable
	// Columns are what any rule of the Set reads of the rows, and the primary key; sorted.
	Columns []string
	// Order is how the rows come: names of columns, "date desc" for the other way round. A column that the table has not got is
	// left out. It is empty for a many2one.
	Order []string
	// Archived says that rows count whose "active" is not true. If it is false they do not, where there is such a column. What
	// a many2one points to counts in any case.
	Archived bool
	// Limit is how many rows matter for one id; there is no need to return more. 0 means all.
	Limit int
}

// RelTable is the table of a many2many: a row for each pair, with the id that one comes from and the id that it leads to.
type RelTable struct{ Schema, Table, From, To string }

// Many says that the link leads to any number of rows, not to one.
func (l *Link) Many() bool { return l.By != byID }

// String names the link for messages: "public.res_partner", "public.sale_order_line by order_id".
func (l *Link) String() string {
	name := l.Schema + "." + l.Table
	switch {
	case l.Rel != nil:
		return fmt.Sprintf("%s by %s.%s", name, l.Rel.Schema, l.Rel.Table)
	case l.Many():
		return name + " by " + l.By
	}
	return name
}

// byID is the By of a many2one.
const byID = "id"

// Ref is related rows that rules need for a change. For a many2one the ID is the row's own; for a one2many or many2many it is
// that of the record which the rows belong to. Refs can be compared.
type Ref struct {
	Link *Link
	ID   int64
}

// Related holds related rows that have been fetched beforehand. It is valid for one Match, Missing or Eval at least.
type Related interface {
	// Rows returns the rows of a Ref: of a many2one one row, or none if it is gone, which makes its fields NULL; of others all,
	// in the Link's order. fetched is false when they have not been looked up.
	Rows(l *Link, id int64) (rows []cdc.Row, fetched bool)
}

// linkKey is what makes a link the one that it is.
type linkKey struct {
	schema, table, by string
	rel               RelTable
	order             string
	archived          bool
}

// links are the links of a Set in the making.
type links struct {
	all   []*Link
	byKey map[linkKey]*Link
}

// add returns the link that want describes, a new one if need be.
func (s *links) add(want Link, to *catalog.Table) *Link {
	key := linkKey{schema: want.Schema, table: want.Table, by: want.By, order: strings.Join(want.Order, "\x00"), archived: want.Archived}
	if want.Rel != nil {
		key.rel = *want.Rel
	}
	l := s.byKey[key]
	if l == nil {
		l = &want
		l.Columns = slices.Sorted(slices.Values(to.PrimaryKey))
		if s.byKey == nil {
			s.byKey = make(map[linkKey]*Link)
		}
		s.byKey[key] = l
		s.all = append(s.all, l)
	}
	if want.Limit == 0 || l.Limit == 0 {
		l.Limit = 0
	} else {
		l.Limit = max(l.Limit, want.Limit)
	}
	return l
}

// read notes that a column of the link's rows is read.
func (l *Link) read(column string) {
	if at, found := slices.BinarySearch(l.Columns, column); !found {
		l.Columns = slices.Insert(l.Columns, at, column)
	}
}

// Links returns all links of the Set's rules.
func (s *Set) Links() []*Link { return s.links.all }
