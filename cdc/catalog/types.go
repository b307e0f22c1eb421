package catalog

import (
	"fmt"
	"strings"

	"walhook/cdc"
)

// selectTypes reads types by their oids, with the base types of domains
// and the element types of arrays, to any depth. A type is an array only if array_in reads
// it: int2vector and oidvector have elements, too, and a text form of their own.
const selectTypes = `
WITH RECURSIVE used (oid) AS (
    SELECT pg_catalog.unnest('{%s}'::pg_catalog.oid[])
     UNION
    SELECT inner_type.oid
      FROM used
      JOIN pg_catalog.pg_type t ON t.oid = used.oid
     CROSS JOIN LATERAL (VALUES (t.typbasetype), (t.typelem)) AS inner_type (oid)
     WHERE inner_type.oid <> 0
)
SELECT t.oid, t.typtype, t.typname, pg_catalog.format_type(t.oid, NULL), t.typbasetype,
       CASE WHEN t.typinput = 'pg_catalog.array_in'::pg_catalog.regproc THEN t.typelem ELSE 0 END, t.typdelim
  FROM used
  JOIN pg_catalog.pg_type t ON t.oid = used.oid`

// typeRow is what pg_type says of a type.
type typeRow struct {
	typtype, typname string
	name             string // for people
	base             uint32 // of a domain
	elem             uint32 // of an array
	delim            byte
	resolved         *cdc.Type
}

type typeRows map[uint32]*typeRow

// queue asks for types, if there are any to ask for.
func (t typeRows) queue(q *queries, oids []uint32) {
	if len(oids) > 0 {
		q.queue("types", fmt.Sprintf(selectTypes, strings.Trim(strings.Join(strings.Fields(fmt.Sprint(oids)), ","), "[]")), t.scan)
	}
}

func (t typeRows) scan(row *record) error {
	oid := row.oid()
	t[oid] = &typeRow{typtype: row.text(), typname: row.text(), name: row.text(), base: row.oid(), elem: row.oid(), delim: row.char()}
	return nil
}

// resolve turns a type into what WAL's values of it mean. All columns of one
// type share one *cdc.Type.
func (t typeRows) resolve(oid uint32) (*cdc.Type, error) {
	if builtin := cdc.BuiltinType(oid); builtin != nil {
		return builtin, nil
	}
	r := t[oid]
	if r == nil {
		return nil, fmt.Errorf("pg_type has no type with oid %d", oid)
	}
	if r.resolved != nil {
		return r.resolved, nil
	}
	typ := &cdc.Type{OID: oid, Name: r.name, Kind: cdc.KindOther}
	switch {
	case r.typtype == "d":
		base, err := t.resolve(r.base)
		if err != nil {
			return nil, fmt.Errorf("domain %s: %w", r.name, err)
		}
		*typ = *base
		typ.Name = r.name
	case r.elem != 0:
		elem, err := t.resolve(r.elem)
		if err != nil {
			return nil, fmt.Errorf("array %s: %w", r.name, err)
		}
		typ.Kind, typ.Elem, typ.Delim = cdc.KindArray, elem, r.delim
	case r.typtype == "e", r.typname == "citext":
		typ.Kind = cdc.KindText
	}
	r.resolved = typ
	return typ, nil
}
