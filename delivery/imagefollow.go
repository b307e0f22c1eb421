package delivery

import (
	"sync"

	"walhook/cdc"
)

// A table with images may be renamed. What is written to it under another name is written to the same rows, and once it has its name again their images
// must tell of it. So it is followed by its OID: from the first change under the name on, and from the start on if there are images.

// followed are the tables with images, for the decoder: by name, and by the OIDs that these have had.
type followed struct {
	mu    sync.Mutex
	names map[[2]string]bool // schema, table
	oids  map[uint32]bool
}

func newFollowed(tables []*imagedTable) *followed {
	f := &followed{names: map[[2]string]bool{}, oids: map[uint32]bool{}}
	for _, t := range tables {
		f.names[[2]string{t.Schema, t.Name}] = true
		if oid := t.oid(); oid != 0 {
			f.oids[oid] = true
		}
	}
	return f
}

// Follow says whether the net changes of a table are wanted for images, see [cdc.SourceConfig]. It may be called beside everything else.
func (k *Images) Follow(oid uint32, schema, table string) bool {
	f := k.followed
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.names[[2]string{schema, table}] {
		f.oids[oid] = true
		return true
	}
	return f.oids[oid]
}

// oid is of the table that the latest images are of; 0 when that is not known.
func (t *imagedTable) oid() uint32 {
	if n := len(t.shapes); n > 0 && t.shapes[n-1] != nil {
		return t.shapes[n-1].Table()
	}
	return 0
}

// renamed finds the table with images that a relation is of, under another name; nil for none.
func (k *Images) renamed(rel *cdc.Relation) *imagedTable {
	for _, t := range k.tables {
		if rel.OID != 0 && t.oid() == rel.OID {
			return t
		}
	}
	return nil
}

// holds keeps the columns that the latest images hold: what others are called, and whether they are secret, is known of the table's own name.
func (t *imagedTable) holds(rel *cdc.Relation, column string) bool {
	return t.shapes[len(t.shapes)-1].Holds(rel, column)
}
