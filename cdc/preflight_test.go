package cdc

import (
	"slices"
	"strings"
	"testing"
	"time"

	"walhook/internal/pgtest"
)

// soundFacts are of a server on which nothing is wrong, with one table that is set up.
func soundFacts() *Facts {
	return &Facts{
		Version: 160003, VersionText: "16.3", WALLevel: "logical", SlotsUsed: 1, SlotsMax: 10, SendersUsed: 1, SendersMax: 10, KeepMax: 20 << 30,
		MaxWALSize: 1 << 30, DecodingMemory: 64 << 20, ConnectionsUsed: 20, ConnectionsMax: 97, DatabaseLimit: -1,
		End: 5 << 30, Database: "odoo", DatabaseOwner: "odoo",
		Login:    Role{Name: "walhook", Exists: true, Login: true, Replication: true, Connect: true, Limit: -1},
		Role:     Role{Name: "walhook", Exists: true, Login: true, Replication: true, Connect: true, Limit: -1},
		SlotName: "walhook", Slot: &Slot{Name: "walhook", Plugin: "pgoutput", Database: "odoo", Restart: 5<<30 - 4096, WALStatus: "reserved", SafeBytes: 20 << 30},
		PublicationName: "walhook",
		Publication:     &Publication{Owner: "odoo", Insert: true, Update: true, Delete: true, Truncate: true, Tables: []PublishedTable{{Schema: "public", Name: "sale_order"}}},
		Tables: []TableFacts{{Schema: "public", Name: "sale_order", Exists: true, Kind: "r", Owner: "odoo", PrimaryKey: []string{"id"}, Identity: "f",
			Usage: true, Select: true, Published: true}},
	}
}

var soundNeeds = []TableNeed{{Schema: "public", Table: "sale_order", Full: true, Why: []string{`rule "confirmed"`}}}

// failing over goes well with these facts.
func failing(f *Facts) {
	f.Version, f.VersionText = 170010, "17.10"
	f.Failover, f.Slot.Failover = new(true), true
	f.Standbys = Standbys{Waits: []string{"berlin"}, Slots: []string{"berlin"}, Feedback: []string{"berlin"}}
}

