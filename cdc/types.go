package cdc

import "context"

// Schema is what the decoder must look up in the live catalogs, because WAL does
// not say it. Both methods describe the database as it is now, which
// can be later than the WAL at hand; the decoder copes with that (see [NewDecoder]).
type Schema interface {
	// Type describes a type without a fixed OID: a domain is resolved to its base type but keeps its
	// name, an enum is KindText, an array has its element type. It
	// returns nil without an error when there is no such type any more.
	Type(ctx context.Context, oid uint32) (*Type, error)

	// PrimaryKey returns the primary key columns of a table in the key's order,
	// from pg_index. It returns none without an error when the table has no primary key or is gone.
	PrimaryKey(ctx context.Context, relOID uint32) ([]string, error)
}

var kindNames = [...]string{
	KindOther: "other", KindBool: "bool", KindInt: "int", KindFloat: "float", KindNumeric: "numeric",
	KindText: "text", KindDate: "date", KindTimestamp: "timestamp", KindTimestampTZ: "timestamptz",
	KindInterval: "interval", KindJSON: "json", KindBytes: "bytes", KindUUID: "uuid", KindArray: "array",
}

// String returns a short lower-case name: "int", "timestamptz" …
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "invalid"
}

// kindNamed is the inverse of Kind.String.
func kindNamed(name string) (Kind, bool) {
	for k, n := range kindNames {
		if n == name {
			return Kind(k), true
		}
	}
	return 0, false
}
