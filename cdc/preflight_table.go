package cdc

import (
	"fmt"
	"slices"
	"strings"
)

// table judges one table.
func (p *preflight) table(need TableNeed) {
	t := p.f.table(need.Schema, need.Table)
	name, quoted := need.name().String(), quoteTable(need.Schema, need.Table)
	why := ""
	if len(need.Why) > 0 {
		why = "; needed by " + strings.Join(need.Why, ", ")
	}
	if t == nil || !t.Exists {
		p.add(SeverityError, "table_missing", fmt.Sprintf("there is no table %s%s", name, why), "correct the rule, or install the module that brings the table")
		return
	}
	p.privileges(t, need, why)
	if need.ReadOnly {
		return
	}
	if need.Optional {
		if pub := p.f.Publication; pub != nil && !pub.AllTables && !t.Published && !need.unfit {
			p.unstreamed = append(p.unstreamed, need)
		}
		return
	}
	switch {
	case t.Kind == "v" || t.Kind == "m" || t.Kind == "f":
		p.add(SeverityError, "not_a_table", fmt.Sprintf("%s is no table whose changes are in WAL (a view or a foreign table)%s", name, why), "watch the tables behind it")
		return
	case t.Unlogged:
		p.add(SeverityError, "table_unlogged", fmt.Sprintf("%s is unlogged: its changes are not in WAL%s", name, why), fmt.Sprintf("ALTER TABLE %s SET LOGGED", quoted))
		return
	case t.Temporary:
		p.add(SeverityError, "table_temporary", fmt.Sprintf("%s is a temporary table%s", name, why), "watch a permanent table")
		return
	case len(t.PrimaryKey) == 0:
		p.add(SeverityError, "no_primary_key", fmt.Sprintf("%s has no primary key: its records cannot be told apart, and publishing it would make every UPDATE and DELETE of it fail%s", name, why),
			fmt.Sprintf("ALTER TABLE %s ADD PRIMARY KEY (…), or remove the rule", quoted))
		return
	case t.Kind == "p" && p.f.Major() < 13:
		p.add(SeverityError, "partitioned", fmt.Sprintf("%s is partitioned, which publications support from PostgreSQL 13 on%s", name, why), "watch its partitions, or upgrade the server")
		return
	}
	if p.f.Publication == nil || p.f.Publication.AllTables {
		// Reported already.
	} else if !t.Published {
		p.mend(SeverityError, "not_published", fmt.Sprintf("publication %q does not hold %s%s", p.f.PublicationName, name, why),
			fmt.Sprintf("walhook setup, or: ALTER PUBLICATION %s ADD TABLE ONLY %s", quoteIdent(p.f.PublicationName), quoted))
	} else {
		if t.ColumnList {
			p.mend(SeverityError, "column_list", fmt.Sprintf("publication %q holds only some columns of %s", p.f.PublicationName, name), "walhook setup")
		}
		if t.RowFilter {
			p.mend(SeverityError, "row_filter", fmt.Sprintf("publication %q holds only some rows of %s", p.f.PublicationName, name), "walhook setup")
		}
	}
	if pub := p.f.Publication; t.Kind == "p" && pub != nil && !pub.ViaRoot {
		p.mend(SeverityError, "via_root", fmt.Sprintf("publication %q publishes changes of %s under the names of its partitions", p.f.PublicationName, name), publishSQL(p.f))
	}
	p.identity(t, need, why)
}

// notStreamed tells of all optional tables at once: of each alone there is little to say.
func (p *preflight) notStreamed() {
	if len(p.unstreamed) == 0 {
		return
	}
	var names, quoted, why []string
	for _, n := range p.unstreamed {
		names, quoted = append(names, n.name().String()), append(quoted, "ONLY "+quoteTable(n.Schema, n.Table))
		for _, w := range n.Why {
			if !slices.Contains(why, w) {
				why = append(why, w)
			}
		}
	}
	message := fmt.Sprintf("publication %q does not hold %s, whose changes are not seen then", p.f.PublicationName, strings.Join(names, ", "))
	if len(why) > 0 {
		message += "; needed as " + strings.Join(why, ", and as ")
	}
	p.mend(SeverityWarning, "not_streamed", message,
		fmt.Sprintf("walhook setup, or: ALTER PUBLICATION %s ADD TABLE %s", quoteIdent(p.f.PublicationName), strings.Join(quoted, ", ")))
}

