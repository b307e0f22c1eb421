package cdc

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Severity says how bad a finding is.
type Severity string

// The severities.
const (
	SeverityError   Severity = "error"   // walhook cannot run right, or Odoo is at risk
	SeverityWarning Severity = "warning" // it runs; a person should know
	SeverityInfo    Severity = "info"
)

// Finding is something about the server that is not as it should be, with its remedy. A
// finding is not an error: check lists them all.
type Finding struct {
	Code     string // stable, for scripts: "wal_level", "table_missing" …
	Severity Severity
	Message  string
	Hint     string // the remedy, with the SQL; may be empty
	Setup    bool   // `walhook setup` does away with it
}

// Preflight judges the facts against what is needed. It is pure. needs must be those that
// the facts were gathered for.
func Preflight(f *Facts, needs []TableNeed) []Finding {
	p := &preflight{f: f}
	needs = f.weigh(needs)
	if f.Major() < MinServer {
		p.add(SeverityError, "server_too_old", fmt.Sprintf("PostgreSQL %s is too old: walhook needs %d or later", f.VersionText, MinServer), "upgrade the server")
		return p.findings
	}
	p.server()
	p.role()
	p.slot()
	p.failover()
	p.publication(needs)
	for _, n := range needs {
		p.table(n)
	}
	p.notStreamed()
	p.failing(needs)
	p.owner(needs)
	p.blocked(needs)
	return p.findings
}

// transactionLong is when an open transaction is worth a warning: longer than Odoo's own time limits for requests allow.
const transactionLong = 15 * time.Minute

type preflight struct {
	f          *Facts
	findings   []Finding
	unstreamed []TableNeed // optional tables that are not published
}

func (p *preflight) add(severity Severity, code, message, hint string) *Finding {
	p.findings = append(p.findings, Finding{Code: code, Severity: severity, Message: message, Hint: hint})
	return &p.findings[len(p.findings)-1]
}

// mend adds a finding that setup does away with.
func (p *preflight) mend(severity Severity, code, message, hint string) {
	p.add(severity, code, message, hint).Setup = true
}

func (p *preflight) slot() {
	s := p.f.Slot
	if s == nil {
		missing := missingSlot(p.f.SlotName, nil).Since(p.f.Position, p.f.End)
		p.mend(SeverityError, "slot_missing", fmt.Sprintf("there is no replication slot %q%s", p.f.SlotName, missing.gap()+p.f.Gap), missing.Hint())
		for _, b := range p.f.Blockers {
			if b.Age >= time.Minute || b.Prepared != "" {
				p.add(SeverityWarning, "slot_blocked", "the creation of the slot will wait for "+b.String(), "let it end first, or run setup at a quieter time"+b.end())
			}
		}
		return
	}
	for _, b := range p.f.Blockers {
		if b.Age >= transactionLong || b.Prepared != "" {
			p.add(SeverityWarning, "transaction_open", "WAL is kept, and none of what came since can be vacuumed, because of "+b.String(), "let it end"+b.end())
		}
	}
	if err := s.usable(p.f.Database); err != nil {
		code := "slot_foreign"
		if s.Lost() {
			code = "slot_lost"
		}
		var hint, gap string
		var slot *SlotError
		if errors.As(err, &slot) {
			hint = slot.Since(p.f.Position, p.f.End).Hint()
		}
		if s.Lost() {
			gap = p.f.Gap
		}
		p.add(SeverityError, code, err.Error()+gap, hint)
		return
	}
	if s.Temporary {
		p.add(SeverityError, "slot_temporary", fmt.Sprintf("replication slot %q is temporary: it ends with its session", s.Name), "choose another name for source.slot and run `walhook setup`")
	}
	if s.PID != 0 {
		p.add(SeverityInfo, "slot_active", fmt.Sprintf("process %d of the server streams from slot %q", s.PID, s.Name),
			fmt.Sprintf("as it should while walhook runs; to end it: SELECT pg_terminate_backend(%d)", s.PID))
	}
	kept := bytesText(p.f.Retained())
	switch {
	case s.WALStatus == "unreserved":
		p.add(SeverityError, "slot_unreserved", fmt.Sprintf("slot %q keeps %s of WAL, more than max_slot_wal_keep_size allows: it is lost at the next checkpoint", s.Name, kept),
			"start walhook now, or raise max_slot_wal_keep_size: ALTER SYSTEM SET max_slot_wal_keep_size = '…'; SELECT pg_reload_conf()")
	case s.SafeBytes >= 0 && p.f.KeepMax > 0 && s.SafeBytes < p.f.KeepMax/5:
		p.add(SeverityWarning, "slot_headroom", fmt.Sprintf("slot %q keeps %s of WAL; after %s more it is lost", s.Name, kept, bytesText(s.SafeBytes)),
			"see that walhook runs and catches up, or raise max_slot_wal_keep_size")
	case p.f.Retained() > 4*p.f.MaxWALSize:
		p.add(SeverityWarning, "slot_retained", fmt.Sprintf("slot %q keeps %s of WAL on the server's disk", s.Name, kept),
			"see that walhook runs and catches up; a transaction that is open for long also keeps WAL")
	}
}

