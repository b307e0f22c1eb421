package delivery

import (
	"iter"

	"walhook/cdc"
	"walhook/rules"
)

// maxDeleted bounds the deleted rows of one transaction that are remembered (invariant 9); beyond, deletions are not told to follow from others.
const maxDeleted = 1 << 20

// cascades tells which rows were deleted since another one was, by a foreign key ON DELETE CASCADE: both deletions are in one transaction.
type cascades struct{ set *rules.Set }

// newCascades returns nil when no rule is on unlink of a table with such a key.
func newCascades(set *rules.Set) *cascades {
	if !set.Cascades() {
		return nil
	}
	return &cascades{set: set}
}

// mark yields a transaction's changes, with the cause of those that have one.
func (k *cascades) mark(changes iter.Seq2[*cdc.Change, error]) iter.Seq2[*cdc.Change, error] {
	if k == nil {
		return changes
	}
	return func(yield func(*cdc.Change, error) bool) {
		deleted, err := k.deleted(changes)
		if err != nil {
			yield(nil, err)
			return
		}
		for c, err := range changes {
			// One that says so already keeps it: it comes from the store, without the rest of its transaction.
			if err == nil && c.Op == cdc.Unlink && c.Cascade == nil && len(deleted) > 0 {
				c.Cascade = k.set.CascadeOf(c, func(schema, table, key string) bool { return deleted[deletedRow(schema, table, key)] })
			}
			if !yield(c, err) || err != nil {
				return
			}
		}
	}
}

// deleted finds the rows that are gone and that others may have gone with; nothing when no row is one of the latter.
func (k *cascades) deleted(changes iter.Seq2[*cdc.Change, error]) (map[uint64]bool, error) {
	var found map[uint64]bool
	follows := false
	for c, err := range changes {
		if err != nil {
			return nil, err
		}
		if c.Op != cdc.Unlink || c.Rel == nil {
			continue
		}
		follows = follows || k.set.Follows(c.Rel.Schema, c.Rel.Name)
		if k.set.Leads(c.Rel.Schema, c.Rel.Name) && len(found) < maxDeleted {
			if found == nil {
				found = map[uint64]bool{}
			}
			found[deletedRow(c.Rel.Schema, c.Rel.Name, c.Key)] = true
		}
	}
	if !follows {
		return nil, nil
	}
	return found, nil
}

func deletedRow(schema, table, key string) uint64 {
	return hashKey(schema + "\x00" + table + "\x00" + key)
}
