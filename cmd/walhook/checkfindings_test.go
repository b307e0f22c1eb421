package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"

	"walhook/cdc"
	"walhook/internal/pgserver"
	"walhook/internal/pgtest"
)

// checkCase is a place where things go wrong, in phases: all findings of a phase are provoked at once, looked at once, and mended by what
// their remedies say.
type checkCase struct {
	name    string
	options *pgserver.Options // of a server of its own; nil for the tests' common one
	since   int               // major version of the server that it needs
	config  string
	before  func(*site)
	phases  [][]provocation
}

// provocation is one finding.
type provocation struct {
	code    string
	provoke func(*site)
	says    string                        // part of its message or remedy
	follow  func(*site, finding)          // does what the remedy says
	needs   func(s *site) []cdc.TableNeed // of findings that no rule can bring about, as rules are refused before
	instead []cdc.TableNeed               // where the remedy is to need another table
	unless  func(s *site) bool            // this machine does not allow it
}

// unprovoked are findings that take a server older than those at hand, or a standby of PostgreSQL 17; cdc's TestPreflight has them.
var unprovoked = map[string]string{
	"server_too_old": "PostgreSQL 11",
	"messages":       "PostgreSQL 13", // on 12 and 13: testdata/script/messages.txtar

	// Also in internal/survival, where there is such a standby.
	"failover_slot": "TestFailoverSlot", "failover_copy": "TestFailoverSlot", "failover_ahead": "TestFailoverSlot", "failover_waits": "TestFailoverSlot",
	"failover_primary": "a standby", "slot_synced": "a standby",
}

const checkConfig = `
[source]
dsn  = "$WALHOOK_DSN"
slot = "$SLOT"
idle_advance = "1s"
temp_dir = "."
[http]
listen = "off"
[endpoints.erp]
url = "http://127.0.0.1:1/"
`

const orderRule = `
[[rules]]
name = "confirmed"
model = "sale.order"
on = ["write"]
when = 'before.state != "sale" && after.state == "sale"'
endpoint = "erp"
`

func tableRule(table, on string) string {
	return "[[rules]]\nname = \"r_" + table + "\"\ntable = \"" + table + "\"\non = [\"" + on + "\"]\nendpoint = \"erp\"\n"
}

// olderThan and sinceVersion say that the server is older than a major version, or of that one or a later one.
func olderThan(major int) func(*site) bool {
	return func(s *site) bool { return s.server.Major() < major }
}

func sinceVersion(major int) func(*site) bool {
	return func(s *site) bool { return s.server.Major() >= major }
}

// nothing follows remedies that another one in the same phase has followed already.
func nothing(*site, finding) {}

func oneNeed(schema, table string) func(*site) []cdc.TableNeed {
	return func(s *site) []cdc.TableNeed { return []cdc.TableNeed{{Schema: s.expand(schema), Table: table}} }
}