func (p *preflight) publication(needs []TableNeed) {
	pub, name := p.f.Publication, p.f.PublicationName
	if pub == nil {
		p.mend(SeverityError, "publication_missing", fmt.Sprintf("there is no publication %q", name), "walhook setup")
		return
	}
	if pub.AllTables {
		p.add(SeverityError, "publication_all_tables", fmt.Sprintf("publication %q is FOR ALL TABLES: any table without a primary key cannot be updated, by Odoo neither", name),
			fmt.Sprintf("DROP PUBLICATION %s; then `walhook setup`", quoteIdent(name)))
		return
	}
	if len(pub.Schemas) > 0 {
		p.mend(SeverityError, "publication_schemas", fmt.Sprintf("publication %q holds whole schemas (%s): new tables without a primary key could not be updated", name, strings.Join(pub.Schemas, ", ")), "walhook setup")
	}
	if !pub.Insert || !pub.Update || !pub.Delete || !pub.Truncate {
		p.mend(SeverityError, "publication_operations", fmt.Sprintf("publication %q does not publish all of insert, update, delete and truncate", name), publishSQL(p.f))
	}
	var extra []string
	for _, t := range pub.Tables {
		if !published(needs, t.name()) {
			extra = append(extra, t.name().String())
		}
	}
	if len(extra) > 0 {
		p.mend(SeverityWarning, "publication_extra", fmt.Sprintf("publication %q holds tables that no rule needs: %s", name, strings.Join(extra, ", ")), "walhook setup")
	}
}

// published says whether some need wants the table published.
func published(needs []TableNeed, name tableName) bool {
	return slices.ContainsFunc(needs, func(n TableNeed) bool { return n.name() == name && n.publishes() })
}

// failing reports tables that cannot be written to, those of a publication FOR ALL TABLES together.
func (p *preflight) failing(needs []TableNeed) {
	all := map[string][]string{}
	for _, t := range p.f.Failing {
		name := tableName{t.Schema, t.Name}
		if t.AllTables {
			if all[t.Publication] = append(all[t.Publication], name.String()); len(all[t.Publication]) == 1 {
				defer func() { p.failingAll(t.Publication, all[t.Publication]) }()
			}
			continue
		}
		why := "it has no usable replica identity"
		if t.ColumnList {
			why = "it is published with a column list under REPLICA IDENTITY FULL"
		}
		hint := fmt.Sprintf("ALTER PUBLICATION %s DROP TABLE ONLY %s", quoteIdent(t.Publication), quoteTable(t.Schema, t.Name))
		if !t.Member {
			hint = fmt.Sprintf("ALTER TABLE ONLY %s REPLICA IDENTITY FULL, or take its schema or parent out of the publication", quoteTable(t.Schema, t.Name))
		}
		finding := p.add(SeverityError, "writes_fail", fmt.Sprintf("every UPDATE and DELETE of %s fails, Odoo's too: publication %q holds it, and %s", name, t.Publication, why), hint)
		// Setup takes a table that nobody needs out of our publication, and gives one that is needed an identity.
		facts := p.f.table(t.Schema, t.Name)
		finding.Setup = t.Publication == p.f.PublicationName && (!published(needs, name) || facts != nil && len(facts.PrimaryKey) > 0)
	}
}

