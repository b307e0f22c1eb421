package cdc

import (
	"fmt"
	"slices"
	"strings"
)

// TeardownSteps returns what undoes setup on the source, in order, and for people what is left and why. It undoes what setup
// has recorded in the publication's comment, and only where nobody has changed it since. It is pure.
func TeardownSteps(f *Facts, role string) (steps []Step, left []string) {
	b := &stepBuilder{f: f, record: f.Publication.record()}
	t := &teardown{stepBuilder: b}
	t.slot()
	if f.Publication == nil {
		t.leave("there is no publication %q, in which setup records what it changes. Tables that keep the values before a change in WAL: SELECT oid::regclass FROM pg_class WHERE relreplident = 'f'", f.PublicationName)
	} else {
		t.unpublish()
		t.identities()
		t.grants(role)
		t.publication()
	}
	if f.Role.Exists {
		t.leave("role %q, which setup has not made", role)
	}
	return b.steps, t.left
}

// Owners returns whose rights the steps need that the login which has inspected does not have, sorted.
func Owners(steps []Step) []string {
	var owners []string
	for _, s := range steps {
		owners = append(owners, s.foreign...)
	}
	slices.Sort(owners)
	return slices.Compact(owners)
}

// teardown builds the steps, and what is left.
type teardown struct {
	*stepBuilder
	left []string
}

func (t *teardown) leave(format string, args ...any) {
	t.left = append(t.left, fmt.Sprintf(format, args...))
}

func (t *teardown) slot() {
	switch s := t.f.Slot; {
	case s == nil:
	case s.Plugin == "pgoutput" && s.Database == t.f.Database:
		t.steps = append(t.steps, Step{As: AsReplication, SQL: "SELECT pg_drop_replication_slot(" + quoteText(s.Name) + ")",
			Why: "the server keeps WAL no longer: " + bytesText(t.f.Retained()) + " now"})
	default:
		t.leave("slot %q, which belongs to database %q", s.Name, s.Database)
	}
}

// unpublish takes out of the publication what setup has put in. It comes before the identities: a table that had none before
// must not be published with none, or every UPDATE of it would fail (trap 8).
func (t *teardown) unpublish() {
	var list []string
	var facts []*TableFacts
	for _, m := range t.f.Publication.Tables {
		if t.record.Made || slices.Contains(t.record.Added, m.name()) {
			list, facts = append(list, "ONLY "+quoteTable(m.Schema, m.Name)), append(facts, t.f.table(m.Schema, m.Name))
		}
	}
	if len(list) > 0 {
		t.owner("nobody streams these tables any more", "ALTER PUBLICATION "+quoteIdent(t.f.PublicationName)+" DROP TABLE "+strings.Join(list, ", "), facts...)
		t.ofPublication()
	}
}

// identities sets them back.
func (t *teardown) identities() {
	for _, c := range t.record.Identity {
		table := t.find(c.Table)
		if table == nil {
			continue // dropped since
		}
		var back string
		switch {
		case table.Identity == c.Before && table.IdentityIndex == c.Index:
			continue
		case table.Identity != c.Set:
			t.leave("the replica identity of %s, which somebody has changed since setup", c.Table)
			continue
		case table.Elsewhere != "":
			// Set back, an UPDATE might fail (trap 8), or whoever reads that publication lose old rows.
			t.leave("the replica identity of %s, which publication %q needs too", c.Table, table.Elsewhere)
			continue
		case c.Before == "f":
			back = "FULL"
		case c.Before == "n":
			back = "NOTHING"
		case c.Before == "i" && c.Index == "":
			back = "DEFAULT"
			t.leave("%s with REPLICA IDENTITY DEFAULT: the index of its earlier one was gone before setup", c.Table)
			if c.Set == "d" {
				continue
			}
		case c.Before == "i":
			back = "USING INDEX " + quoteIdent(c.Index)
		default:
			back = "DEFAULT"
		}
		t.owner("as it was before setup", fmt.Sprintf("ALTER TABLE ONLY %s REPLICA IDENTITY %s", quoteTable(c.Table.schema, c.Table.table), back), table)
	}
	for i := range t.f.Tables {
		for _, leaf := range t.f.Tables[i].leaves() {
			name := tableName{leaf.Schema, leaf.Name}
			recorded := slices.ContainsFunc(t.record.Identity, func(c identityChange) bool { return c.Table == name })
			if t.f.Tables[i].Published && leaf.Identity == "f" && !recorded {
				t.leave("REPLICA IDENTITY FULL of %s, which setup has not set", name)
			}
		}
	}
}

// find finds a table that is there, be it a partition.
func (t *teardown) find(name tableName) *TableFacts {
	for i := range t.f.Tables {
		table := &t.f.Tables[i]
		if (tableName{table.Schema, table.Name}) == name && table.Exists {
			return table
		}
	}
	return nil
}

// grants takes back what the streaming role was granted.
func (t *teardown) grants(role string) {
	from := " FROM " + quoteIdent(role)
	if !t.f.Role.Exists {
		return
	}
	var list, schemas []string
	var facts []*TableFacts
	for _, name := range t.record.Select {
		if table := t.find(name); table != nil && table.Granted {
			list, facts = append(list, quoteTable(name.schema, name.table)), append(facts, table)
		}
	}
	for _, schema := range t.record.Usage {
		if slices.ContainsFunc(t.f.Tables, func(table TableFacts) bool { return table.Schema == schema && table.Exists && table.Usage }) {
			schemas = append(schemas, quoteIdent(schema))
		}
	}
	const why = "granted by setup"
	if len(list) > 0 {
		t.owner(why, "REVOKE SELECT ON TABLE "+strings.Join(list, ", ")+from, facts...)
	}
	if len(schemas) > 0 {
		t.owner(why, "REVOKE USAGE ON SCHEMA "+strings.Join(schemas, ", ")+from)
	}
	if t.record.Connect {
		t.owner(why, "REVOKE CONNECT ON DATABASE "+quoteIdent(t.f.Database)+from)
	}
}

// publication drops it, and with it the record: last, so that a teardown that was interrupted can be run again.
func (t *teardown) publication() {
	name := quoteIdent(t.f.PublicationName)
	switch {
	case t.record.Made:
		t.owner("nobody streams it any more", "DROP PUBLICATION "+name)
		t.ofPublication()
	case t.record.Earlier != t.f.Publication.Comment:
		t.owner("setup has not made the publication: it stays, with its earlier comment", commentSQL(t.f.PublicationName, t.record.Earlier))
		t.ofPublication()
		fallthrough
	default:
		t.leave("publication %q, which setup has not made; if nobody needs it: DROP PUBLICATION %s", t.f.PublicationName, name)
	}
}
