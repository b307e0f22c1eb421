package cdc

import (
	"encoding/json"
	"slices"
	"strings"
)

// record is what setup has changed in a source, and what was there before, for teardown to set it back. It is kept as
// the comment of the publication: the printed script writes it too, whoever runs it; it needs no rights but the
// publication's; copies and dumps of the database hold it; and it is written before what it tells of is done.
type record struct {
	Made     bool             `json:"made,omitempty"`     // setup has created the publication
	Earlier  string           `json:"earlier,omitempty"`  // the comment of a publication that setup has not created
	Added    []tableName      `json:"added,omitempty"`    // tables that setup has put into such a publication
	Identity []identityChange `json:"identity,omitempty"` // replica identities
	Select   []tableName      `json:"select,omitempty"`   // tables on which the streaming role was granted SELECT
	Usage    []string         `json:"usage,omitempty"`    // schemas on which it was granted USAGE
	Connect  bool             `json:"connect,omitempty"`  // it was granted CONNECT on the database
}

// identityChange is a table's replica identity before setup, as relreplident with the index where that is i, and as setup set it.
type identityChange struct {
	Table  tableName `json:"table"`
	Before string    `json:"before"`
	Index  string    `json:"index,omitempty"`
	Set    string    `json:"set"`
}

// recordPrefix begins the comment; people see it in \dRp+.
const recordPrefix = "Tables that walhook streams. `walhook teardown` reads what setup has changed from here: "

// record reads the comment. A publication without a record was made by somebody else.
func (p *Publication) record() record {
	if p == nil {
		return record{Made: true}
	}
	text, ours := strings.CutPrefix(p.Comment, recordPrefix)
	var r record
	if !ours || json.Unmarshal([]byte(text), &r) != nil {
		return record{Earlier: p.Comment}
	}
	return r
}

// comment writes the record.
func (r record) comment() string {
	text, err := json.Marshal(r)
	if err != nil {
		panic("cdc: a record of texts cannot be written: " + err.Error())
	}
	return recordPrefix + string(text)
}

// tables are all that the record names.
func (r record) tables() []tableName {
	all := append(slices.Clone(r.Added), r.Select...)
	for _, c := range r.Identity {
		all = append(all, c.Table)
	}
	return all
}

// identify notes a change of a table's identity. What was there before the first change counts, unless somebody
// has changed it in between.
func (r *record) identify(t *TableFacts, set string) {
	name := tableName{t.Schema, t.Name}
	change := identityChange{Table: name, Before: t.Identity, Index: t.IdentityIndex, Set: set}
	for i, c := range r.Identity {
		if c.Table == name {
			if c.Set == t.Identity {
				change.Before, change.Index = c.Before, c.Index
			}
			r.Identity[i] = change
			return
		}
	}
	r.Identity = append(r.Identity, change)
}

// note adds what is not there yet.
func note[T comparable](list []T, item T) []T {
	if slices.Contains(list, item) {
		return list
	}
	return append(list, item)
}

// MarshalJSON writes a pair of texts: names may hold any character.
func (n tableName) MarshalJSON() ([]byte, error) { return json.Marshal([2]string{n.schema, n.table}) }

// UnmarshalJSON reads the pair.
func (n *tableName) UnmarshalJSON(text []byte) error {
	var pair [2]string
	err := json.Unmarshal(text, &pair)
	n.schema, n.table = pair[0], pair[1]
	return err
}
