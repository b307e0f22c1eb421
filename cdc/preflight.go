package cdc

import (
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
	if f.Major() < MinServer {
		p.add(SeverityError, "server_too_old", fmt.Sprintf("PostgreSQL %s is too old: walhook needs %d or later", f.VersionText, MinServer), "upgrade the server")
		return p.findings
	}
	p.server()
	p.role()
	p.slot()
	p.publication(needs)
	for _, n := range needs {
		p.table(n)
	}
	p.failing(needs)
	p.owner(needs)
	return p.findings
}

type preflight struct {
	f        *Facts
	findings []Finding
}

func (p *preflight) add(severity Severity, code, message, hint string) *Finding {
	p.findings = append(p.findings, Finding{Code: code, Severity: severity, Message: message, Hint: hint})
	return &p.findings[len(p.findings)-1]
}

// mend adds a finding that setup does away with.
func (p *preflight) mend(severity Severity, code, message, hint string) {
	p.add(severity, code, message, hint).Setup = true
}

func (p *preflight) server() {
	f := p.f
	if f.WALLevel != "logical" {
		p.add(SeverityError, "wal_level", fmt.Sprintf("wal_level is %s, logical replication needs logical", f.WALLevel),
			"ALTER SYSTEM SET wal_level = 'logical'; then restart the server")
	}
	if f.InRecovery && f.Major() < 16 {
		p.add(SeverityError, "standby", "the server is a standby, and streams logical changes only from PostgreSQL 16 on", "point source.dsn at the primary")
	}
	if f.Slot == nil && f.SlotsUsed >= f.SlotsMax {
		p.add(SeverityError, "no_free_slot", fmt.Sprintf("all %d replication slots are in use", f.SlotsMax),
			fmt.Sprintf("drop one that nobody needs (SELECT slot_name, active FROM pg_replication_slots), or: ALTER SYSTEM SET max_replication_slots = %d; then restart the server", f.SlotsMax+5))
	}
	if (f.Slot == nil || f.Slot.PID == 0) && f.SendersUsed >= f.SendersMax {
		p.add(SeverityError, "no_free_sender", fmt.Sprintf("all %d WAL senders are in use", f.SendersMax),
			fmt.Sprintf("ALTER SYSTEM SET max_wal_senders = %d; then restart the server", f.SendersMax+5))
	}
	if f.KeepMax < 0 && f.Major() >= 13 {
		p.add(SeverityWarning, "wal_unlimited", "nothing limits the WAL that a slot keeps: while walhook is away, it can fill the server's disk",
			"ALTER SYSTEM SET max_slot_wal_keep_size = '20GB'; SELECT pg_reload_conf(); choose what the disk can spare")
	}
	for _, name := range f.AllTables {
		p.add(SeverityWarning, "all_tables", fmt.Sprintf("publication %q is FOR ALL TABLES: any table without a primary key cannot be updated, and restores of this database suffer from it", name),
			"if nobody needs it: DROP PUBLICATION "+quoteIdent(name))
	}
}

func (p *preflight) role() {
	r := p.f.Role
	name := quoteIdent(r.Name)
	if !r.Exists {
		p.add(SeverityError, "role_missing", fmt.Sprintf("there is no role %q", r.Name), fmt.Sprintf("CREATE ROLE %s LOGIN REPLICATION PASSWORD '…'", name))
		return
	}
	if !r.Login {
		p.add(SeverityError, "role_login", fmt.Sprintf("role %q may not log in", r.Name), fmt.Sprintf("ALTER ROLE %s LOGIN", name))
	}
	if !r.Replication && !r.Superuser {
		p.add(SeverityError, "role_replication", fmt.Sprintf("role %q may not replicate", r.Name),
			fmt.Sprintf("ALTER ROLE %s REPLICATION", name))
	}
	if !r.Connect {
		p.mend(SeverityError, "role_connect", fmt.Sprintf("role %q may not connect to database %q", r.Name, p.f.Database),
			fmt.Sprintf("GRANT CONNECT ON DATABASE %s TO %s", quoteIdent(p.f.Database), name))
	}
}

func (p *preflight) slot() {
	s := p.f.Slot
	if s == nil {
		p.mend(SeverityError, "slot_missing", fmt.Sprintf("there is no replication slot %q", p.f.SlotName),
			fmt.Sprintf("walhook setup, or: %s", createSlotSQL(p.f.SlotName)))
		for _, b := range p.f.Blockers {
			if b.Age >= time.Minute || b.Prepared != "" {
				p.add(SeverityWarning, "slot_blocked", "the creation of the slot will wait for "+b.String(), "let it end first, or run setup at a quieter time")
			}
		}
		return
	}
	if err := s.usable(p.f.Database); err != nil {
		code := "slot_foreign"
		if s.Lost() {
			code = "slot_lost"
		}
		var hint string
		if h, ok := err.(interface{ Hint() string }); ok {
			hint = h.Hint()
		}
		p.add(SeverityError, code, err.Error(), hint)
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
	case p.f.Retained() > 4<<30:
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
	return slices.ContainsFunc(needs, func(n TableNeed) bool { return n.name() == name && !n.ReadOnly })
}

// failing reports tables that cannot be written to, except those that table has reported.
func (p *preflight) failing(needs []TableNeed) {
	for _, t := range p.f.Failing {
		name := tableName{t.Schema, t.Name}
		why := "it has no usable replica identity"
		if t.ColumnList {
			why = "it is published with a column list under REPLICA IDENTITY FULL"
		}
		finding := p.add(SeverityError, "writes_fail", fmt.Sprintf("every UPDATE and DELETE of %s fails, Odoo's too: publication %q holds it, and %s", name, t.Publication, why),
			fmt.Sprintf("ALTER PUBLICATION %s DROP TABLE ONLY %s", quoteIdent(t.Publication), quoteTable(t.Schema, t.Name)))
		// Setup takes a table that nobody needs out of our publication, and gives one that is needed an identity.
		facts := p.f.table(t.Schema, t.Name)
		finding.Setup = t.Publication == p.f.PublicationName && !p.f.Publication.AllTables &&
			(!published(needs, name) || facts != nil && len(facts.PrimaryKey) > 0)
	}
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
	if len(owners) > 0 {
		slices.Sort(owners)
		p.add(SeverityInfo, "not_owner", fmt.Sprintf("role %q does not own everything that setup must change; the owner is %s", p.f.Login.Name, strings.Join(owners, ", ")),
			"run `walhook setup --dsn` with the owner's login, or let the owner run the SQL of `walhook setup --dry-run`")
	}
}