func checkCases() []checkCase {
	return []checkCase{
		{
			name: "fresh", config: checkConfig + orderRule,
			phases: [][]provocation{{
				{code: "metadata_privilege", follow: bySetup},
				{code: "slot_missing", says: "$SLOT", follow: bySetup},
				{code: "publication_missing", follow: bySetup},
				{code: "state_schema", says: "does not exist", follow: bySetup},
				{code: "not_owner", says: "$OWNER", follow: bySetup},
			}, {
				{code: "state_lost", provoke: func(s *site) { s.role("DELETE FROM walhook.source") }, says: "walhook run --adopt", follow: byAdopting},
			}, {
				{code: "state_new", provoke: func(s *site) {
					s.role("DELETE FROM walhook.source")
					s.super("SELECT pg_drop_replication_slot('$SLOT')")
				}, follow: bySetup},
			}, {
				{code: "state_in_source", follow: func(s *site, _ finding) {
					s.super("CREATE DATABASE state_$DB OWNER $ROLE")
					s.Cleanup(func() { pgtest.DropDatabase(s.T, s.env["SUPER_DSN"], s.expand("state_$DB")) })
					s.env["STATE_DSN"] = strings.Replace(s.env["WALHOOK_DSN"], "/"+s.env["DB"]+"?", "/state_"+s.env["DB"]+"?", 1)
					s.amend("[http]", "[state]\ndsn = \"$STATE_DSN\"\n[http]")
					s.setupUntilAdopted()
				}},
			}},
		},
		{
			name: "tables",
			config: checkConfig + tableRule("t_full", "write") + tableRule("t_nothing", "create") + tableRule("t_index", "create") + tableRule("t_cols", "create") +
				tableRule("t_filter", "create") + tableRule("t_part", "create") + tableRule("shop.item", "create"),
			before: func(s *site) {
				s.owner(`CREATE SCHEMA shop; CREATE TABLE shop.item (id int PRIMARY KEY, v text);
					CREATE TABLE t_full (id int PRIMARY KEY, v text);
					CREATE TABLE t_nothing (id int PRIMARY KEY); ALTER TABLE t_nothing REPLICA IDENTITY NOTHING;
					CREATE TABLE t_index (id int PRIMARY KEY, name text NOT NULL UNIQUE); ALTER TABLE t_index REPLICA IDENTITY USING INDEX t_index_name_key;
					CREATE TABLE t_cols (id int PRIMARY KEY, v text); CREATE TABLE t_filter (id int PRIMARY KEY);
					CREATE TABLE t_part (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE t_part_1 PARTITION OF t_part FOR VALUES FROM (0) TO (9);
					CREATE TABLE t_extra (id int PRIMARY KEY); CREATE TABLE t_loose (a int);
					GRANT SELECT ON ir_model, ir_model_fields, ir_model_fields_selection, ir_config_parameter, ir_module_module TO $ROLE`)
				published := "t_cols (id), t_filter WHERE (id > 0), t_part, "
				switch major := s.server.Major(); {
				case major < 13:
					published = "t_cols, t_filter, "
				case major < 15:
					published = "t_cols, t_filter, t_part, "
				}
				s.owner("CREATE PUBLICATION walhook FOR TABLE " + published + "t_extra, t_loose WITH (publish = 'insert, update, delete')")
			},
			phases: [][]provocation{{
				{code: "writes_fail", says: "t_loose", follow: bySQL},
				{code: "identity", says: `ALTER TABLE ONLY "public"."t_full" REPLICA IDENTITY FULL`, follow: bySQL},
				{code: "identity_unusable", says: "t_nothing", follow: bySQL},
				{code: "identity_index", says: "over name", follow: bySQL},
				{code: "partitioned", unless: sinceVersion(13), says: "t_part", follow: func(s *site, _ finding) { s.amend(`"t_part"`, `"t_part_1"`) }},
				{code: "column_list", unless: olderThan(15), says: "t_cols", follow: bySetup},
				{code: "row_filter", unless: olderThan(15), says: "t_filter", follow: bySetup},
				{code: "via_root", unless: olderThan(13), says: "t_part", follow: bySQL},
				{code: "publication_operations", follow: bySQL},
				{code: "publication_extra", says: "t_extra", follow: bySetup},
				{code: "not_published", says: "t_full", follow: bySetup},
				{code: "no_usage", says: `"shop"`, follow: bySQL},
				{code: "no_select", says: "may not SELECT from", follow: bySetup},
			}},
		},
		{
			name: "publications", config: checkConfig + tableRule("t", "create"),
			before: func(s *site) {
				s.owner("CREATE SCHEMA shop; CREATE TABLE t (id int PRIMARY KEY)")
				if s.server.Major() < 15 { // no schemas
					s.walhook("setup", "--dsn", "$SUPER_DSN")
				}
			},
			phases: [][]provocation{{
				{code: "publication_schemas", unless: olderThan(15), provoke: func(s *site) { s.super("CREATE PUBLICATION walhook FOR TABLES IN SCHEMA shop") }, says: "shop", follow: func(s *site, _ finding) { s.walhook("setup", "--dsn", "$SUPER_DSN") }},
			}, {
				{code: "all_tables", says: "others", provoke: func(s *site) { s.super("CREATE PUBLICATION others FOR ALL TABLES") }, follow: bySQL},
				{code: "publication_all_tables", says: "FOR ALL TABLES", provoke: func(s *site) {
					s.super("DROP PUBLICATION IF EXISTS walhook; CREATE PUBLICATION walhook FOR ALL TABLES")
				}, follow: func(s *site, f finding) {
					bySQL(s, f)
					bySetup(s, f)
				}},
				{code: "writes_fail", says: "FOR ALL TABLES", follow: nothing},
			}},
		},
		{
			name: "odd tables", config: checkConfig,
			before: func(s *site) {
				s.owner("CREATE TABLE good (id int PRIMARY KEY); CREATE VIEW seen AS SELECT * FROM good; CREATE UNLOGGED TABLE scratch (id int PRIMARY KEY); CREATE TABLE keyless (a int NOT NULL)")
			},
			phases: [][]provocation{{
				{code: "table_missing", needs: oneNeed("public", "nobody"), follow: func(s *site, _ finding) { s.owner("CREATE TABLE nobody (id int PRIMARY KEY)") }},
				{code: "not_a_table", needs: oneNeed("public", "seen"), follow: nothing, instead: []cdc.TableNeed{{Schema: "public", Table: "good"}}},
				{code: "table_unlogged", needs: oneNeed("public", "scratch"), follow: bySQL},
				{code: "table_temporary", provoke: func(s *site) {
					var temp string
					conn := s.held(s.env["OWNER_DSN"], nil)
					if _, err := conn.Exec(context.Background(), "CREATE TEMP TABLE gone (id int PRIMARY KEY)"); err != nil {
						s.Fatal(err)
					}
					if err := conn.QueryRow(context.Background(), "SELECT nspname::text FROM pg_namespace WHERE oid = pg_my_temp_schema()").Scan(&temp); err != nil {
						s.Fatal(err)
					}
					s.env["TEMP"] = temp
				}, needs: oneNeed("$TEMP", "gone"), follow: nothing, instead: []cdc.TableNeed{{Schema: "public", Table: "good"}}},
				{code: "no_primary_key", needs: oneNeed("public", "keyless"), follow: func(s *site, f finding) {
					sql, _, _ := strings.Cut(f.Hint, ", or")
					s.super(strings.Replace(sql, "(…)", "(a)", 1))
				}},
			}},
		},
		{
			name: "roles", config: checkConfig + orderRule + tableRule("res_partner", "create"),
			before: (*site).setup,
			phases: [][]provocation{{
				{code: "role_missing", provoke: func(s *site) {
					u, err := url.Parse(s.env["WALHOOK_DSN"])
					if err != nil {
						s.Fatal(err)
					}
					u.User = url.UserPassword("nobody_"+s.env["DB"], "secret")
					s.env["NOBODY_DSN"] = u.String()
					s.amend("$WALHOOK_DSN", "$NOBODY_DSN")
				}, says: "nobody_$DB", follow: bySQLWith("secret")},
				{code: "source_unreachable", says: "CREATE ROLE", follow: nothing},
			}, {
				{code: "role_login", provoke: func(s *site) {
					s.amend("$NOBODY_DSN", "$WALHOOK_DSN")
					s.super("ALTER ROLE $ROLE NOLOGIN NOREPLICATION; REVOKE CONNECT ON DATABASE $DB FROM PUBLIC")
				}, follow: bySQL},
				{code: "role_connect", follow: bySQL},
				{code: "role_replication", follow: bySQL},
			}, {
				{code: "role_expires", provoke: func(s *site) {
					s.super("DO 'BEGIN EXECUTE format(''ALTER ROLE $ROLE VALID UNTIL %L'', now() + interval ''2 days''); END'")
				}, follow: bySQL},
				{code: "role_limit", provoke: func(s *site) { s.super("ALTER ROLE $ROLE CONNECTION LIMIT 5; ALTER DATABASE $DB CONNECTION LIMIT 6") }, follow: func(s *site, f finding) {
					bySQL(s, f)
					again := s.check().find("role_limit") // the database's is a finding of its own
					bySQL(s, *again)
				}},
				{code: "decoding_memory", unless: olderThan(13), provoke: func(s *site) { s.super("ALTER ROLE $ROLE SET logical_decoding_work_mem = '64kB'") }, follow: bySQL},
				{code: "failover_version", unless: sinceVersion(cdc.MinFailover),
					provoke: func(s *site) { s.amend("idle_advance", "failover = true\nidle_advance") }, says: "need 17 or later", follow: func(s *site, _ finding) { s.amend("failover = true\n", "") }},
				{code: "row_security", provoke: func(s *site) { s.owner("ALTER TABLE sale_order ENABLE ROW LEVEL SECURITY") }, follow: bySQL},
				{code: "identity_unneeded", provoke: func(s *site) { s.owner("ALTER TABLE res_partner REPLICA IDENTITY FULL") }, follow: bySQL},
			}},
		},
		{
			name: "owner", config: checkConfig + orderRule, before: (*site).setup,
			phases: [][]provocation{{
				{code: "owner_cannot_end", says: `GRANT "$ROLE" TO "$OWNER"`, follow: bySQL},
			}, {
				{code: "owner_cannot_end", provoke: func(s *site) {
					s.super("ALTER ROLE $OWNER NOINHERIT")
					if s.server.Major() >= 16 {
						s.super("GRANT $ROLE TO $OWNER WITH INHERIT FALSE")
					}
				}, says: "INHERIT", follow: bySQL},
			}, {
				{code: "owner_cannot_end", provoke: func(s *site) { // the state's role is another one
					s.super("CREATE ROLE keeper_$DB LOGIN")
					s.Cleanup(func() { s.super("DROP ROLE keeper_$DB") })
					s.amend("[http]", "[state]\ndsn = \"postgres://keeper_$DB@127.0.0.1:$DB_PORT/$DB?sslmode=disable\"\n[http]")
				}, says: `GRANT "keeper_$DB" TO "$OWNER"`, follow: bySQL},
			}, {
				{code: "owner_cannot_end", provoke: func(s *site) { // no membership in a circle
					s.super("REVOKE $ROLE FROM $OWNER; GRANT $OWNER TO $ROLE")
				}, says: `GRANT pg_signal_backend TO "$OWNER"`, follow: bySQL},
			}, {
				{code: "owner_cannot_end", provoke: func(s *site) {
					s.super("REVOKE pg_signal_backend FROM $OWNER; REVOKE $OWNER FROM $ROLE; ALTER ROLE $ROLE SUPERUSER; GRANT $ROLE TO $OWNER")
				}, says: "NOSUPERUSER", follow: bySQL},
			}},
		},
		{
			name: "slots", config: checkConfig + orderRule, before: (*site).setup,
			phases: [][]provocation{{
				{code: "slot_foreign", says: "physical", provoke: func(s *site) {
					s.super("SELECT pg_create_physical_replication_slot('other_$DB')")
					s.amend(`slot = "$SLOT"`, `slot = "other_$DB"`)
				}, follow: func(s *site, _ finding) {
					s.super("SELECT pg_drop_replication_slot('other_$DB')")
					s.amend(`slot = "other_$DB"`, `slot = "$SLOT"`)
				}},
			}, {
				{code: "slot_temporary", provoke: func(s *site) {
					conn := s.held(s.env["WALHOOK_DSN"], nil)
					if _, err := conn.Exec(context.Background(), "SELECT pg_create_logical_replication_slot($1, 'pgoutput', true)", "temp_"+s.env["DB"]); err != nil {
						s.Fatal(err)
					}
					s.amend(`slot = "$SLOT"`, `slot = "temp_$DB"`)
				}, follow: func(s *site, _ finding) { s.amend(`slot = "temp_$DB"`, `slot = "$SLOT"`) }},
			}, {
				{code: "slot_active", provoke: func(s *site) {
					conn := s.held(s.env["WALHOOK_DSN"], map[string]string{"replication": "database"})
					if err := pglogrepl.StartReplication(context.Background(), conn.PgConn(), s.env["SLOT"], 0,
						pglogrepl.StartReplicationOptions{PluginArgs: []string{"proto_version '1'", "publication_names 'walhook'"}}); err != nil {
						s.Fatal(err)
					}
				}, says: "pg_terminate_backend", follow: func(s *site, f finding) {
					bySQL(s, f)
					s.await("SELECT NOT active FROM pg_replication_slots WHERE slot_name = '$SLOT'")
				}},
				{code: "slot_in_use", says: "somebody else's", follow: nothing},
			}},
		},
		serverCase(),
		{
			name: "poolers", config: strings.Replace(checkConfig, "[http]", "[state]\ndsn = \"$STATE_DSN\"\n[http]", 1) + orderRule,
			before: func(s *site) {
				pooled := strings.Replace(s.env["WALHOOK_DSN"], "127.0.0.1:"+s.env["DB_PORT"], startPooler(s.T, "127.0.0.1:"+s.env["DB_PORT"]), 1)
				s.env["POOLED_DSN"], s.env["STATE_DSN"] = pooled, s.env["WALHOOK_DSN"]
				s.configure(strings.Replace(checkConfig, "[http]", "[state]\ndsn = \"$STATE_DSN\"\n[http]", 1) + orderRule)
				s.setup()
			},
			phases: [][]provocation{{
				{code: "source_pooler", provoke: func(s *site) {
					s.amend("[source]\ndsn  = \"$WALHOOK_DSN\"", "[source]\ndsn  = \"$POOLED_DSN\"")
				}, follow: func(s *site, _ finding) {
					s.amend("[source]\ndsn  = \"$POOLED_DSN\"", "[source]\ndsn  = \"$WALHOOK_DSN\"")
				}},
				{code: "replication_refused", says: "pg_hba.conf", follow: nothing},
			}, {
				{code: "state_pooler", provoke: func(s *site) { s.amend("[state]\ndsn = \"$STATE_DSN\"", "[state]\ndsn = \"$POOLED_DSN\"") },
					follow: func(s *site, _ finding) { s.amend("[state]\ndsn = \"$POOLED_DSN\"", "[state]\ndsn = \"$STATE_DSN\"") }},
			}},
		},
		{
			name: "machine", config: checkConfig, before: machineSite,
			phases: [][]provocation{{
				{code: "configuration", says: "set tls.ca_file instead", provoke: func(s *site) {
					s.amend("[http]", "[endpoints.open]\nurl = \"https://127.0.0.1:1/\"\ntls = { insecure_skip_verify = true }\n[http]")
				},
					follow: func(s *site, _ finding) { s.amend("insecure_skip_verify = true", "ca_file = \"$DIR/ca.pem\"") }},
				{code: "no_rules", follow: func(s *site, _ finding) { s.amend("[http]", orderRule+"[http]") }},
				{code: "config_readable", says: "endpoints.erp.secrets", provoke: func(s *site) {
					s.amend(`url = "http://127.0.0.1:1/"`, "url = \"http://127.0.0.1:1/\"\nsecrets = [\"$SECRET\"]")
					if err := os.Chmod(s.config, 0o644); err != nil {
						s.Fatal(err)
					}
				}, follow: func(s *site, f finding) {
					command, _, _ := strings.Cut(f.Hint, ",")
					if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
						s.Errorf("%s: %v %s", command, err, out)
					}
				}},
				{code: "temp_dir", unless: func(*site) bool { return runtime.GOOS != "linux" }, provoke: func(s *site) { s.amend(`temp_dir = "."`, `temp_dir = "/proc"`) }, says: "source.temp_dir", // where not even root can
					follow: func(s *site, _ finding) { s.amend(`temp_dir = "/proc"`, `temp_dir = "."`) }},
				{code: "endpoint", provoke: func(s *site) {
					for _, name := range []string{"none.pem", "none.key"} {
						if err := os.WriteFile(filepath.Join(s.env["DIR"], name), []byte("no PEM"), 0o600); err != nil {
							s.Fatal(err)
						}
					}
					s.amend("[http]", "[endpoints.mtls]\nurl = \"https://127.0.0.1:1/\"\ntls = { cert_file = \"$DIR/none.pem\", key_file = \"$DIR/none.key\" }\n[http]")
				}, says: "endpoints.mtls.tls.cert_file", follow: func(s *site, _ finding) {
					s.amend("none.pem", "cert.pem")
					s.amend("none.key", "cert.key")
				}},
				{code: "endpoint_disabled", provoke: func(s *site) { s.walhook("endpoints", "pause", "erp", "--reason", "maintenance") }, says: "maintenance",
					follow: func(s *site, f finding) { s.walhook(strings.Fields(f.Hint)[1:]...) }},
				{code: "endpoint_gone", provoke: func(s *site) {
					s.role(`CREATE TABLE walhook.delivery_20010101 PARTITION OF walhook.delivery FOR VALUES FROM ('2001-01-01') TO ('2001-01-02')`)
					s.role(`INSERT INTO walhook.delivery (seq, day, id, endpoint, lane, rule, event, model, record, op, late, commit_lsn, xid, commit_at, enqueued_at, content_type, body)
						VALUES (1, '2001-01-01', 'msg_old', 'old', 'm/1', 'r', 'e', 'm', '1', 'create', false, '0/1', 1, now(), now(), 'application/json', '{}')`)
					s.role(`INSERT INTO walhook.lane (endpoint, key, due) VALUES ('old', 'm/1', now())`)
					s.role(`INSERT INTO walhook.queue (endpoint, lane, seq, day, bytes) VALUES ('old', 'm/1', 1, '2001-01-01', 2)`)
					s.role(`INSERT INTO walhook.tally (endpoint, pending, pending_bytes) VALUES ('old', 1, 2)`)
					s.role(`UPDATE walhook.source SET last_seq = greatest(last_seq, 1)`)
				}, says: `1 delivery waits for endpoint "old"`, follow: func(s *site, f finding) {
					_, command, _ := strings.Cut(f.Hint, "give them up: walhook ")
					s.walhook(append(strings.Fields(command), "--yes")...)
				}},
				{code: "clock_skew", provoke: func(s *site) { s.now = func() time.Time { return time.Now().Add(-time.Minute) } }, says: "1m0s ahead of",
					follow: func(s *site, _ finding) { s.now = time.Now }},
			}, {
				{code: "endpoint_certificate", provoke: func(s *site) { certificate(s, "cert", 48*time.Hour) }, says: "cert.pem", follow: func(s *site, _ finding) { certificate(s, "cert", 1000*time.Hour) }},
			}, {
				{code: "temp_dir_memory", unless: func(s *site) bool { return s.env["MEMORY"] == "" }, provoke: func(s *site) { s.amend(`temp_dir = "."`, `temp_dir = "$MEMORY"`) }, follow: func(s *site, _ finding) { s.amend(`temp_dir = "$MEMORY"`, `temp_dir = "."`) }},
				{code: "temp_dir_small", unless: func(s *site) bool { return s.env["MEMORY"] == "" }, follow: nothing},
			}},
		},
		{
			name: "source", config: checkConfig + orderRule, before: (*site).setup,
			phases: [][]provocation{{
				{code: "rule", provoke: func(s *site) { s.amend("after.state ==", "after.stat ==") }, says: `did you mean "state"?`, follow: func(s *site, _ finding) { s.amend("after.stat ==", "after.state ==") }},
			}, {
				{code: "not_streamed", provoke: func(s *site) { s.owner("ALTER PUBLICATION walhook DROP TABLE ir_model_fields") }, says: "ir_model_fields", follow: bySetup},
				{code: "images_filling", provoke: func(s *site) {
					s.role("INSERT INTO walhook.image_table (schema_name, table_name) VALUES ('public', 'res_partner')")
				}, says: "public.res_partner: 0 rows so far", follow: func(s *site, _ finding) { s.role("UPDATE walhook.image_table SET filled_at = now()") }},
				{code: "reserved_slot", provoke: func(s *site) { s.walhook("rules", "backtest", "--reserve", "${SLOT}_try", "--limit", "1GiB") }, says: "${SLOT}_try", follow: func(s *site, _ finding) {
					s.walhook("rules", "backtest", "--release", "${SLOT}_try")
				}},
			}, {
				{code: "neutralized", provoke: func(s *site) {
					s.owner("INSERT INTO ir_config_parameter (key, value) VALUES ('database.is_neutralized', 'true')")
				},
					follow: func(s *site, _ finding) {
						s.owner("DELETE FROM ir_config_parameter WHERE key = 'database.is_neutralized'")
					}},
			}, {
				{code: "source_unreadable", provoke: func(s *site) { s.super("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC") }, says: "pg_control_system", follow: bySQL},
			}},
		},
		{
			name: "state", config: checkConfig + orderRule, before: (*site).setup,
			phases: [][]provocation{{
				{code: "state_unreachable", provoke: func(s *site) { s.amend("[http]", "[state]\ndsn = \"postgres://walhook@127.0.0.1:1/walhook\"\n[http]") }, says: "127.0.0.1:1",
					follow: func(s *site, _ finding) {
						s.amend("[state]\ndsn = \"postgres://walhook@127.0.0.1:1/walhook\"\n[http]", "[http]")
					}},
			}, {
				{code: "state_unreadable", provoke: func(s *site) { s.super("ALTER TABLE walhook.source OWNER TO postgres") }, says: "OWNER TO",
					follow: func(s *site, _ finding) { s.super("ALTER TABLE walhook.source OWNER TO $ROLE") }},
			}, {
				{code: "state_schema", says: "newer walhook", provoke: func(s *site) {
					s.role("INSERT INTO walhook.migration (version, name, walhook) VALUES ((SELECT max(version) + 1 FROM walhook.migration), 'future', 'later')")
				}, follow: func(s *site, _ finding) { s.role("DELETE FROM walhook.migration WHERE name = 'future'") }},
			}, {
				{code: "state_of_another_source", provoke: func(s *site) { s.role("UPDATE walhook.source SET database_oid = database_oid + 1") }, says: "database oid",
					follow: func(s *site, _ finding) { s.role("UPDATE walhook.source SET database_oid = database_oid - 1") }},
			}, {
				{code: "position_behind", provoke: func(s *site) {
					s.owner("INSERT INTO res_partner (name) VALUES ('A')")
					s.super("SELECT pg_replication_slot_advance('$SLOT', pg_current_wal_lsn())")
				}, says: "walhook run --adopt", follow: byAdopting},
			}, {
				{code: "position_ahead", provoke: func(s *site) { s.role("UPDATE walhook.source SET lsn = '7F/0'") }, says: "walhook run --adopt", follow: byAdopting},
			}, {
				{code: "state_connections", provoke: func(s *site) {
					s.super("CREATE ROLE keeper_$DB LOGIN CONNECTION LIMIT 8")
					s.super("CREATE DATABASE keep_$DB OWNER keeper_$DB")
					s.Cleanup(func() {
						pgtest.DropDatabase(s.T, s.env["SUPER_DSN"], s.expand("keep_$DB"))
						s.super("DROP ROLE keeper_$DB")
					})
					s.amend("[http]", "[state]\ndsn = \"postgres://keeper_$DB@localhost:$DB_PORT/keep_$DB?sslmode=disable\"\n[http]")
				}, says: "CONNECTION LIMIT -1", follow: bySQL},
			}},
		},
	}
}

