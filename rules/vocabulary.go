package rules

import (
	"maps"
	"slices"
)

// The names that an expression may use besides literals and its own variables.
const (
	nameBefore = "before"
	nameAfter  = "after"
	nameOp     = "op"
	nameModel  = "model"
	nameID     = "id"
	nameUser   = "user"
	nameTx     = "tx"

	funcChanged = "changed"
	funcBecame  = "became"
	funcEntered = "entered"
	funcLabel   = "label"
	funcRef     = "ref"

	// nameRecord is the row that a plain field name in a payload means: after, or of an
	// unlink before. No expression can spell it.
	nameRecord = "the record"
	nameEnv    = "$env" // expr's name for the environment
)

// members are the fields of the names that have a fixed set of them.
var members = map[string][]string{
	nameUser: {"id", "login", "name"},
	nameTx:   {"xid", "lsn", "time"},
}

// signatures of our own functions, for hints.
var signatures = map[string]string{
	funcChanged: `changed("field", …)`,
	funcBecame:  `became("field", value)`,
	funcEntered: `entered("field", [value, …])`,
	funcLabel:   `label("field")`,
	funcRef:     `ref("partner_id").name`,
	funcRolled:  `rolled("order_line")`,
	funcLines:   `lines("order_line").added`,

	"fixed":          `fixed(after.amount_total, 2)`,
	"padLeft":        `padLeft(after.id, 8, "0")`,
	"slug":           `slug(after.name)`,
	"plainText":      `plainText(after.note)`,
	"replaceMatches": `replaceMatches(after.phone, "[^0-9+]", "")`,
	"sha256":         `sha256(after.email)`,
	"default":        `default(after.ref, "none")`,
	"dateIn":         `dateIn(after.date_order, "Europe/Paris")`,
	"timeIn":         `timeIn(after.date_order, "Europe/Paris")`,
}

// refused are functions of expr that rules do without, with what to do instead.
var refused = map[string]string{
	"get":      `read members of a JSON field as after.name.en_US or after["name"]["en_US"]; what is missing is nil`,
	"toJSON":   "a payload entry that names a JSON field holds it as JSON",
	"type":     "the types of fields are known: see the table's columns",
	"lookup":   `write ref("partner_id").name`,
	"coalesce": "write a ?? b",
	"isnull":   "write a == nil",
	"uuid":     "every delivery has a stable id of its own",
	"random":   "expressions give the same result each time they are run",
	"rand":     "expressions give the same result each time they are run",
	"today":    "write date(now())",
}

// otherwords are functions of other languages, in small letters, with what there is here.
var otherwords = map[string]string{
	"sha1": signatures["sha256"], "md5": signatures["sha256"], "hash": signatures["sha256"], "striphtml": signatures["plainText"], "striptags": signatures["plainText"], "html2text": signatures["plainText"],
	"tofixed": signatures["fixed"], "format": signatures["fixed"], "lpad": signatures["padLeft"], "zfill": signatures["padLeft"], "padstart": signatures["padLeft"], "regexreplace": signatures["replaceMatches"],
	"replaceall": signatures["replaceMatches"], "slugify": signatures["slug"], "substring": "after.name[0:5]", "substr": "after.name[0:5]", "left": "after.name[0:5]", "length": "len(after.name)", "ifnull": "a ?? b", "nvl": "a ?? b",
}

// synonyms are words of other languages, with what they are called here.
var synonyms = map[string]string{
	"null": "nil", "NULL": "nil", "None": "nil", "none": "nil", "undefined": "nil",
	"True": "true", "TRUE": "true", "False": "false", "FALSE": "false",
	"old": "before", "OLD": "before", "new": "after", "NEW": "after", "record": "after", "row": "after",
	"operation": "op", "action": "op", "AND": "&&", "OR": "||", "NOT": "!", "xid": "tx.xid", "lsn": "tx.lsn", "uid": "user.id",
	"insert": `op == "create"`, "update": `op == "write"`, "delete": `op == "unlink"`,
}

// methods that may be called on dates and durations. All are pure and know no
// zone but the one they are given.
var methods = map[string]bool{
	"Year": true, "Month": true, "Day": true, "Hour": true, "Minute": true, "Second": true, "Weekday": true, "YearDay": true,
	"Unix": true, "UnixMilli": true, "Format": true, "In": true, "AddDate": true,
	"Hours": true, "Minutes": true, "Seconds": true, "Milliseconds": true,
}

// reserved says whether a name has a meaning that a variable must not hide.
func reserved(name string) bool {
	switch name {
	case nameBefore, nameAfter, nameOp, nameModel, nameID, nameUser, nameTx, nameCascade:
		return true
	}
	_, own := signatures[name]
	return own || builtinNames[name]
}

// names lists what can stand alone in an expression.
func names() []string {
	return []string{nameBefore, nameAfter, nameOp, nameModel, nameID, nameUser, nameTx, nameCascade, "nil", "true", "false"}
}

// functionNames lists what can be called.
func functionNames() []string {
	return append(slices.Collect(maps.Keys(signatures)), slices.Collect(maps.Keys(builtinNames))...)
}
