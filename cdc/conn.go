package cdc

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// ApplicationName is how the names of walhook's sessions begin in pg_stat_activity: walhook/stream, walhook/lookups …
const ApplicationName = "walhook"

// applicationName names the sessions of a part.
func applicationName(part string) string { return ApplicationName + "/" + part }

// pins are the settings that decide how the server writes values as text, and
// those that could end a long-lived session. Roles and databases may have others
// (trap 9); settings sent at connection start win over both.
var pins = map[string]string{
	"DateStyle":                           "ISO, MDY",
	"TimeZone":                            "UTC",
	"IntervalStyle":                       "postgres",
	"bytea_output":                        "hex",
	"extra_float_digits":                  "3",
	"client_encoding":                     "UTF8",
	"client_min_messages":                 "warning", // see noticeError
	"standard_conforming_strings":         "on",
	"application_name":                    applicationName("command"),
	"statement_timeout":                   "0",
	"lock_timeout":                        "0",
	"idle_in_transaction_session_timeout": "0",
}

// unbounded takes limits off a session that only some servers have, and that a connection's start therefore cannot name: of a session without work
// (PostgreSQL 14 and later), and of a transaction (17 and later), which would end a stream in the middle of each large transaction, again and again.
const unbounded = `SELECT pg_catalog.set_config(name, '0', false) FROM (VALUES ('idle_session_timeout'), ('transaction_timeout')) AS limits(name)
	WHERE pg_catalog.current_setting(name, true) IS NOT NULL`

// unbind runs unbounded.
func unbind(ctx context.Context, pg *pgconn.PgConn) error {
	if serverMajor(pg) < 14 {
		return nil
	}
	return pg.Exec(ctx, unbounded).Close()
}

// parseDSN parses a connection string, pins the session's settings and turns TCP
// keepalive on. Host names are resolved again at every connection attempt.
func parseDSN(dsn string) (*pgx.ConnConfig, error) {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, &RefusedError{Reason: "source.dsn is no connection string", Err: err,
			Remedy: `write it as "postgres://user:password@host:5432/database" or "host=… user=… dbname=…"`}
	}
	for key := range cfg.RuntimeParams {
		for pin := range pins {
			if strings.EqualFold(key, pin) {
				delete(cfg.RuntimeParams, key)
			}
		}
	}
	for pin, value := range pins {
		cfg.RuntimeParams[pin] = value
	}
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec // nothing is cached that DDL could make stale
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = 15 * time.Second
	}
	dialer := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3,
	}}
	cfg.DialFunc = dialer.DialContext
	cfg.AfterConnect = unbind
	PreferPrimary(&cfg.Config, dsn)
	return cfg, nil
}

// PreferPrimary makes connections of a DSN that names several hosts go to the one that is no standby, unless the DSN itself says
// otherwise (target_session_attrs). It does not ask whether writes are allowed: a role may be read-only by default.
func PreferPrimary(cfg *pgconn.Config, dsn string) {
	if cfg.ValidateConnect != nil || strings.Contains(dsn, "target_session_attrs") {
		return
	}
	for _, f := range cfg.Fallbacks {
		if f.Host != cfg.Host || f.Port != cfg.Port {
			cfg.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsPrimary
		}
	}
}

// replicationConfig is parseDSN's, for a connection that speaks the replication
// protocol and SQL both. It is for one connection.
func replicationConfig(dsn string) (*pgconn.Config, error) {
	cfg, err := parseDSN(dsn)
	if err != nil {
		return nil, err
	}
	cfg.RuntimeParams["replication"] = "database"
	var in *inflow // of the last attempt
	cfg.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		in = newInflow(r)
		return pgproto3.NewFrontend(in, w)
	}
	cfg.AfterConnect = func(ctx context.Context, pg *pgconn.PgConn) error {
		_, in.records = pg.Conn().(*tls.Conn)
		pg.CustomData()[inflowKey] = in
		return unbind(ctx, pg)
	}
	return &cfg.Config, nil
}

// inflowKey is under what a replication connection keeps its inflow.
const inflowKey = "walhook.inflow"

// serverMajor reads the major version that the server announced; 0 when it did not.
func serverMajor(conn *pgconn.PgConn) int {
	major := 0
	if _, err := fmt.Sscanf(conn.ParameterStatus("server_version"), "%d", &major); err != nil {
		return 0
	}
	return major
}

// simpleQuery runs one statement on a replication connection, which knows only the simple
// protocol, and returns its rows as text; nil for NULL.
func simpleQuery(ctx context.Context, conn *pgconn.PgConn, sql string) ([][][]byte, error) {
	results, err := conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, err
	}
	if len(results) == 0 {
		return nil, nil
	}
	last := results[len(results)-1]
	return last.Rows, last.Err
}

// quoteIdent quotes a name for SQL. Names are never folded.
func quoteIdent(name string) string { return pgx.Identifier{name}.Sanitize() }

// quoteTable quotes a qualified table name for SQL.
func quoteTable(schema, table string) string { return pgx.Identifier{schema, table}.Sanitize() }

// quoteText quotes a text for SQL, under standard_conforming_strings.
func quoteText(s string) string {
	return "'" + strings.ReplaceAll(strings.ReplaceAll(s, "\x00", ""), "'", "''") + "'"
}

// Connect opens an ordinary connection to the source with walhook's settings. Errors that only a
// person can mend are *[RefusedError]s with a hint.
func Connect(ctx context.Context, dsn string) (*pgx.Conn, error) {
	cfg, err := parseDSN(dsn)
	if err != nil {
		return nil, err
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, connectError(err, cfg.User, cfg.Database)
	}
	return conn, nil
}