// TestPreflight breaks one thing at a time and expects exactly its finding.
func TestPreflight(t *testing.T) {
	if found := Preflight(soundFacts(), soundNeeds); len(found) != 0 {
		t.Fatalf("on a sound server: %+v", found)
	}
	if steps := SetupSteps(soundFacts(), soundNeeds, "walhook"); len(steps) != 0 {
		t.Fatalf("on a sound server: %q", sqlOf(steps))
	}
	ready := soundFacts()
	if failing(ready); len(Preflight(ready, soundNeeds)) != 0 {
		t.Fatalf("with a standby that is ready: %+v", Preflight(ready, soundNeeds))
	}
	table := func(f *Facts) *TableFacts { return &f.Tables[0] }
	twelve := func(f *Facts) { f.Version, f.VersionText = 120022, "12.22" }
	for _, c := range []struct {
		code     string
		severity Severity
		setup    bool
		spoil    func(*Facts)
		says     string // in message or hint
	}{
		{"server_too_old", SeverityError, false, func(f *Facts) { f.Version, f.VersionText = 110010, "11.10" }, "11.10"},
		{"wal_level", SeverityError, false, func(f *Facts) { f.WALLevel = "replica" }, "ALTER SYSTEM SET wal_level = 'logical'"},
		{"no_free_sender", SeverityError, false, func(f *Facts) { f.SendersUsed = 10 }, "max_wal_senders = 15"},
		{"wal_unlimited", SeverityWarning, false, func(f *Facts) { f.KeepMax = -1 }, "max_slot_wal_keep_size"},
		{"wal_unlimited", SeverityWarning, false, func(f *Facts) { twelve(f); f.KeepMax = -1 }, "source.guard.max_retained"},
		{"wal_limit_low", SeverityWarning, false, func(f *Facts) { f.KeepMax = 512 << 20 }, "max_slot_wal_keep_size = '20480MB'"},
		{"slot_idle_limit", SeverityWarning, false, func(f *Facts) { f.IdleLimit = time.Hour }, "for 1h0m0s (idle_replication_slot_timeout)"},
		{"decoding_memory", SeverityInfo, false, func(f *Facts) { f.DecodingMemory = 1 << 20 }, `ALTER ROLE "walhook" SET logical_decoding_work_mem`},
		{"connections_short", SeverityWarning, false, func(f *Facts) { f.ConnectionsUsed = 90 }, "max_connections = 114"},
		{"source_pooler", SeverityWarning, false, func(f *Facts) { f.Pooled = true }, "5432"},
		{"synchronous", SeverityError, false, func(f *Facts) { f.SyncStandbys = "FIRST 1 (b, *)" }, "SELECT pg_reload_conf()"},
		{"synchronous", SeverityError, false, func(f *Facts) { f.SyncStandbys = `ANY 1 ("Walhook")` }, "ALTER SYSTEM SET synchronous_standby_names"},
		{"messages", SeverityError, false, func(f *Facts) { f.Version, f.VersionText, f.Messages = 130014, "13.14", []string{"stock_low"} }, "rules on message need 14 or later (stock_low)"},
		{"all_tables", SeverityWarning, false, func(f *Facts) { f.AllTables = []string{"everything"} }, `DROP PUBLICATION "everything"`},
		{"role_missing", SeverityError, false, func(f *Facts) { f.Role = Role{Name: "walhook"} }, "CREATE ROLE"},
		{"role_login", SeverityError, false, func(f *Facts) { f.Role.Login = false }, "LOGIN"},
		{"role_replication", SeverityError, false, func(f *Facts) { f.Role.Replication = false }, `ALTER ROLE "walhook" REPLICATION`},
		{"role_connect", SeverityError, true, func(f *Facts) { f.Role.Connect = false }, "GRANT CONNECT"},
		{"role_expires", SeverityWarning, false, func(f *Facts) { f.Role.ValidUntil = time.Now().Add(24 * time.Hour) }, "VALID UNTIL 'infinity'"},
		{"role_limit", SeverityWarning, false, func(f *Facts) { f.Role.Limit = 5 }, `ALTER ROLE "walhook" CONNECTION LIMIT -1`},
		{"role_limit", SeverityWarning, false, func(f *Facts) { f.DatabaseLimit = 5 }, `ALTER DATABASE "odoo" CONNECTION LIMIT -1`},
		{"transaction_open", SeverityWarning, false, func(f *Facts) { f.Blockers = []Blocker{{PID: 7, Age: time.Hour}, {PID: 8, Age: time.Minute}} }, "pg_terminate_backend(7)"},
		{"transaction_open", SeverityWarning, false, func(f *Facts) { f.Blockers = []Blocker{{Prepared: "it's"}} }, "ROLLBACK PREPARED 'it''s'"},
		{"slot_missing", SeverityError, true, func(f *Facts) { f.Slot = nil }, "walhook setup"},
		{"slot_missing", SeverityError, true, func(f *Facts) { f.Slot, f.Position, f.End = nil, 0x1000, 0x1000+3<<20 }, "the changes in these 3.0 MiB of WAL can no longer be read"},
		{"slot_missing", SeverityError, true, func(f *Facts) { f.Slot, f.Position, f.End = nil, 0x1000, 0x2000 }, "walhook setup; then: walhook run --adopt"},
		{"slot_foreign", SeverityError, false, func(f *Facts) { f.Slot.Plugin = "wal2json" }, "wal2json"},
		{"slot_foreign", SeverityError, false, func(f *Facts) { f.Slot.Database = "other" }, `database "other"`},
		{"slot_lost", SeverityError, false, func(f *Facts) { f.Slot.WALStatus = "lost" }, "max_slot_wal_keep_size"},
		{"slot_lost", SeverityError, false, func(f *Facts) { f.Slot.Reason = "idle_timeout" }, "raise idle_replication_slot_timeout"},
		{"slot_lost", SeverityError, false, func(f *Facts) { f.Slot.Reason = "rows_removed" }, "hot_standby_feedback"},
		{"slot_lost", SeverityError, false, func(f *Facts) { f.Slot.Reason = "wal_level_insufficient" }, "wal_level = logical on the primary"},
		{"slot_lost", SeverityError, false, func(f *Facts) { f.Slot.Reason = "of another kind" }, "lost: of another kind"},
		{"slot_temporary", SeverityError, false, func(f *Facts) { f.Slot.Temporary = true }, "temporary"},
		{"slot_active", SeverityInfo, false, func(f *Facts) { f.Slot.PID = 4711 }, "pg_terminate_backend(4711)"},
		{"slot_unreserved", SeverityError, false, func(f *Facts) { f.Slot.WALStatus = "unreserved" }, "next checkpoint"},
		{"slot_headroom", SeverityWarning, false, func(f *Facts) { f.Slot.SafeBytes = 1 << 30 }, "1.0 GiB more"},
		{"slot_retained", SeverityWarning, false, func(f *Facts) { f.Slot.Restart = 1 << 20 }, "5.0 GiB"},
		{"failover_version", SeverityError, false, func(f *Facts) { f.Failover = new(true) }, "need 17 or later"},
		{"failover_primary", SeverityError, false, func(f *Facts) {
			failing(f)
			f.InRecovery, f.Standbys = true, Standbys{HotFeedback: true, PrimarySlot: "berlin"}
		}, "point source.dsn at the primary"},
		{"failover_slot", SeverityWarning, true, func(f *Facts) { failing(f); f.Slot.Failover = false }, "source.failover is true"},
		{"failover_slot", SeverityWarning, true, func(f *Facts) { failing(f); f.Failover = new(false) }, "source.failover is false"},
		{"failover_copy", SeverityWarning, false, func(f *Facts) { failing(f); f.Standbys.Feedback = nil }, "sync_replication_slots = on"},
		{"failover_ahead", SeverityWarning, false, func(f *Facts) { failing(f); f.Standbys.Waits = nil }, "SET synchronized_standby_slots = 'berlin'"},
		{"failover_waits", SeverityWarning, false, func(f *Facts) {
			failing(f)
			f.Standbys.Waits, f.Standbys.Away = []string{"berlin", "paris"}, []string{"paris"}
		}, "SET synchronized_standby_slots = 'berlin'"},
		{"slot_synced", SeverityError, false, func(f *Facts) { failing(f); f.Failover, f.InRecovery, f.Slot.Synced = nil, true, true }, "before the standby is promoted"},
		{"standby", SeverityError, false, func(f *Facts) { f.InRecovery, f.Version = true, 150004 }, "from PostgreSQL 16 on"},
		{"standby_feedback", SeverityWarning, false, func(f *Facts) { failing(f); f.Failover, f.InRecovery, f.Standbys.PrimarySlot = nil, true, "berlin" }, "hot_standby_feedback is off"},
		{"standby_feedback", SeverityWarning, false, func(f *Facts) { failing(f); f.Failover, f.InRecovery, f.Standbys.HotFeedback = nil, true, true }, "primary_slot_name is empty"},
		{"publication_all_tables", SeverityError, false, func(f *Facts) { f.Publication.AllTables = true }, `DROP PUBLICATION "walhook"`},
		{"publication_operations", SeverityError, true, func(f *Facts) { f.Publication.Truncate = false }, "publish = 'insert, update, delete, truncate'"},
		{"publication_extra", SeverityWarning, true, func(f *Facts) {
			f.Publication.Tables = append(f.Publication.Tables, PublishedTable{Schema: "public", Name: "bus_bus"})
		}, "public.bus_bus"},
		{"table_missing", SeverityError, false, func(f *Facts) { *table(f) = TableFacts{Schema: "public", Name: "sale_order"} }, `rule "confirmed"`},
		{"not_a_table", SeverityError, false, func(f *Facts) { table(f).Kind = "v" }, "a view"},
		{"table_unlogged", SeverityError, false, func(f *Facts) { table(f).Unlogged = true }, "SET LOGGED"},
		{"table_temporary", SeverityError, false, func(f *Facts) { table(f).Temporary = true }, "temporary"},
		{"no_primary_key", SeverityError, false, func(f *Facts) { table(f).PrimaryKey = nil }, "ADD PRIMARY KEY"},
		{"partitioned", SeverityError, false, func(f *Facts) { twelve(f); table(f).Kind, table(f).Published = "p", false }, "watch its partitions"},
		{"not_published", SeverityError, true, func(f *Facts) { table(f).Published, f.Publication.Tables = false, nil }, "ADD TABLE ONLY"},
		{"column_list", SeverityError, true, func(f *Facts) { table(f).ColumnList, f.Publication.Tables[0].ColumnList = true, true }, "columns"},
		{"row_filter", SeverityError, true, func(f *Facts) { table(f).RowFilter, f.Publication.Tables[0].RowFilter = true, true }, "rows"},
		{"identity", SeverityError, true, func(f *Facts) { table(f).Identity = "d" }, `ALTER TABLE ONLY "public"."sale_order" REPLICA IDENTITY FULL`},
		{"no_usage", SeverityWarning, true, func(f *Facts) { table(f).Usage = false }, "GRANT USAGE"},
		{"no_select", SeverityWarning, true, func(f *Facts) { table(f).Select = false }, "GRANT SELECT"},
		{"row_security", SeverityWarning, false, func(f *Facts) { table(f).RowSecurity = true }, "BYPASSRLS"},
		{"writes_fail", SeverityError, false, func(f *Facts) {
			f.Failing = []FailingTable{{Schema: "public", Name: "x", Publication: "other", Member: true}}
		}, `ALTER PUBLICATION "other" DROP TABLE ONLY "public"."x"`},
		{"writes_fail", SeverityError, false, func(f *Facts) {
			f.Failing = []FailingTable{{Schema: "shop", Name: "x", Publication: "other"}}
		}, `ALTER TABLE ONLY "shop"."x" REPLICA IDENTITY FULL`},
		{"writes_fail", SeverityError, false, func(f *Facts) {
			for range 7 {
				f.Failing = append(f.Failing, FailingTable{Schema: "public", Name: "x", Publication: "all", AllTables: true})
			}
		}, `public.x and 2 more`},
	} {
		t.Run(c.code, func(t *testing.T) {
			f := soundFacts()
			c.spoil(f)
			found := slices.DeleteFunc(Preflight(f, soundNeeds), func(f Finding) bool { return f.Code == "not_owner" })
			if len(found) != 1 {
				t.Fatalf("found %+v", found)
			}
			got := found[0]
			if got.Code != c.code || got.Severity != c.severity || got.Setup != c.setup || !strings.Contains(got.Message+got.Hint, c.says) || got.Hint == "" {
				t.Errorf("got %+v", got)
			}
			// Setup has a step for exactly what it says it mends; a table that must not be published is taken out.
			steps := SetupSteps(f, soundNeeds, "walhook")
			if f.Major() >= MinServer && f.Tables[0].publishable(f.Major()) && got.Setup != (len(steps) > 0) {
				t.Errorf("steps %q", sqlOf(steps))
			}
		})
	}
}