// serverCase has a server of its own, whose settings change from phase to phase.
func serverCase() checkCase {
	return checkCase{
		name: "server", since: 13, config: checkConfig + orderRule, // max_slot_wal_keep_size
		options: &pgserver.Options{Trust: true, HBA: []string{"host replication all 127.0.0.1/32 trust"}, Settings: map[string]string{
			"wal_level": "replica", "max_replication_slots": "1", "max_wal_senders": "1", "max_connections": "15", "max_prepared_transactions": "2",
			"max_slot_wal_keep_size": "512MB", "max_wal_size": "1GB", "min_wal_size": "32MB", "fsync": "off", "shared_buffers": "16MB", "synchronous_commit": "off",
		}},
		before: func(s *site) {
			s.owner("GRANT SELECT ON ir_model, ir_model_fields, ir_model_fields_selection, ir_config_parameter, ir_module_module TO $ROLE")
			s.owner("BEGIN; INSERT INTO sale_order (name, state, partner_id, partner_invoice_id, partner_shipping_id, date_order) VALUES ('S1', 'draft', 1, 1, 1, now()); PREPARE TRANSACTION 'forgotten'")
			s.super("SELECT pg_create_physical_replication_slot('standby')")
			s.held(s.env["SUPER_DSN"], map[string]string{"replication": "database"})
		},
		phases: [][]provocation{{
			{code: "wal_level", says: "restart the server", follow: bySQL},
			{code: "no_free_slot", follow: bySQL},
			{code: "no_free_sender", follow: bySQL},
			{code: "connections_short", follow: bySQL},
			{code: "configuration", provoke: func(s *site) { s.amend("[http]", "[source.guard]\nmax_retained = \"1GiB\"\naction = \"stop\"\n[http]") },
				says: "512.0 MiB", follow: func(s *site, _ finding) { s.amend("1GiB", "256MiB") }},
			{code: "wal_limit_low", follow: bySQL},
			{code: "slot_idle_limit", unless: olderThan(18), provoke: func(s *site) { s.set("idle_replication_slot_timeout", "1h") },
				says: "1h0m0s", follow: bySQL},
			{code: "state_fsync", follow: bySQL},
			{code: "slot_blocked", says: `prepared transaction "forgotten"`, follow: nothing},
			{code: "setup_blocked", says: `prepared transaction "forgotten"`, follow: func(s *site, f finding) {
				bySQL(s, f)
				s.restart()
			}},
		}, {
			{code: "base_backup", follow: func(s *site, f finding) {
				_, line, found := strings.Cut(f.Hint, "reload: ")
				if !found {
					s.Fatalf("no line in %q", f.Hint)
				}
				path := filepath.Join(s.server.DataDir(), "pg_hba.conf")
				text, err := os.ReadFile(path)
				if err != nil {
					s.Fatal(err)
				}
				if err := os.WriteFile(path, append([]byte(line+"\n"), text...), 0o600); err != nil {
					s.Fatal(err)
				}
				s.super("SELECT pg_reload_conf()")
				s.await("SELECT count(*) = 1 FROM pg_hba_file_rules WHERE database = '{replication}' AND auth_method = 'reject'")
			}},
			{code: "transaction_open", provoke: func(s *site) {
				s.set("fsync", "off") // what follows writes many segments
				s.setup()
				s.owner("BEGIN; INSERT INTO res_partner (name) VALUES ('A'); PREPARE TRANSACTION 'forgotten again'")
			}, says: "forgotten again", follow: bySQL},
		}, {
			{code: "synchronous", provoke: func(s *site) {
				s.super("ALTER SYSTEM SET synchronous_standby_names = '*'")
				s.super("SELECT pg_reload_conf()")
				s.await("SELECT current_setting('synchronous_standby_names') = '*'")
			}, follow: func(s *site, f finding) {
				bySQLWith("")(s, f)
				s.await("SELECT current_setting('synchronous_standby_names') = ''")
			}},
		}, {
			{code: "wal_unlimited", provoke: func(s *site) {
				s.set("max_slot_wal_keep_size", "-1")
				s.set("max_wal_size", "32MB")
				for range 10 {
					s.segment()
				}
			}, follow: bySQL},
			{code: "slot_retained", follow: func(s *site, _ finding) { s.streams() }},
		}, {
			{code: "slot_headroom", provoke: func(s *site) {
				s.set("max_slot_wal_keep_size", "160MB")
				for s.text("SELECT (safe_wal_size < 32 << 20)::text FROM pg_replication_slots WHERE slot_name = '$SLOT'") != "true" {
					s.segment()
				}
			}, follow: func(s *site, _ finding) { s.set("max_slot_wal_keep_size", "10GB") }},
		}, {
			{code: "slot_unreserved", provoke: func(s *site) {
				s.set("max_wal_size", "1GB") // no checkpoint meanwhile, which would end it
				s.set("max_slot_wal_keep_size", "32MB")
				for s.text("SELECT wal_status FROM pg_replication_slots WHERE slot_name = '$SLOT'") != "unreserved" {
					s.segment()
				}
			}, follow: func(s *site, f finding) {
				bySQLWith("10GB")(s, f)
				s.await("SELECT wal_status <> 'unreserved' FROM pg_replication_slots WHERE slot_name = '$SLOT'")
			}},
		}, {
			{code: "slot_lost", provoke: func(s *site) {
				s.set("max_slot_wal_keep_size", "16MB")
				for s.text("SELECT wal_status FROM pg_replication_slots WHERE slot_name = '$SLOT'") != "lost" {
					s.segment()
					s.super("CHECKPOINT")
				}
				s.set("max_slot_wal_keep_size", "10GB")
			}, says: "walhook run --adopt", follow: startOver},
		}, {
			{code: "state_standby", provoke: (*site).standBy, says: "state.dsn", follow: func(s *site, _ finding) { s.super("SELECT pg_promote()") }},
			{code: "standby", unless: sinceVersion(cdc.MinStandby), says: "source.dsn", follow: nothing},
			{code: "standby_feedback", unless: olderThan(cdc.MinStandby), says: "hot_standby_feedback", follow: nothing},
		}},
	}
}

