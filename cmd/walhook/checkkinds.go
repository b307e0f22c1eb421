package main

import (
	"fmt"
	"slices"
	"text/tabwriter"

	"walhook/cdc"
)

// findingKinds are all kinds of findings: of this machine and the configuration, of the source, of the state. The codes
// are a contract with scripts.
func findingKinds() []cdc.FindingKind {
	kind := func(code string, s cdc.Severity, meaning, remedy string) cdc.FindingKind {
		return cdc.FindingKind{Code: code, Severity: s, Meaning: meaning, Remedy: remedy}
	}
	const e, w, i = cdc.SeverityError, cdc.SeverityWarning, cdc.SeverityInfo
	return slices.Concat([]cdc.FindingKind{
		kind("configuration", w, "something in the configuration is allowed and ill-advised", "as the finding says"),
		kind("no_rules", w, "there is no rule: nothing will be sent", "add a [[rules]] table"),
		kind("config_readable", w, "the configuration file holds secrets, and every user of this machine can read it", "chmod o-r, or ${VARIABLES}, or files"),
		kind("temp_dir", e, "large transactions have no place for temporary files", "name a writable folder in source.temp_dir"),
		kind("temp_dir_small", w, "the folder for temporary files has less than 1 GiB of room", "name a folder on a larger disk in source.temp_dir"),
		kind("temp_dir_memory", w, "the folder for temporary files lies in memory (tmpfs)", "name a folder on a disk in source.temp_dir"),
		kind("endpoint", e, "a certificate or key file of an endpoint cannot be used", "correct the file or its key in [endpoints.NAME.tls]"),
		kind("endpoint_certificate", w, "a client certificate or authority of an endpoint ends within 14 days, or has ended", "renew it"),
		kind("source_unreachable", e, "the source cannot be connected to", "correct source.dsn, role, password or pg_hba.conf, as the finding says"),
		kind("source_unreadable", e, "the server refuses to show what walhook must know", "the grant that the finding names"),
		kind("rule", e, "a rule does not fit the database's models and fields (status 2)", "correct the rule"),
		kind("metadata_privilege", e, "the role may not read Odoo's models and fields", "walhook setup --dsn, or the grants that the finding names"),
		kind("neutralized", e, "the database is a neutralized copy", "none on a copy; walhook run --adopt after a deliberate move"),
		kind("clock_skew", w, "the clock of a server is 30 s or more off this machine's", "NTP on both machines"),
	}, cdc.FindingKinds(), []cdc.FindingKind{
		kind("state_unreachable", e, "the state's database cannot be connected to", "correct state.dsn, role, password or pg_hba.conf, as the finding says"),
		kind("state_unreadable", e, "the state schema cannot be read, or belongs to another role", "hand it and its tables to the role of state.dsn"),
		kind("state_in_source", i, "the state is kept in the source's database", "for production a database of its own: [state] dsn"),
		kind("state_standby", e, "the state's server is a standby", "point state.dsn at the primary"),
		kind("state_fsync", w, "the state's server does not write durably (fsync, full_page_writes)", "turn both on"),
		kind("state_pooler", w, "a connection pooler stands between walhook and the state", "write the address of PostgreSQL itself in state.dsn"),
		kind("state_connections", w, "fewer connections to the state's server are free than state.pool_size and one more", "raise the limit, or lower state.pool_size"),
		kind("state_schema", e, "the state schema is missing or has another version than this program", "walhook setup; a newer walhook when the schema is newer"),
		kind("state_new", i, "the state belongs to no source yet", "walhook setup"),
		kind("state_lost", e, "the state holds no position, and a slot is there that may have been read from", "restore the state's dump, or walhook setup and then walhook run --adopt"),
		kind("state_of_another_source", e, "the state belongs to another cluster, database or slot: one of the two is a copy", "none on a copy; walhook run --adopt after a deliberate move"),
		kind("position_behind", e, "the slot was confirmed past the state's position: changes between them are lost to the stream", "restore a newer dump of the state, or walhook resync; or without a repair walhook run --adopt"),
		kind("position_ahead", e, "the state's position lies beyond the end of the server's WAL: the server was restored from a backup", "walhook run --adopt, if that is to stay"),
		kind("slot_in_use", e, "somebody streams from the slot, and no walhook of this state runs", "stop the other program, or pg_terminate_backend"),
		kind("endpoint_disabled", w, "nothing is sent to an endpoint: it is paused or disabled, or its breaker is open", "walhook endpoints resume NAME"),
		kind("reserved_slot", i, "a slot is reserved for backtests; a warning when it keeps more WAL than it may, or is gone", "walhook rules backtest --release NAME"),
		kind("images_filling", i, "rows of a table in [images] have no image yet; a warning when the job that makes them does not run", "let walhook run, or walhook backfill resume ID"),
		kind("endpoint_gone", w, "deliveries wait for an endpoint that is not configured: they are never sent", "add the endpoint again, or walhook deliveries discard as the finding says"),
	})
}

// printCodes lists the kinds of findings.
func (a *app) printCodes(asJSON bool) error {
	kinds := findingKinds()
	if asJSON {
		type line struct {
			Code     string `json:"code"`
			Severity string `json:"severity"`
			Meaning  string `json:"meaning"`
			Remedy   string `json:"remedy"`
		}
		lines := make([]line, len(kinds))
		for i, k := range kinds {
			lines[i] = line{k.Code, string(k.Severity), k.Meaning, k.Remedy}
		}
		return a.printJSON(lines)
	}
	table := tabwriter.NewWriter(a.stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(table, "CODE\tSEVERITY\tMEANING\tREMEDY")
	for _, k := range kinds {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", k.Code, k.Severity, k.Meaning, k.Remedy)
	}
	return table.Flush()
}