func TestPreflightOwner(t *testing.T) {
	f := soundFacts()
	f.Slot, f.Tables[0].Identity, f.SlotsUsed = nil, "d", 10
	f.Blockers = []Blocker{{PID: 9, Age: time.Hour, Application: "odoo"}, {PID: 10, Age: time.Second}}
	got := findings(Preflight(f, soundNeeds))
	if o := got["not_owner"]; !strings.Contains(o.Message, "the owner is odoo") || o.Severity != SeverityInfo {
		t.Errorf("%+v", o)
	}
	if s := got["no_free_slot"]; !strings.Contains(s.Hint, "max_replication_slots = 15") {
		t.Errorf("%+v", s)
	}
	if s := got["slot_blocked"]; !strings.Contains(s.Message, `process 9 (application "odoo", open for 1h0m0s)`) {
		t.Errorf("%+v", s)
	}
	f.Login.Superuser = true
	if _, ok := findings(Preflight(f, soundNeeds))["not_owner"]; ok {
		t.Error("a superuser is told that it is no owner")
	}
}

// TestInspect finds on a real server what TestPreflight invents.
func TestInspect(t *testing.T) {
	e := newEstate(t, estateSchema+`; CREATE TABLE part (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
		CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (10)`)
	needs := []TableNeed{
		{Schema: "public", Table: "partner"}, {Schema: "public", Table: "loose"}, {Schema: "public", Table: "scratch"}, {Schema: "public", Table: "seen"},
		{Schema: "public", Table: "nobody"}, {Schema: "Shop", Table: "Order"}, {Schema: "public", Table: "rel"}, {Schema: "public", Table: "part", Full: true},
		{Schema: "public", Table: "ir_model", ReadOnly: true},
	}
	f := e.inspect(needs)
	if f.SystemID != e.text("SELECT system_identifier::text FROM pg_control_system()") || f.Timeline != 1 || f.Major() != pgtest.Server(t).Major() || f.WALLevel != "logical" {
		t.Errorf("server %+v", f)
	}
	if f.Database != e.text("SELECT current_database()") || f.DatabaseOwner != e.owner || f.DatabaseOID == 0 || f.End == 0 || f.SlotsMax != 50 || f.KeepMax != -1 {
		t.Errorf("database %+v", f)
	}
	if f.Role.Name != e.role || !f.Role.Exists || !f.Role.Replication || f.Role.Superuser || f.Login.Name != e.owner || f.Login.Replication || !f.Login.Create {
		t.Errorf("roles %+v %+v", f.Role, f.Login)
	}
	if got := f.table("public", "rel").PrimaryKey; !slices.Equal(got, []string{"b", "a"}) {
		t.Errorf("key %q", got)
	}
	if p := f.table("public", "part").Partitions; len(p) != 1 || p[0].Name != "part_1" || p[0].Identity != "d" {
		t.Errorf("partitions %+v", p)
	}
	got := Preflight(f, needs)
	partitions := "identity"
	if f.Major() < 13 {
		partitions = "partitioned"
	}
	for code, name := range map[string]string{"no_primary_key": "public.loose", "table_unlogged": "public.scratch", "not_a_table": "public.seen",
		"table_missing": "public.nobody", "no_usage": `schema "Shop"`, partitions: "public.part"} {
		if !slices.ContainsFunc(got, func(f Finding) bool { return f.Code == code && strings.Contains(f.Message, name) }) {
			t.Errorf("no finding %s for %s", code, name)
		}
	}
	if !slices.ContainsFunc(got, func(f Finding) bool {
		return f.Code == "no_select" && f.Severity == SeverityError && strings.Contains(f.Message, "ir_model")
	}) {
		t.Error("missing SELECT on metadata is no error")
	}
	e.apply(SetupSteps(f, needs, e.role))
	f = e.inspect(needs)
	if f.Slot == nil {
		t.Fatal("no slot after setup")
	}
	if f.Major() < 13 {
		if f.table("public", "part").Published {
			t.Error("a partitioned table is published")
		}
		return
	}
	if !f.Publication.ViaRoot || f.table("public", "part").Partitions[0].Identity != "f" {
		t.Errorf("after setup: %+v %+v", f.Publication, f.Slot)
	}
	rec := &recorder{}
	r := e.start(rec, 0, func(c *SourceConfig) { c.DSN = e.roleConn.Config().ConnString() })
	r.connected()
	e.exec("INSERT INTO part VALUES (1, 1)")
	rec.sees(t, "create 1")
	if f := e.inspect(needs); f.Slot.PID == 0 || f.Retained() == 0 {
		t.Errorf("slot %+v retains %d", f.Slot, f.Retained())
	}
}

// TestInspectFailing finds tables that somebody's publication has made read-only.
func TestInspectFailing(t *testing.T) {
	e := newEstate(t, estateSchema)
	e.exec("CREATE PUBLICATION foreign_" + e.slot + " FOR TABLE loose, frozen")
	f := e.inspect(nil)
	if len(f.Failing) != 2 || f.Failing[0].Name != "frozen" || f.Failing[1].Name != "loose" {
		t.Fatalf("failing %+v", f.Failing)
	}
	e.exec("CREATE PUBLICATION all_" + e.slot + " FOR ALL TABLES")
	if f = e.inspect(nil); !slices.Equal(f.AllTables, []string{"all_" + e.slot}) {
		t.Errorf("all tables: %q", f.AllTables)
	}
}