// set changes a setting of the site's own server.
func (s *site) set(name, value string) {
	s.Helper()
	s.super("ALTER SYSTEM SET " + name + " = '" + value + "'")
	s.super("SELECT pg_reload_conf()")
	s.await("SELECT current_setting('" + name + "') = '" + value + "'")
}

// standBy makes the site's own server a standby.
func (s *site) standBy() {
	s.Helper()
	ctx := context.Background()
	if err := s.server.Stop(ctx); err != nil {
		s.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.server.DataDir(), "standby.signal"), nil, 0o644); err != nil {
		s.Fatal(err)
	}
	if err := s.server.Resume(ctx); err != nil {
		s.Fatal(err)
	}
}

// segment fills a segment of WAL.
func (s *site) segment() {
	s.Helper()
	s.super("SELECT pg_logical_emit_message(false, 'fill', 'x'); SELECT pg_switch_wal()")
}

// startOver does what [cdc.StartOver] says.
func startOver(s *site, f finding) {
	s.Helper()
	s.super("SELECT pg_drop_replication_slot('$SLOT')")
	s.setupUntilAdopted()
	byAdopting(s, f)
}

// byAdopting goes on from where the slot stands.
func byAdopting(s *site, f finding) {
	s.Helper()
	if !strings.Contains(f.Hint, "walhook run --adopt") {
		s.Errorf("%s: the remedy is another one: %q", f.Code, f.Hint)
	}
	s.streams("--adopt")
}

