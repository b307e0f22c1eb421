package cdc

import "fmt"

// NewGone makes the change of a record that is not in its table any more and whose deletion was not read: nothing is known of it but its key. It is an
// error when the key can be none of the table's.
func NewGone(rel *Relation, key string) (*Change, error) {
	parts := splitKey(key, len(rel.Key))
	if len(rel.Key) == 0 || len(parts) != len(rel.Key) {
		return nil, fmt.Errorf("%q is %w %s, which has %d parts", key, ErrBadKey, rel, len(rel.Key))
	}
	values := make([]Value, len(rel.Columns))
	for i := range values {
		values[i] = Value{State: Null, Type: rel.Columns[i].Type}
	}
	for n, i := range rel.Key {
		values[i] = Value{State: Present, Text: []byte(parts[n]), Type: rel.Columns[i].Type}
	}
	row, ok := NewRow(rel, ImageKey, AppendTuple(nil, values))
	if !ok {
		return nil, fmt.Errorf("encode the key %q of %s", key, rel)
	}
	return &Change{Op: Unlink, Rel: rel, Key: key, Before: row, Writes: 1, Origin: FromResync}, nil
}