// failingAll reports the tables that a publication FOR ALL TABLES has made read-only.
func (p *preflight) failingAll(publication string, tables []string) {
	shown := strings.Join(tables[:min(len(tables), 5)], ", ")
	if more := len(tables) - 5; more > 0 {
		shown += fmt.Sprintf(" and %d more", more)
	}
	p.add(SeverityError, "writes_fail", fmt.Sprintf("every UPDATE and DELETE of these tables fails, Odoo's too, as publication %q is FOR ALL TABLES and they have no usable replica identity: %s", publication, shown),
		fmt.Sprintf("DROP PUBLICATION %s; or while somebody needs it, for each of them: ALTER TABLE … REPLICA IDENTITY FULL", quoteIdent(publication)))
}

// owner says who must run the parts of setup that this login may not.
func (p *preflight) owner(needs []TableNeed) {
	if p.f.Login.Superuser {
		return
	}
	var owners []string
	for _, s := range SetupSteps(p.f, needs, p.f.Role.Name) {
		if s.As == AsOwner {
			for _, owner := range s.foreign {
				if !slices.Contains(owners, owner) {
					owners = append(owners, owner)
				}
			}
		}
	}
	if len(owners) > 0 && p.f.InRecovery {
		slices.Sort(owners)
		p.add(SeverityInfo, "not_owner", fmt.Sprintf("source.dsn leads to a standby: publication, identities and grants are changed on the primary; the owner is %s", strings.Join(owners, ", ")),
			"run `walhook setup --dsn` with the owner's login on the primary")
	} else if len(owners) > 0 {
		slices.Sort(owners)
		p.add(SeverityInfo, "not_owner", fmt.Sprintf("role %q does not own everything that setup must change; the owner is %s", p.f.Login.Name, strings.Join(owners, ", ")),
			"run `walhook setup --dsn` with the owner's login, or let the owner run the SQL of `walhook setup --dry-run`; tables whose replica identity must stay as it is can be named in [images] tables")
	}
}

// blocked says whom setup would wait for at tables that it must alter. Publishing a table and
// changing its identity are what alters it; to grant waits for nobody.
func (p *preflight) blocked(needs []TableNeed) {
	var altered []uint32
	for _, n := range needs {
		t := p.f.table(n.Schema, n.Table)
		if !n.publishes() || t == nil || !t.publishable(p.f.Major()) {
			continue
		}
		for _, leaf := range t.leaves() {
			if !t.Published || n.Full && leaf.Identity != "f" || leaf.keyless() || leaf.hidesKey() {
				altered = append(altered, leaf.OID)
			}
		}
	}
	var said []Blocker
	for _, l := range p.f.Locks {
		if !slices.Contains(altered, l.OID) || slices.Contains(said, l.By) {
			continue
		}
		said = append(said, l.By)
		p.add(SeverityWarning, "setup_blocked", "setup must alter a table that is in use by "+l.By.String(),
			"let it end first; setup waits a minute, in short attempts that let Odoo pass"+l.By.end())
	}
}

// end is the part of a hint that says how to end a transaction by force.
func (b Blocker) end() string {
	if b.Prepared != "" {
		return "; to end it, in its database: ROLLBACK PREPARED " + quoteText(b.Prepared)
	}
	return fmt.Sprintf("; to end it: SELECT pg_terminate_backend(%d)", b.PID)
}
