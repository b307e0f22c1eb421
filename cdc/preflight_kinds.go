package cdc

// FindingKind is a kind of finding: what its code means. Messages and remedies of single findings name the
// very table, role or setting; a FindingKind is what documentation says of the code.
type FindingKind struct {
	Code     string
	Severity Severity // the gravest that it is reported with
	Meaning  string   // one line, for people
	Remedy   string   // what to do, in general
}

// FindingKinds returns every kind of finding that [Preflight], [Probe] and [ProbeOwner] can report, in the order of looking.
func FindingKinds() []FindingKind {
	const e, w, i = SeverityError, SeverityWarning, SeverityInfo
	return []FindingKind{
		{"server_too_old", e, "the server is older than PostgreSQL 12", "upgrade the server"},
		{"wal_level", e, "WAL does not hold what logical replication needs", "ALTER SYSTEM SET wal_level = 'logical'; restart the server"},
		{"standby", e, "the server is a standby that cannot stream logical changes (before PostgreSQL 16)", "point source.dsn at the primary"},
		{"slot_synced", e, "the server is a standby, and its slot is a copy of the primary's, which nobody can stream from before a promotion", "point source.dsn at the primary, or at both"},
		{"standby_feedback", w, "the server is a standby, and does not keep the primary from removing what the slot needs", "hot_standby_feedback = on and primary_slot_name on the standby"},
		{"no_free_slot", e, "all replication slots are in use", "drop one that nobody needs, or raise max_replication_slots and restart the server"},
		{"no_free_sender", e, "all WAL senders are in use", "raise max_wal_senders and restart the server"},
		{"connections_short", w, "the server has fewer free connections than walhook needs", "raise max_connections and restart the server, or lower state.pool_size"},
		{"wal_unlimited", w, "nothing limits the WAL that a slot keeps on the server's disk", "set max_slot_wal_keep_size to what the disk can spare; before PostgreSQL 13 source.guard.max_retained"},
		{"wal_limit_low", w, "max_slot_wal_keep_size is so small that a slot is lost between two checkpoints", "raise max_slot_wal_keep_size"},
		{"slot_idle_limit", w, "the server gives up a slot that nobody streams from for idle_replication_slot_timeout (PostgreSQL 18 and later)", "set idle_replication_slot_timeout = 0; max_slot_wal_keep_size bounds what a slot keeps"},
		{"decoding_memory", i, "logical_decoding_work_mem is so small that the server spools ordinary transactions to disk", "ALTER ROLE … SET logical_decoding_work_mem = '64MB'"},
		{"synchronous", e, "synchronous_standby_names counts walhook as a synchronous standby: Odoo's commits would wait for it", "name the real standbys in synchronous_standby_names, without *"},
		{"messages", e, "rules are on message, and the server is older than PostgreSQL 14, which sends none", "upgrade the server, or carry the events in a table"},
		{"all_tables", w, "another publication is FOR ALL TABLES", "drop it, if nobody needs it"},
		{"source_pooler", w, "a connection pooler stands between walhook and the source", "write the address of PostgreSQL itself in source.dsn"},
		{"replication_refused", e, "the server takes ordinary connections of the role, and no replication connections", "a line for the database in pg_hba.conf; no pooler in source.dsn"},
		{"base_backup", i, `pg_hba.conf lets the role copy the whole cluster (a line for the database "replication")`, "reject the role there: host replication ROLE all reject"},
		{"role_missing", e, "the streaming role does not exist", "CREATE ROLE … LOGIN REPLICATION"},
		{"role_login", e, "the streaming role may not log in", "ALTER ROLE … LOGIN"},
		{"role_replication", e, "the streaming role may not replicate", "ALTER ROLE … REPLICATION"},
		{"role_connect", e, "the streaming role may not connect to the database", "GRANT CONNECT ON DATABASE; or walhook setup --dsn"},
		{"role_expires", w, "the streaming role's password ends soon", "ALTER ROLE … VALID UNTIL"},
		{"role_limit", w, "the streaming role's or the database's connection limit is lower than what walhook needs", "ALTER ROLE or ALTER DATABASE … CONNECTION LIMIT -1"},
		{"owner_cannot_end", w, "the database's owner may not end walhook's sessions: while walhook runs, Odoo cannot duplicate, rename or drop the database", "GRANT the role of source.dsn (and that of state.dsn) TO the owner"},
		{"slot_missing", e, "the replication slot does not exist", "walhook setup; of one that was lost walhook resync"},
		{"slot_blocked", w, "the creation of the slot would wait for open transactions", "let them end, or end them"},
		{"slot_foreign", e, "the slot is physical, another plugin's or another database's", "another name for source.slot"},
		{"slot_lost", e, "the server has removed WAL that the slot needs", "raise max_slot_wal_keep_size, then walhook resync, which repairs the gap from write_date; or drop the slot, walhook setup, walhook run --adopt: the changes in between are lost to the stream"},
		{"slot_temporary", e, "the slot ends with its session", "another name for source.slot"},
		{"slot_active", i, "somebody streams from the slot: walhook, as a rule", "none while walhook runs; pg_terminate_backend otherwise"},
		{"slot_unreserved", e, "the slot is lost at the next checkpoint", "start walhook, or raise max_slot_wal_keep_size"},
		{"slot_headroom", w, "the slot comes near max_slot_wal_keep_size", "let walhook catch up, or raise max_slot_wal_keep_size"},
		{"slot_retained", w, "the slot keeps much WAL on the server's disk", "let walhook catch up"},
		{"failover_version", e, "source.failover needs PostgreSQL 17", "remove source.failover, or upgrade the server"},
		{"failover_primary", e, "source.failover is true, and source.dsn leads to a standby", "remove source.failover, or point source.dsn at the primary"},
		{"failover_slot", w, "the slot is no failover slot although source.failover is true, or is one although it is false", "stop walhook, walhook setup, start walhook"},
		{"failover_copy", w, "no standby seems to keep a copy of the failover slot", "on the standby: sync_replication_slots, hot_standby_feedback, primary_slot_name, and dbname in primary_conninfo"},
		{"failover_ahead", w, "walhook may be ahead of the standbys, whose promotion then refuses its position", "name the standbys' slots in synchronized_standby_slots"},
		{"failover_waits", w, "the server waits for a standby before it sends changes", "start the standby, or take its slot out of synchronized_standby_slots"},
		{"transaction_open", w, "a transaction that is open for long, or prepared and forgotten, keeps WAL and dead rows", "let it end, or end it"},
		{"publication_missing", e, "the publication does not exist", "walhook setup"},
		{"publication_all_tables", e, "the publication is FOR ALL TABLES: Odoo's own writes may fail", "DROP PUBLICATION; walhook setup"},
		{"publication_schemas", e, "the publication holds whole schemas: Odoo's own writes may fail", "walhook setup"},
		{"publication_operations", e, "the publication does not publish all operations", "walhook setup"},
		{"publication_extra", w, "the publication holds tables that no rule needs", "walhook setup"},
		{"table_missing", e, "a table does not exist", "correct the rule, or install the module"},
		{"not_a_table", e, "a view or a foreign table has no changes in WAL", "watch the tables behind it"},
		{"table_unlogged", e, "an unlogged table has no changes in WAL", "ALTER TABLE … SET LOGGED"},
		{"table_temporary", e, "a temporary table has no changes in WAL", "watch a permanent table"},
		{"no_primary_key", e, "a table has no primary key: publishing it would make Odoo's own writes fail", "ALTER TABLE … ADD PRIMARY KEY, or remove the rule"},
		{"not_published", e, "the publication lacks a table", "walhook setup"},
		{"not_streamed", w, "the publication lacks a table whose changes walhook should see, to notice new models and fields or to keep what it looks up", "walhook setup"},
		{"column_list", e, "the publication holds only some columns of a table", "walhook setup"},
		{"row_filter", e, "the publication holds only some rows of a table", "walhook setup"},
		{"partitioned", e, "partitioned tables need PostgreSQL 13", "watch the partitions, or upgrade the server"},
		{"via_root", e, "changes of a partitioned table come under the names of its partitions", "walhook setup"},
		{"identity", e, "a rule needs old values, and the table has no REPLICA IDENTITY FULL", "walhook setup; or where the table may not be altered, name it in [images] tables"},
		{"identity_unusable", e, "a table has no usable replica identity: once published, Odoo's own writes fail", "walhook setup"},
		{"identity_index", e, "a table's replica identity is an index without the primary key: records that are deleted cannot be named", "walhook setup"},
		{"identity_unneeded", i, "a table has REPLICA IDENTITY FULL, and no rule needs it", "ALTER TABLE … REPLICA IDENTITY DEFAULT, if nobody else needs it"},
		{"no_usage", e, "the streaming role may not use a schema that holds tables which rules look records up in; a warning where they are only watched", "walhook setup"},
		{"no_select", e, "the streaming role may not read a table that rules look records up in; a warning where it is only watched", "walhook setup"},
		{"row_security", w, "row-level security may hide rows from the streaming role", "ALTER ROLE … BYPASSRLS"},
		{"writes_fail", e, "UPDATE and DELETE of a table fail now, Odoo's too, because of a publication", "ALTER PUBLICATION … DROP TABLE"},
		{"setup_blocked", w, "open transactions hold tables that setup must alter", "let them end, or end them"},
		{"not_owner", i, "the tables' owner must run a part of setup", "walhook setup --dsn, or the owner runs the SQL of --dry-run"},
	}
}