// privileges judges what the streaming role may read. WAL reaches it without SELECT (trap 16), but not the
// live rows that related fields and repairs need.
func (p *preflight) privileges(t *TableFacts, need TableNeed, why string) {
	if !p.f.Role.Exists {
		return
	}
	severity := SeverityWarning
	if need.ReadOnly || need.Read {
		severity = SeverityError
	}
	role := quoteIdent(p.f.Role.Name)
	if !t.Usage {
		p.mend(severity, "no_usage", fmt.Sprintf("role %q has no USAGE on schema %q%s", p.f.Role.Name, t.Schema, why),
			fmt.Sprintf("GRANT USAGE ON SCHEMA %s TO %s", quoteIdent(t.Schema), role))
	}
	if !t.Select {
		p.mend(severity, "no_select", fmt.Sprintf("role %q may not SELECT from %s.%s%s", p.f.Role.Name, t.Schema, t.Name, why),
			fmt.Sprintf("GRANT %s TO %s", t.selects(), role))
	}
	if t.RowSecurity && !p.f.Role.Superuser && !p.f.Role.BypassRLS {
		p.add(SeverityWarning, "row_security", fmt.Sprintf("row-level security may hide rows of %s.%s from role %q; the stream is not affected", t.Schema, t.Name, p.f.Role.Name),
			fmt.Sprintf("ALTER ROLE %s BYPASSRLS", role))
	}
}

// identity judges the replica identity, of the partitions too.
func (p *preflight) identity(t *TableFacts, need TableNeed, why string) {
	for _, leaf := range t.leaves() {
		name, quoted := tableName{leaf.Schema, leaf.Name}.String(), quoteTable(leaf.Schema, leaf.Name)
		switch {
		case need.Full && leaf.Identity != "f":
			p.mend(SeverityError, "identity", fmt.Sprintf("%s has no REPLICA IDENTITY FULL: WAL does not hold the values before a change%s", name, why),
				fmt.Sprintf("ALTER TABLE ONLY %s REPLICA IDENTITY FULL", quoted)+orImages(t))
		case leaf.keyless():
			p.mend(SeverityError, "identity_unusable", fmt.Sprintf("%s has no usable replica identity: once it is published, every UPDATE and DELETE of it fails", name),
				fmt.Sprintf("ALTER TABLE ONLY %s REPLICA IDENTITY DEFAULT", quoted))
		case leaf.hidesKey():
			p.mend(SeverityError, "identity_index", fmt.Sprintf("the replica identity of %s is an index over %s, without the primary key: records that are deleted cannot be named%s", name, strings.Join(leaf.IdentityKey, ", "), why),
				fmt.Sprintf("ALTER TABLE ONLY %s REPLICA IDENTITY DEFAULT", quoted))
		case !need.Full && leaf.Identity == "f":
			p.add(SeverityInfo, "identity_unneeded", fmt.Sprintf("%s has REPLICA IDENTITY FULL, which costs WAL, and no rule needs it", name),
				fmt.Sprintf("if nobody else needs it: ALTER TABLE ONLY %s REPLICA IDENTITY DEFAULT", quoted))
		}
	}
}

// orImages is the other way to old values, which partitioned tables have not.
func orImages(t *TableFacts) string {
	if t.Kind == "p" {
		return ""
	}
	return "; or where the table may not be altered, name it in [images] tables"
}

// leaves are the tables whose replica identity counts: the table itself, or its partitions.
func (t *TableFacts) leaves() []TableFacts {
	if t.Kind == "p" {
		return t.Partitions
	}
	return []TableFacts{*t}
}