// machineSite has certificates, and a small folder in memory where the machine allows one.
func machineSite(s *site) {
	s.setup()
	s.env["DIR"] = s.TempDir()
	certificate(s, "cert", 1000*time.Hour)
	certificate(s, "ca", 1000*time.Hour)
	memory := filepath.Join(s.env["DIR"], "memory")
	if err := os.Mkdir(memory, 0o700); err != nil {
		s.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", memory).CombinedOutput(); err != nil {
		s.Logf("no tmpfs may be mounted (%v %s): temp_dir_memory and temp_dir_small are not provoked on this machine", err, out)
		return
	}
	s.env["MEMORY"] = memory
	s.Cleanup(func() {
		if err := exec.Command("umount", memory).Run(); err != nil {
			s.Error(err)
		}
	})
}

// certificate writes a certificate and its key that end so much later.
func certificate(s *site, name string, life time.Duration) {
	s.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "walhook " + name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(life),
		IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		s.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		s.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(s.env["DIR"], file), pem.EncodeToMemory(block), 0o600); err != nil {
			s.Fatal(err)
		}
	}
}

// startPooler stands in front of a server as a connection pooler does: it refuses replication, and gives its clients process ids of its own making.
func startPooler(t *testing.T, server string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		all.Wait()
	})
	all.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer client.Close()
				pool(client, server)
			})
		}
	})
	return l.Addr().String()
}

