package catalog

import (
	"fmt"

	"github.com/jackc/pgx/v5"

	"walhook/cdc"
)

// selectTypes reads the types that columns use, with the base types of domains
// and the element types of arrays, to any depth. A type is an array only if array_in reads
// it: int2vector and oidvector have elements, too, and a text form of their own.
const selectTypes = `
WITH RECURSIVE used (oid) AS (
    SELECT DISTINCT a.atttypid
      FROM pg_catalog.pg_attribute a
     WHERE a.attnum > 0 AND NOT a.attisdropped
       AND a.attrelid IN (SELECT c.oid FROM ` + classes + ` WHERE ` + watchable + `)
     UNION
    SELECT inner_type.oid
      FROM used
      JOIN pg_catalog.pg_type t ON t.oid = used.oid
     CROSS JOIN LATERAL (VALUES (t.typbasetype), (t.typelem)) AS inner_type (oid)
     WHERE inner_type.oid <> 0
)
SELECT t.oid, t.typtype::text, t.typname::text, pg_catalog.format_type(t.oid, NULL), t.typbasetype,
       CASE WHEN t.typinput = 'pg_catalog.array_in'::pg_catalog.regproc THEN t.typelem ELSE 0 END, t.typdelim::text
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

func (t typeRows) scan(rows pgx.Rows) error {
	var oid uint32
	var delim string
	r := &typeRow{}
	if err := rows.Scan(&oid, &r.typtype, &r.typname, &r.name, &r.base, &r.elem, &delim); err != nil {
		return err
	}
	r.delim = delim[0]
	t[oid] = r
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
