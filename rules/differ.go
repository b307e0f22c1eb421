package rules

import (
	"walhook/cdc"
	"walhook/cdc/catalog"
)

// watchedField is a column that changed() looks at.
type watchedField struct {
	slot    int
	content catalog.Content
}

// differ says whether a column changed between two versions of a row. Numbers are compared by
// value (10.0 became 10.00: no change to anyone), and in an Odoo boolean NULL is false. Unchanged TOAST
// that WAL left out has not changed; known is false when the old value is not there to compare with.
func differ(before, after cdc.Value, content catalog.Content) (changed, known bool) {
	switch {
	case before.State == cdc.Present && after.State == cdc.Present && string(before.Text) == string(after.Text):
		return false, true // nearly always
	case after.State == cdc.Unknown:
		return false, true
	case before.State == cdc.Unknown:
		return false, false
	case content == catalog.ContentBoolean:
		return isTrue(before) != isTrue(after), true
	case before.State != after.State:
		return true, true
	case after.State == cdc.Null:
		return false, true
	case isNumber(before) && isNumber(after):
		return cdc.Numeric(before.Text).Cmp(cdc.Numeric(after.Text)) != 0, true
	}
	return true, true
}

func isTrue(v cdc.Value) bool { return v.State == cdc.Present && string(v.Text) == "t" }

func isNumber(v cdc.Value) bool {
	return v.Type != nil && (v.Type.Kind == cdc.KindNumeric || v.Type.Kind == cdc.KindFloat)
}

// changed is changed("a", "b"): some of the fields differ. A row that was not there has NULL in all of them.
func (f *frame) changed(fields []watchedField) bool {
	for i := range fields {
		slot := fields[i].slot
		after := f.read(&f.after, slot)
		if after.State == cdc.Unknown && f.after.row.Image != cdc.ImageNone && f.after.slots[slot].column < 0 {
			panic(f.unreadable(&f.after, slot))
		}
		changed, known := differ(f.read(&f.before, slot), after, fields[i].content)
		if !known {
			panic(f.unreadable(&f.before, slot))
		}
		if changed {
			return true
		}
	}
	return false
}

// entered says that a column passes a test now and did not before. A create counts
// when it passes; an unlink never does.
func (f *frame) entered(slot int, test func(any) bool) bool {
	if f.change.Op == cdc.Unlink || !test(f.value(&f.after, slot)) {
		return false
	}
	return f.change.Op == cdc.Create || !test(f.value(&f.before, slot))
}

// user is user.id: who wrote the row last, in a create who created it if nobody has
// written since. Who deleted a row is not known.
func (f *frame) user(write, create int) any {
	if f.change.Op == cdc.Unlink {
		return nil
	}
	for _, slot := range [...]int{write, create} {
		if slot < 0 || f.after.slots == nil || f.after.slots[slot].column < 0 {
			continue
		}
		if v := f.after.read(slot); v.State == cdc.Present {
			return f.after.cells[slot].hold(v, f.after.stamp)
		}
		if f.change.Op != cdc.Create {
			return nil
		}
	}
	return nil
}

// written says whether a net write changed anything that counts: columns besides those
// that Odoo touches with every write. It is worked out once per change; columns that single rules ignore are
// looked at per rule. known is false when WAL does not hold the old row.
func (f *frame) written(r *Rule) (changed, known bool) {
	if f.change.Before.Image != cdc.ImageFull {
		return false, false
	}
	if !f.compared {
		f.compareRows()
	}
	for _, i := range f.differing {
		if !r.ignores(f.change.Rel.Columns[i].Name) {
			return true, true
		}
	}
	return false, true
}

// compareRows fills f.differing.
func (f *frame) compareRows() {
	f.compared, f.differing = true, f.differing[:0]
	rel, before, after := f.change.Rel, f.change.Before, f.change.After
	for i, counts := range f.bound.counts {
		if !counts {
			continue
		}
		if changed, known := differ(valueOf(before, rel, i), valueOf(after, rel, i), f.bound.contents[i]); changed || !known {
			f.differing = append(f.differing, i)
		}
	}
}

// valueOf returns what a row holds of column i of rel, which may be another shape of the row's table.
func valueOf(row cdc.Row, rel *cdc.Relation, i int) cdc.Value {
	if of := row.Relation(); of != nil && of != rel {
		i = of.Column(rel.Columns[i].Name)
	}
	return row.Value(i)
}

// counts says whether a column's change makes a write, if no rule ignores it. Odoo touches some
// columns with every write, and secrets change on their own while no payload may show that they did.
func counts(column string, content catalog.Content, odoo bool) bool {
	switch column {
	case "write_date", "write_uid":
		return false
	case "message_main_attachment_id": // follows from the attachments
		return !odoo
	}
	return content != catalog.ContentSecret
}