// pool serves one client of a pooler.
func pool(client net.Conn, server string) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(client, head); err != nil {
		return
	}
	startup := make([]byte, binary.BigEndian.Uint32(head)-4)
	if _, err := io.ReadFull(client, startup); err != nil {
		return
	}
	if bytes.Contains(startup, []byte("\x00replication\x00")) {
		body := "SFATAL\x00VFATAL\x00C08P01\x00Munsupported startup parameter: replication\x00\x00"
		client.Write(append(binary.BigEndian.AppendUint32([]byte{'E'}, uint32(len(body)+4)), body...))
		return
	}
	behind, err := net.Dial("tcp", server)
	if err != nil {
		return
	}
	defer behind.Close()
	behind.Write(append(head, startup...))
	go func() {
		io.Copy(behind, client)
		behind.Close()
	}()
	for kind := byte(0); kind != 'Z'; { // until the server is ready, message by message
		head := make([]byte, 5)
		if _, err := io.ReadFull(behind, head); err != nil {
			return
		}
		body := make([]byte, binary.BigEndian.Uint32(head[1:])-4)
		if _, err := io.ReadFull(behind, body); err != nil {
			return
		}
		if kind = head[0]; kind == 'K' {
			binary.BigEndian.PutUint32(body, 77)
		}
		if _, err := client.Write(append(head, body...)); err != nil {
			return
		}
	}
	io.Copy(client, behind)
}
