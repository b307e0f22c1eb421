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

	// Describe says of a table what WAL does not; nothing, without an error, when the table is gone.
	Describe(ctx context.Context, relOID uint32) (Description, error)
}

// Description is what the catalog says of a table.
type Description struct {
	Key     []string                // the primary key, in its order; none when there is none
	Columns map[string]ColumnNumber // by name; nil when they were not looked up
	Seen    LSN                     // where WAL ended when it was looked at: what is said holds from there on, until the server describes the table again
}

// ColumnNumber tells a column from another one that had its name before.
type ColumnNumber struct {
	Number int16 // pg_attribute.attnum: no two columns that a table ever had have the same
	Anew   bool  // a column with a smaller number was dropped so lately that WAL which is still to come may be from before that
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
