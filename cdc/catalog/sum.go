package catalog

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"maps"
	"slices"
	"strings"

	"walhook/cdc"
)

// Sum is a digest of what the catalog says of tables, of the models that are stored in them, and of languages, companies and
// defaults. Two catalogs with the same sum mean the same to whoever looks at these tables only: thousands of
// rows of ir_model_fields may change, when a module is installed, without anything to do for rules.
func (c *Catalog) Sum(tables []*Table) [sha256.Size]byte {
	d := digest{to: sha256.New()}
	if c.Odoo != nil {
		d.odoo(c.Odoo)
	}
	tables = slices.Clone(tables)
	slices.SortFunc(tables, func(a, b *Table) int { return strings.Compare(a.String(), b.String()) })
	for _, t := range slices.Compact(tables) {
		d.table(t)
		if m := c.byTable[t]; m != nil {
			d.model(m)
		}
	}
	return d.sum()
}

// digest takes values one after the other, each with its length or of a fixed size, and lists with theirs: what differs is written differently.
type digest struct {
	to  hash.Hash
	buf []byte
}

func (d *digest) texts(list ...string) {
	for _, s := range list {
		d.number(uint64(len(s)))
		d.buf = append(d.buf, s...)
	}
}

// list is texts for lists of any length.
func (d *digest) list(list []string) {
	d.number(uint64(len(list)))
	d.texts(list...)
}

func (d *digest) number(n uint64) {
	if len(d.buf) > 4<<10 {
		d.flush()
	}
	d.buf = binary.AppendUvarint(d.buf, n)
}

func (d *digest) flags(list ...bool) {
	for _, b := range list {
		if b {
			d.number(1)
		} else {
			d.number(0)
		}
	}
}

func (d *digest) flush() {
	_, _ = d.to.Write(d.buf) // a digest cannot fail to be written
	d.buf = d.buf[:0]
}

func (d *digest) sum() (sum [sha256.Size]byte) {
	d.flush()
	return [sha256.Size]byte(d.to.Sum(sum[:0]))
}

func (d *digest) odoo(o *Odoo) {
	d.texts(o.Schema)
	d.number(uint64(len(o.Languages)))
	for _, l := range o.Languages {
		d.texts(l.Code, l.Name)
		d.flags(l.Active)
	}
	d.number(uint64(len(o.Companies)))
	for _, c := range o.Companies {
		d.number(uint64(c.ID))
		d.texts(c.Name)
		d.number(uint64(c.Currency))
	}
	d.number(uint64(len(o.Defaults)))
	for _, v := range o.Defaults {
		d.texts(v.Model, v.Field, v.JSON)
		d.number(uint64(v.Company))
	}
	d.list(o.Unread)
}

func (d *digest) table(t *Table) {
	d.number(uint64(t.OID))
	d.texts(t.Schema, t.Name)
	d.list(t.PrimaryKey)
	d.flags(t.Partitioned, t.Unlogged, t.Inherited)
	d.number(uint64(len(t.Columns)))
	for i := range t.Columns {
		c := &t.Columns[i]
		d.texts(c.Name, c.Type.Name)
		d.number(uint64(c.Type.OID))
		d.flags(c.NotNull, c.Generated)
		d.number(uint64(c.content))
	}
	d.number(uint64(len(t.ForeignKeys)))
	for _, k := range t.ForeignKeys {
		d.list(k.Columns)
		d.texts(k.References.Schema, k.References.Name)
		d.number(uint64(k.OnDelete))
	}
}

func (d *digest) model(m *Model) {
	d.texts(m.Name, m.Label, m.Display)
	d.flags(m.Transient)
	d.number(uint64(len(m.Inherits)))
	for _, i := range m.Inherits {
		d.texts(i.Model, i.Field)
	}
	d.number(uint64(len(m.Fields)))
	for _, f := range m.Fields {
		d.texts(f.Name, f.Label, f.Type, f.Relation, f.RelationField, f.RelationTable, f.Column1, f.Column2, f.Related)
		d.flags(f.Stored, f.Column != nil, f.Translated, f.CompanyDependent)
		d.number(uint64(len(f.Selection)))
		for _, o := range f.Selection {
			d.texts(o.Value, o.Label)
			d.number(uint64(len(o.Labels)))
			for _, lang := range slices.Sorted(maps.Keys(o.Labels)) {
				d.texts(lang, o.Labels[lang])
			}
		}
	}
}

// Differs says that a table in WAL is not the one that the catalog knows: a column was added, dropped, renamed or given another
// type. Columns that the database computes do not count.
func (t *Table) Differs(rel *cdc.Relation) bool {
	for i := range rel.Columns {
		if t.columns[rel.Columns[i].Name] == nil {
			return true
		}
	}
	return t.Lost(rel)
}

// Lost says that a table in WAL has no longer all columns that the catalog knows, or not of the same types.
func (t *Table) Lost(rel *cdc.Relation) bool {
	for i := range t.Columns {
		c := &t.Columns[i]
		if c.Generated {
			continue
		}
		at := rel.Column(c.Name)
		if at < 0 || rel.Columns[at].Type == nil || rel.Columns[at].Type.OID != c.Type.OID {
			return true
		}
	}
	return false
}
