package cdc

import (
	"fmt"
	"strings"
)

// TeardownSteps returns what undoes setup on the source, in order, and for people what is left and why.
// needs are those of setup, and may be empty: what the publication holds is in the facts. It is pure.
//
// It cannot know what was there before setup: a table's replica identity goes back to
// PostgreSQL's default, and privileges are revoked that were granted to the role by name.
func TeardownSteps(f *Facts, needs []TableNeed, role string) (steps []Step, left []string) {
	b := &stepBuilder{f: f}
	if s := f.Slot; s != nil {
		if s.Plugin == "pgoutput" && s.Database == f.Database {
			b.steps = append(b.steps, Step{As: AsReplication, SQL: "SELECT pg_drop_replication_slot(" + quoteText(s.Name) + ")",
				Why: "the server keeps WAL no longer"})
			if s.PID != 0 {
				left = append(left, fmt.Sprintf("slot %q is in use by process %d of the server: stop walhook first", s.Name, s.PID))
			}
		} else {
			left = append(left, fmt.Sprintf("slot %q belongs to somebody else: it stays", s.Name))
		}
	}
	if f.Publication != nil {
		b.owner("nobody streams it any more", "DROP PUBLICATION "+quoteIdent(f.PublicationName))
		if !f.Publication.Ours {
			b.steps[len(b.steps)-1].foreign = []string{f.Publication.Owner}
		}
	}
	var revoke []string
	var granted []*TableFacts
	for i := range f.Tables {
		t := &f.Tables[i]
		if !t.Exists {
			continue
		}
		if t.Published || published(needs, tableName{t.Schema, t.Name}) {
			for _, leaf := range t.leaves() {
				if leaf.Identity == "f" {
					b.owner("back to PostgreSQL's default; leave it out if it was FULL before walhook", fmt.Sprintf("ALTER TABLE ONLY %s REPLICA IDENTITY DEFAULT", quoteTable(leaf.Schema, leaf.Name)), &leaf)
				}
			}
		}
		if t.Granted {
			revoke, granted = append(revoke, quoteTable(t.Schema, t.Name)), append(granted, t)
		}
	}
	if len(revoke) > 0 {
		b.owner("granted by setup, or by hand", "REVOKE SELECT ON TABLE "+strings.Join(revoke, ", ")+" FROM "+quoteIdent(role), granted...)
	}
	if f.Role.Exists {
		left = append(left, fmt.Sprintf("role %q and its privileges on schemas and the database stay: REASSIGN OWNED, DROP OWNED and DROP ROLE %s remove them", role, quoteIdent(role)))
	}
	return b.steps, left
}
