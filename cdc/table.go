package cdc

import (
	"bytes"
	"context"
	"fmt"
	"slices"
)

// table is what the decoder knows of a relation OID.
type table struct {
	oid      uint32
	rel      *Relation // nil when nobody wants the table
	net, raw bool
	message  []byte // the RELATION message that rel was made of
	group    *group
}

// relation takes a RELATION message. The server sends one before the first row of
// a table and after everything that may have changed it, also in the middle of a transaction
// (trap 11). If nothing has changed, the same *Relation goes on.
func (d *Decoder) relation(ctx context.Context, msg []byte) error {
	c := newCursor(msg)
	oid := c.uint32("relation OID")
	schema := c.string("schema")
	name := c.string("name")
	if c.failed != "" {
		return c.err()
	}
	if schema == "" {
		schema = "pg_catalog"
	}
	d.last = nil
	net, raw := d.want(schema, name)
	net = d.follow != nil && d.follow(oid, schema, name) || net
	if !net && !raw {
		d.tables[oid] = &table{oid: oid}
		return nil
	}
	identity := c.uint8("replica identity")
	if c.failed == "" && !bytes.Contains([]byte("dfin"), []byte{identity}) {
		c.pos--
		c.fail(fmt.Sprintf("no such replica identity: %q", rune(identity)))
	}
	n := int(c.uint16("column count"))
	cols := make([]Column, 0, min(n, len(msg)/10)) // a column takes 10 bytes at least
	var flagged []string                           // of the replica identity
	for i := 0; i < n && c.failed == ""; i++ {
		flags := c.uint8("column flags")
		col := Column{Name: c.string("column name")}
		typ := c.uint32("column type")
		c.uint32("type modifier")
		if c.failed != "" {
			break
		}
		if flags&1 != 0 {
			flagged = append(flagged, col.Name)
		}
		var err error
		if col.Type, err = d.typeOf(ctx, typ); err != nil {
			return fmt.Errorf("look up the type of column %s.%s.%s: %w", schema, name, col.Name, err)
		}
		cols = append(cols, col)
	}
	if err := c.err(); err != nil {
		return err
	}
	rel := NewRelation(oid, schema, name, identity, cols, nil)
	known := d.tables[oid]
	var live Description
	if d.schema != nil {
		var err error
		if live, err = d.schema.Describe(ctx, oid); err != nil {
			return fmt.Errorf("look up the primary key of %s: %w", rel, err)
		}
	}
	rel.number(&live)
	key := primaryKey(rel, live.Key, flagged, known)
	t := &table{oid: oid, net: net, raw: raw, message: bytes.Clone(msg), group: &group{oid: oid}}
	if known != nil && known.rel != nil && slices.Equal(known.rel.keyNames(), key) {
		t.group = known.group
		if bytes.Equal(known.message, msg) && sameTypes(known.rel, rel) {
			t.rel = known.rel
		}
	}
	if t.rel == nil {
		t.rel = NewRelation(oid, schema, name, identity, cols, key)
		t.rel.number(&live)
	}
	d.tables[oid] = t
	return nil
}

// sameTypes says whether two relations of one RELATION message agree in what was looked up.
func sameTypes(a, b *Relation) bool {
	return slices.EqualFunc(a.Columns, b.Columns, func(x, y Column) bool { return x.Type == y.Type && x.Number == y.Number })
}

// number notes which columns a relation has.
func (r *Relation) number(live *Description) {
	if live.Columns == nil {
		return
	}
	for i := range r.Columns {
		c := &r.Columns[i]
		n, there := live.Columns[c.Name]
		if !there {
			n.Number = ColumnGone
		}
		c.Number, c.Anew = n.Number, n.Anew
		r.anew = r.anew || n.Anew
	}
	r.seen = live.Seen
}

// Ahead says that the catalog may have been ahead of WAL at a position when it was asked which columns the relation has: of columns that are Anew it is
// not known then whether they are the ones that WAL has under these names.
func (r *Relation) Ahead(at LSN) bool { return r.anew && at <= r.seen }

// keyNames returns the primary key's columns, in the key's order.
func (r *Relation) keyNames() []string {
	var names []string
	for _, i := range r.Key {
		names = append(names, r.Columns[i].Name)
	}
	return names
}

// primaryKey finds out the primary key at the time of the WAL; live is that of the catalog. The flags in WAL are those of
// the replica identity: the key itself under DEFAULT, though not in its order; all
// columns under FULL (trap 7). The live catalog knows the order, but may have moved on.
func primaryKey(rel *Relation, live, flagged []string, known *table) []string {
	fits := func(key []string) bool {
		return !slices.ContainsFunc(key, func(name string) bool { return rel.Column(name) < 0 })
	}
	if rel.Identity == 'd' {
		if len(live) == len(flagged) && !slices.ContainsFunc(live, func(name string) bool { return !slices.Contains(flagged, name) }) {
			return live
		}
		return flagged
	}
	if len(live) > 0 && fits(live) {
		return live
	}
	if known != nil && known.rel != nil && fits(known.rel.keyNames()) {
		return known.rel.keyNames()
	}
	return nil
}

// typeOf describes a column's type.
func (d *Decoder) typeOf(ctx context.Context, oid uint32) (*Type, error) {
	if t := BuiltinType(oid); t != nil {
		return t, nil
	}
	if t := d.types[oid]; t != nil {
		return t, nil
	}
	var t *Type
	if d.schema != nil {
		var err error
		if t, err = d.schema.Type(ctx, oid); err != nil {
			return nil, err
		}
	}
	if t == nil {
		t = d.goneType(oid)
	}
	d.types[oid] = t
	return t, nil
}

// typeMessage takes a TYPE message, which precedes the RELATION that uses a type without a
// fixed OID. It holds the name of the type, of a domain that of its base type, and so serves
// where the live catalog no longer knows the type.
func (d *Decoder) typeMessage(msg []byte) error {
	c := newCursor(msg)
	oid := c.uint32("type OID")
	schema := c.string("schema")
	name := c.string("name")
	if err := c.err(); err != nil {
		return err
	}
	d.named[oid] = typeName{schema: schema, name: name}
	return nil
}

// typeName is what a TYPE message says; schema is empty for pg_catalog.
type typeName struct{ schema, name string }

// goneType describes a type that the live catalog does not know.
func (d *Decoder) goneType(oid uint32) *Type {
	n, ok := d.named[oid]
	switch {
	case !ok:
		return &Type{OID: oid, Name: fmt.Sprintf("type %d", oid)}
	case n.schema == "":
		if base := builtinNamed(n.name); base != nil {
			return base
		}
		return &Type{OID: oid, Name: n.name}
	}
	return &Type{OID: oid, Name: n.schema + "." + n.name}
}
