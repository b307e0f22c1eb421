package cdc

import "sync"

// BuiltinType returns the type with a fixed OID, array types included, or nil
// for types that a database defines itself (enums, domains, extensions' types …)
// and for pseudo-types, which no column has.
func BuiltinType(oid uint32) *Type { return builtinTypes().byOID[oid] }

// builtinNamed finds a built-in type by its name in pg_type, as TYPE messages of domains give it.
func builtinNamed(typname string) *Type { return builtinTypes().byName[typname] }

type builtinIndex struct {
	byOID  map[uint32]*Type
	byName map[string]*Type
}

var builtinTypes = sync.OnceValue(func() builtinIndex {
	index := builtinIndex{byOID: make(map[uint32]*Type, 2*len(builtins)), byName: make(map[string]*Type, 2*len(builtins))}
	for _, b := range builtins {
		elem := &Type{OID: b.oid, Name: b.name, Kind: b.kind}
		index.byOID[b.oid] = elem
		index.byName[b.typname] = elem
		if b.array == 0 {
			continue
		}
		delim := byte(',')
		if b.typname == "box" {
			delim = ';' // the only type whose values hold commas unquoted
		}
		array := &Type{OID: b.array, Name: b.name + "[]", Kind: KindArray, Elem: elem, Delim: delim}
		index.byOID[b.array] = array
		index.byName["_"+b.typname] = array // pg_type's names of array types of built-in types
	}
	return index
})

// builtins are the scalar types of pg_catalog that a column can have (PostgreSQL 12
// to 18); their OIDs never change.
var builtins = []struct {
	oid, array uint32
	typname    string // pg_type.typname
	name       string // for people, as format_type gives it
	kind       Kind
}{
	{16, 1000, "bool", "boolean", KindBool},
	{17, 1001, "bytea", "bytea", KindBytes},
	{18, 1002, "char", `"char"`, KindText},
	{19, 1003, "name", "name", KindText},
	{20, 1016, "int8", "bigint", KindInt},
	{21, 1005, "int2", "smallint", KindInt},
	{22, 1006, "int2vector", "int2vector", KindOther},
	{23, 1007, "int4", "integer", KindInt},
	{24, 1008, "regproc", "regproc", KindOther},
	{25, 1009, "text", "text", KindText},
	{26, 1028, "oid", "oid", KindInt},
	{27, 1010, "tid", "tid", KindOther},
	{28, 1011, "xid", "xid", KindOther},
	{29, 1012, "cid", "cid", KindOther},
	{30, 1013, "oidvector", "oidvector", KindOther},
	{114, 199, "json", "json", KindJSON},
	{142, 143, "xml", "xml", KindText},
	{194, 0, "pg_node_tree", "pg_node_tree", KindOther},
	{600, 1017, "point", "point", KindOther},
	{601, 1018, "lseg", "lseg", KindOther},
	{602, 1019, "path", "path", KindOther},
	{603, 1020, "box", "box", KindOther},
	{604, 1027, "polygon", "polygon", KindOther},
	{628, 629, "line", "line", KindOther},
	{650, 651, "cidr", "cidr", KindOther},
	{700, 1021, "float4", "real", KindFloat},
	{701, 1022, "float8", "double precision", KindFloat},
	{718, 719, "circle", "circle", KindOther},
	{774, 775, "macaddr8", "macaddr8", KindOther},
	{790, 791, "money", "money", KindOther},
	{829, 1040, "macaddr", "macaddr", KindOther},
	{869, 1041, "inet", "inet", KindOther},
	{1033, 1034, "aclitem", "aclitem", KindOther},
	{1042, 1014, "bpchar", "character", KindText},
	{1043, 1015, "varchar", "character varying", KindText},
	{1082, 1182, "date", "date", KindDate},
	{1083, 1183, "time", "time without time zone", KindOther},
	{1114, 1115, "timestamp", "timestamp without time zone", KindTimestamp},
	{1184, 1185, "timestamptz", "timestamp with time zone", KindTimestampTZ},
	{1186, 1187, "interval", "interval", KindInterval},
	{1266, 1270, "timetz", "time with time zone", KindOther},
	{1560, 1561, "bit", "bit", KindOther},
	{1562, 1563, "varbit", "bit varying", KindOther},
	{1700, 1231, "numeric", "numeric", KindNumeric},
	{1790, 2201, "refcursor", "refcursor", KindOther},
	{2202, 2207, "regprocedure", "regprocedure", KindOther},
	{2203, 2208, "regoper", "regoper", KindOther},
	{2204, 2209, "regoperator", "regoperator", KindOther},
	{2205, 2210, "regclass", "regclass", KindOther},
	{2206, 2211, "regtype", "regtype", KindOther},
	{2950, 2951, "uuid", "uuid", KindUUID},
	{2970, 2949, "txid_snapshot", "txid_snapshot", KindOther},
	{3220, 3221, "pg_lsn", "pg_lsn", KindOther},
	{3361, 0, "pg_ndistinct", "pg_ndistinct", KindOther},
	{3402, 0, "pg_dependencies", "pg_dependencies", KindOther},
	{3614, 3643, "tsvector", "tsvector", KindOther},
	{3615, 3645, "tsquery", "tsquery", KindOther},
	{3642, 3644, "gtsvector", "gtsvector", KindOther},
	{3734, 3735, "regconfig", "regconfig", KindOther},
	{3769, 3770, "regdictionary", "regdictionary", KindOther},
	{3802, 3807, "jsonb", "jsonb", KindJSON},
	{3904, 3905, "int4range", "int4range", KindOther},
	{3906, 3907, "numrange", "numrange", KindOther},
	{3908, 3909, "tsrange", "tsrange", KindOther},
	{3910, 3911, "tstzrange", "tstzrange", KindOther},
	{3912, 3913, "daterange", "daterange", KindOther},
	{3926, 3927, "int8range", "int8range", KindOther},
	{4072, 4073, "jsonpath", "jsonpath", KindOther},
	{4089, 4090, "regnamespace", "regnamespace", KindOther},
	{4096, 4097, "regrole", "regrole", KindOther},
	{4191, 4192, "regcollation", "regcollation", KindOther},
	{4451, 6150, "int4multirange", "int4multirange", KindOther},
	{4532, 6151, "nummultirange", "nummultirange", KindOther},
	{4533, 6152, "tsmultirange", "tsmultirange", KindOther},
	{4534, 6153, "tstzmultirange", "tstzmultirange", KindOther},
	{4535, 6155, "datemultirange", "datemultirange", KindOther},
	{4536, 6157, "int8multirange", "int8multirange", KindOther},
	{4600, 0, "pg_brin_bloom_summary", "pg_brin_bloom_summary", KindOther},
	{4601, 0, "pg_brin_minmax_multi_summary", "pg_brin_minmax_multi_summary", KindOther},
	{5017, 0, "pg_mcv_list", "pg_mcv_list", KindOther},
	{5038, 5039, "pg_snapshot", "pg_snapshot", KindOther},
	{5069, 271, "xid8", "xid8", KindOther},
}
