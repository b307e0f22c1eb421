package delivery

import "walhook/cdc"

// imagedForm is a relation, and whether the catalog was ahead of WAL when its columns were looked up: then the form leaves some out.
type imagedForm struct {
	rel   *cdc.Relation
	ahead bool
}

// replaced says that a relation is of another table than images were made of so far: one that was made in place of it, by the same name.
func (t *imagedTable) replaced(rel *cdc.Relation) bool {
	n := len(t.shapes)
	return n > 0 && t.shapes[n-1] != nil && !t.shapes[n-1].SameTable(rel.OID)
}

// shape returns the number of a relation's shape, which is the last one: a table that has become what it was once has other columns than it had then.
// A new one is stored with the next batch.
//
// Where the catalog was ahead of WAL it leaves columns out that may be others by now: a value of one that was dropped since must never be taken for one of
// the column that has its name now. Once the stream has come as far as the catalog was, the table is filled again.
func (k *Images) shape(t *imagedTable, rel *cdc.Relation) (int32, error) {
	form := imagedForm{rel, rel.Ahead(k.at)}
	if n, ok := t.numbers[form]; ok && int(n) == len(t.shapes)-1 {
		return n, nil
	}
	if len(t.numbers) >= maxImagedRelations {
		clear(t.numbers)
	}
	keep, left := k.keep, false
	switch {
	case rel.Schema != t.Schema || rel.Name != t.Name:
		keep = t.holds
	case form.ahead:
		keep = k.certain(t, &left)
	}
	shape, err := cdc.NewImageShape(rel, keep)
	if err != nil {
		return 0, err
	}
	t.lacking = t.lacking || left
	if n := len(t.shapes); n > 0 {
		last := t.shapes[n-1]
		extends := last == nil || shape.Extends(last)
		if !extends && !last.Extends(shape) {
			t.numbers[form] = int32(n - 1)
			return int32(n - 1), nil
		}
		t.lacking = t.lacking || extends // columns came, or have other types: those of rows that have not been written since are not known
	}
	t.shapes, t.Shapes = cdc.FollowImageShape(t.shapes, shape), append(t.Shapes, shape.Encode())
	t.numbers[form] = int32(len(t.shapes) - 1)
	return t.numbers[form], nil
}

// certain keeps the columns of a relation that are what the catalog says although it may be ahead: those that are not new, and those that images had already.
func (k *Images) certain(t *imagedTable, left *bool) func(rel *cdc.Relation, column string) bool {
	var last *cdc.ImageShape
	if n := len(t.shapes); n > 0 {
		last = t.shapes[n-1]
	}
	return func(rel *cdc.Relation, column string) bool {
		if k.keep != nil && !k.keep(rel, column) {
			return false
		}
		certain := !rel.Columns[rel.Column(column)].Anew || last != nil && last.Holds(rel, column)
		*left = *left || !certain
		return certain
	}
}

// walked is the shape of rows that a walk through the table has read. It brings columns, but takes none away: that is for the stream to say. Those that
// it brings with its first rows it brings for all: the table need not be filled again for them.
func (k *Images) walked(t *imagedTable, rel *cdc.Relation, first bool) (int32, error) {
	if lacking := t.lacking; first {
		defer func() { t.lacking = lacking }()
	}
	if n := len(t.shapes); n > 0 && t.shapes[n-1] != nil {
		shape, err := cdc.NewImageShape(rel, k.keep)
		if err != nil {
			return 0, err
		}
		if !shape.Extends(t.shapes[n-1]) {
			return int32(n - 1), nil
		}
	}
	return k.shape(t, rel)
}
