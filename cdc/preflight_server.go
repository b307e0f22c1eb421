package cdc

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// connectionsNeeded is what one walhook opens at most with the default state.pool_size of 8 and the state in the
// source's cluster: the stream, look-ups, the slot's watch, and one to spare for a command.
const connectionsNeeded = 12

// expirySoon is when a password that ends is worth a warning.
const expirySoon = 14 * 24 * time.Hour

func (p *preflight) server() {
	f := p.f
	if f.WALLevel != "logical" {
		p.add(SeverityError, "wal_level", fmt.Sprintf("wal_level is %s, logical replication needs logical", f.WALLevel),
			"ALTER SYSTEM SET wal_level = 'logical'; then restart the server")
	}
	p.standby()
	if f.Slot == nil && f.SlotsUsed >= f.SlotsMax {
		p.add(SeverityError, "no_free_slot", fmt.Sprintf("all %d replication slots are in use", f.SlotsMax),
			fmt.Sprintf("drop one that nobody needs (SELECT slot_name, active FROM pg_replication_slots), or: ALTER SYSTEM SET max_replication_slots = %d; then restart the server", f.SlotsMax+5))
	}
	if (f.Slot == nil || f.Slot.PID == 0) && f.SendersUsed >= f.SendersMax {
		p.add(SeverityError, "no_free_sender", fmt.Sprintf("all %d WAL senders are in use", f.SendersMax),
			fmt.Sprintf("ALTER SYSTEM SET max_wal_senders = %d; then restart the server", f.SendersMax+5))
	}
	if f.KeepMax < 0 {
		remedy := "ALTER SYSTEM SET max_slot_wal_keep_size = '20GB'; SELECT pg_reload_conf(); choose what the disk can spare"
		if f.Major() < 13 {
			remedy = "a limit of the server's own takes PostgreSQL 13; until then set source.guard.max_retained, which acts while walhook runs, and watch the disk while it does not"
		}
		p.add(SeverityWarning, "wal_unlimited", "nothing limits the WAL that a slot keeps: while walhook is away, it can fill the server's disk", remedy)
	}
	if f.KeepMax >= 0 && f.KeepMax < f.MaxWALSize {
		p.add(SeverityWarning, "wal_limit_low", fmt.Sprintf("max_slot_wal_keep_size is %s, less than max_wal_size (%s): under load the slot is lost within minutes of a pause", bytesText(f.KeepMax), bytesText(f.MaxWALSize)),
			fmt.Sprintf("ALTER SYSTEM SET max_slot_wal_keep_size = '%dMB'; SELECT pg_reload_conf(); choose what the disk can spare", max(4*f.MaxWALSize, 20<<30)>>20))
	}
	if f.IdleLimit > 0 {
		p.add(SeverityWarning, "slot_idle_limit", fmt.Sprintf("the server gives a slot up that nobody streams from for %s (idle_replication_slot_timeout), however little WAL it keeps: while walhook is away for longer, changes are lost", f.IdleLimit),
			"ALTER SYSTEM SET idle_replication_slot_timeout = 0; SELECT pg_reload_conf(); max_slot_wal_keep_size bounds what a slot keeps")
	}
	if f.DecodingMemory >= 0 && f.DecodingMemory < 16<<20 {
		p.add(SeverityInfo, "decoding_memory", fmt.Sprintf("logical_decoding_work_mem is %s: the server spools every larger transaction to its disk before it sends it", bytesText(f.DecodingMemory)),
			fmt.Sprintf("ALTER ROLE %s SET logical_decoding_work_mem = '64MB'", quoteIdent(f.Role.Name)))
	}
	if free := f.ConnectionsMax - f.ConnectionsUsed; free < connectionsNeeded {
		p.add(SeverityWarning, "connections_short", fmt.Sprintf("%d of %d connections are free, and walhook uses up to %d", max(free, 0), f.ConnectionsMax, connectionsNeeded),
			fmt.Sprintf("ALTER SYSTEM SET max_connections = %d; then restart the server; or lower state.pool_size", f.ConnectionsUsed+2*connectionsNeeded))
	}
	if f.Pooled {
		p.add(SeverityWarning, "source_pooler", "a connection pooler stands between walhook and the source: replication needs the server itself, and poolers end what lasts long",
			"write the address of PostgreSQL itself in source.dsn (port 5432 rather than 6432)")
	}
	if synchronous(f.SyncStandbys) {
		p.add(SeverityError, "synchronous", fmt.Sprintf("synchronous_standby_names is %q, which takes walhook for a synchronous standby: Odoo's commits would wait until walhook has processed them", f.SyncStandbys),
			"name the real standbys there, without * and without "+ApplicationName+": ALTER SYSTEM SET synchronous_standby_names = '…'; SELECT pg_reload_conf()")
	}
	if len(f.Messages) > 0 && f.Major() < MinMessages {
		p.add(SeverityError, "messages", fmt.Sprintf("PostgreSQL %s does not send messages: rules on message need %d or later (%s)", f.VersionText, MinMessages, strings.Join(f.Messages, ", ")),
			"upgrade the server, or remove these rules; until then a table of your own can carry the events: make a rule on = [\"create\"] of it")
	}
	for _, name := range f.AllTables {
		p.add(SeverityWarning, "all_tables", fmt.Sprintf("publication %q is FOR ALL TABLES: any table without a primary key cannot be updated, and restores of this database suffer from it", name),
			"if nobody needs it: DROP PUBLICATION "+quoteIdent(name))
	}
}

// synchronous says whether a value of synchronous_standby_names counts a walsender of walhook in: names are
// compared without case, and * is everybody.
func synchronous(setting string) bool {
	return slices.ContainsFunc(strings.FieldsFunc(setting, func(r rune) bool { return strings.ContainsRune(" ,()\"\t\n", r) }),
		func(name string) bool {
			return name == "*" || strings.EqualFold(name, ApplicationName) || strings.EqualFold(name, applicationName("stream"))
		})
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
	if left := time.Until(r.ValidUntil); !r.ValidUntil.IsZero() && left < expirySoon {
		p.add(SeverityWarning, "role_expires", fmt.Sprintf("the password of role %q is valid until %s", r.Name, r.ValidUntil.UTC().Format("2006-01-02 15:04 UTC")),
			fmt.Sprintf("ALTER ROLE %s VALID UNTIL 'infinity', or a new password with a later end", name))
	}
	if r.Limit >= 0 && r.Limit < connectionsNeeded {
		p.add(SeverityWarning, "role_limit", fmt.Sprintf("role %q may have %d connections, and walhook uses up to %d", r.Name, r.Limit, connectionsNeeded),
			fmt.Sprintf("ALTER ROLE %s CONNECTION LIMIT -1", name))
	}
	if p.f.DatabaseLimit >= 0 && p.f.DatabaseLimit < connectionsNeeded {
		p.add(SeverityWarning, "role_limit", fmt.Sprintf("database %q takes %d connections, and walhook uses up to %d", p.f.Database, p.f.DatabaseLimit, connectionsNeeded),
			fmt.Sprintf("ALTER DATABASE %s CONNECTION LIMIT -1", quoteIdent(p.f.Database)))
	}
}
