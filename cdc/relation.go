package cdc

// Kind is the class of values a column holds; it decides the Go type that
// [Value.Any] returns.
type Kind uint8

// The kinds, with the Go type of their values.
const (
	KindOther       Kind = iota // string: PostgreSQL's text form (time, timetz, money, ranges, geometry, inet …)
	KindBool                    // bool
	KindInt                     // int64: int2, int4, int8, oid
	KindFloat                   // float64, NaN and ±Inf included: float4, float8
	KindNumeric                 // Numeric: exact digits, "NaN", "Infinity", "-Infinity"
	KindText                    // string: text, varchar, char, name, xml, enums, citext
	KindDate                    // time.Time at midnight UTC; string for ±infinity and years outside 1–9999
	KindTimestamp               // time.Time, naive UTC as Odoo writes it; string for ±infinity and years outside 1–9999
	KindTimestampTZ             // time.Time in UTC; string as above
	KindInterval                // string, PostgreSQL's IntervalStyle postgres
	KindJSON                    // json.RawMessage: json, jsonb
	KindBytes                   // []byte
	KindUUID                    // string
	KindArray                   // []any of the element's Go type, nil for NULL elements, nested for more dimensions
)

// Type is a column's type. Domains are resolved to their base type, enums
// are KindText.
type Type struct {
	OID   uint32 // of the base type
	Name  string // for people: "integer", "numeric", "public.mood"; a domain keeps its own name
	Kind  Kind
	Elem  *Type // of KindArray
	Delim byte  // of KindArray: the element delimiter, ',' but for box
}

// Column is a column of a table as WAL carries it.
type Column struct {
	Name   string
	Type   *Type
	Key    bool  // part of the primary key
	Number int16 // see [ColumnNumber]; 0 when it was not looked up, ColumnGone when there is no such column any more
	Anew   bool  // see [ColumnNumber]
}

// ColumnGone is the number of a column that the catalog knows no more.
const ColumnGone = -1

// Relation is a table as one RELATION message described it, with the primary
// key from pg_index (trap 7: under FULL every column is flagged as key).
// It is immutable: a changed table gives a new Relation, so that
// a *Relation may serve as a cache key for what was worked out per table shape.
type Relation struct {
	OID      uint32
	Schema   string
	Name     string
	Identity byte // replica identity: 'd' default, 'f' full, 'i' index, 'n' nothing
	Columns  []Column
	Key      []int // indexes into Columns of the primary key, in the key's order; empty when the table has none

	index map[string]int
	seen  LSN  // see [Description]
	anew  bool // some column is
}

// NewRelation builds a relation and its name index. Key columns are taken from
// key, by name; names that are no columns are ignored.
func NewRelation(oid uint32, schema, name string, identity byte, cols []Column, key []string) *Relation {
	r := &Relation{OID: oid, Schema: schema, Name: name, Identity: identity, Columns: cols, index: make(map[string]int, len(cols))}
	for i, c := range cols {
		r.index[c.Name] = i
	}
	for _, k := range key {
		if i, ok := r.index[k]; ok {
			r.Key = append(r.Key, i)
			r.Columns[i].Key = true
		}
	}
	return r
}

// Column returns the index of a column by name, or -1.
func (r *Relation) Column(name string) int {
	if i, ok := r.index[name]; ok {
		return i
	}
	return -1
}

// String returns schema.name.
func (r *Relation) String() string { return r.Schema + "." + r.Name }
