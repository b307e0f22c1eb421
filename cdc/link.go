package cdc

import (
	"fmt"
	"strings"
)

// Link is a way from a record to related rows, and what is read of them: from the id in a many2one column to
// the row that it names, or from a record's own id to the rows of a one2many or many2many field. It is immutable, and
// known by its pointer: what was worked out for it is kept under that.
type Link struct {
	Schema, Table string
	By            string        // the column that holds the id: "id" of a many2one, the inverse column of a one2many, "" of a many2many
	Rel           *LinkRelation // of a many2many
	Columns       []string      // what is read of the rows; those that the table has not got are left out
	Order         []string      // of the rows for one id: "sequence", "date desc"; the id decides where these are equal
	Archived      bool          // rows count whose "active", if there is such a column, is not true; of a many2one all do
	Limit         int           // how many rows are read for one id; 0 means all
}

// LinkRelation is the table of a many2many.
type LinkRelation struct{ Schema, Table, From, To string }

// byID is the By of a link that leads to one row.
const byID = "id"

// many says that the link leads to any number of rows.
func (l *Link) many() bool { return l.By != byID }

// String names the link for messages.
func (l *Link) String() string {
	name := tableName{l.Schema, l.Table}.String()
	switch {
	case l.Rel != nil:
		return fmt.Sprintf("%s by %s", name, tableName{l.Rel.Schema, l.Rel.Table})
	case l.many():
		return name + " by " + l.By
	}
	return name
}

// reads lists the columns of the link's table that a look-up reads, for grants: the least that is needed.
func (l *Link) reads(shape *liveTable) []string {
	list := []string{byID}
	add := func(column string) {
		if _, ok := shape.columns[column]; !ok {
			return
		}
		for _, have := range list {
			if have == column {
				return
			}
		}
		list = append(list, column)
	}
	for _, c := range l.Columns {
		add(c)
	}
	if l.many() {
		add(l.By)
		for _, o := range l.Order {
			column, _, _ := strings.Cut(o, " ")
			add(column)
		}
		if !l.Archived {
			add(activeColumn)
		}
	}
	return list
}

// Linked is what a look-up has found for one id.
type Linked struct {
	Rows []Row // in the link's order

	// For what is kept in memory: the ids of the rows, of those too that do not count or do not exist as long as that is all that
	// keeps them out; and whether more rows than were read may belong to them.
	members []int64
	partial bool
}

// Size is roughly how many bytes of memory the row takes.
func (r Row) Size() int { return len(r.tuple) + 4*len(r.at) + 64 }

// TooManyRowsError says that the related rows of a single record take more memory than a look-up may.
type TooManyRowsError struct {
	Link *Link
	ID   int64
	Max  int64 // bytes
}

func (e *TooManyRowsError) Error() string {
	return fmt.Sprintf("the rows of %s for id %d take more than %s", e.Link, e.ID, bytesText(e.Max))
}

// Hint returns the remedy.
func (e *TooManyRowsError) Hint() string {
	return "ask for fewer of them (limit = …), or for fewer and shorter fields"
}
