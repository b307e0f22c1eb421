package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"walhook/cdc"
	"walhook/cdc/catalog"
	"walhook/rules"
)

// survey is what check, setup and run learn about the source before they act.
type survey struct {
	catalog *catalog.Catalog
	rules   *rules.Set
	needs   []cdc.TableNeed
	facts   *cdc.Facts
	since   cdc.LSN // end of WAL before any of it was read: what was committed later may not be in it
}

// look reads the catalog over a connection, compiles the rules against it and finds out the state of slot,
// publication and tables for the role that streams; an empty role is the connection's own.
func (c *Config) look(ctx context.Context, conn *pgx.Conn, role string, more ...cdc.TableNeed) (*survey, error) {
	since, err := cdc.EndOfWAL(ctx, conn)
	if err != nil {
		return nil, environmentError(err, "")
	}
	cat, err := catalog.Load(ctx, conn)
	if err != nil {
		return nil, environmentError(err, "")
	}
	set, err := rules.Compile(c.Rules, cat)
	if err != nil {
		return nil, c.ruleProblems(err)
	}
	s := &survey{catalog: cat, rules: set, since: since, needs: append(append(needsOf(set), identityNeeds(cat)...), more...)}
	if s.facts, err = cdc.InspectAs(ctx, conn, role, c.Source.Slot, c.Source.Publication, s.needs); err != nil {
		return nil, environmentError(err, "")
	}
	return s, nil
}

// needsOf says in cdc's words what the rules need.
func needsOf(set *rules.Set) []cdc.TableNeed {
	var needs []cdc.TableNeed
	for _, n := range set.Needs() {
		needs = append(needs, cdc.TableNeed{Schema: n.Table.Schema, Table: n.Table.Name, Full: n.Full, Why: n.Why})
	}
	for _, t := range set.Related() {
		watched := slices.ContainsFunc(needs, func(n cdc.TableNeed) bool { return n.Schema == t.Schema && n.Table == t.Name })
		if !watched {
			needs = append(needs, cdc.TableNeed{Schema: t.Schema, Table: t.Name, ReadOnly: true, Why: []string{"rules look related records up in it"}})
		}
	}
	return needs
}

// connectTimeout bounds the first connection of a command: long enough for a slow network, short enough for a
// person who waits.
const connectTimeout = 15 * time.Second

// connect opens an ordinary connection. key is the configuration's name for the DSN, for messages.
func connect(ctx context.Context, key, text string) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(text)
	if err != nil {
		return nil, &failure{err: fmt.Errorf("%s: %w", key, err), code: exitUsage, hint: `write it as "postgres://user:password@host:5432/database"`}
	}
	cfg.RuntimeParams["application_name"] = cdc.ApplicationName + "/command"
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = connectTimeout
	}
	cdc.PreferPrimary(&cfg.Config, text)
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, environmentError(&connectError{key: key, err: err}, connectHint(err, key, cfg))
	}
	return conn, nil
}

// connectError is a connection that could not be made, in one line: pgx tries each address with and without TLS
// and lists all of it.
type connectError struct {
	key string
	err error
}

func (e *connectError) Error() string {
	var reasons []string
	lines := strings.Split(e.err.Error(), "\n")
	for _, line := range lines[min(1, len(lines)-1):] {
		line = strings.TrimPrefix(strings.TrimPrefix(strings.TrimSpace(line), "server error: "), "dial error: ")
		if !slices.Contains(reasons, line) && !strings.HasSuffix(line, "server refused TLS connection") {
			reasons = append(reasons, line)
		}
	}
	return fmt.Sprintf("connect to %s: %s", e.key, strings.Join(reasons, "; "))
}

func (e *connectError) Unwrap() error { return e.err }

// connectHint says what to look at when a connection cannot be made.
func connectHint(err error, key string, cfg *pgx.ConnConfig) string {
	role, database := pgx.Identifier{cfg.User}.Sanitize(), pgx.Identifier{cfg.Database}.Sanitize()
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return fmt.Sprintf("is PostgreSQL running at %s:%d, and does it listen there? Correct %s if not", cfg.Host, cfg.Port, key)
	}
	switch pg.Code {
	case "28P01":
		if cfg.Password == "" {
			return fmt.Sprintf("no password is given: put it into ~/.pgpass, or into %s as ${WALHOOK_PASSWORD}", key)
		}
		return fmt.Sprintf("correct the password in %s, or set it: ALTER ROLE %s PASSWORD '…'", key, role)
	case "28000":
		if !cdc.RefusesRole(pg) {
			return fmt.Sprintf("let it in by a line of pg_hba.conf, and reload: host %s %s <address>/32 scram-sha-256", cfg.Database, cfg.User)
		}
		attributes := "LOGIN"
		if key == "source.dsn" {
			attributes = "LOGIN REPLICATION"
		}
		return fmt.Sprintf("CREATE ROLE %[1]s %[2]s PASSWORD '…'; or if it exists: ALTER ROLE %[1]s LOGIN", role, attributes)
	case "3D000":
		return fmt.Sprintf("correct the database's name in %s", key)
	case "42501":
		return fmt.Sprintf("GRANT CONNECT ON DATABASE %s TO %s", database, role)
	case "53300":
		return "the server has no free connections: raise max_connections"
	}
	return ""
}

// closeConn ends a connection that is no longer needed.
func closeConn(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_ = conn.Close(ctx) // the work is done: that the goodbye failed tells nothing
}

// target is who a connection string logs in as, and where.
type target struct {
	host, user, database string
	port                 uint16
}

// targetOf reads a connection string that has been validated.
func targetOf(text string) target {
	cfg, err := pgx.ParseConfig(text)
	if err != nil {
		return target{}
	}
	return target{host: cfg.Host, user: cfg.User, database: cfg.Database, port: cfg.Port}
}

// connectSQL leads psql there.
func connectSQL(to target) string {
	return fmt.Sprintf("\\connect \"host=%s port=%d dbname=%s user=%s\"\n", to.host, to.port, to.database, to.user)
}

// stateInSource says whether the state lives in the source's database.
func (c *Config) stateInSource() bool {
	a, b := targetOf(c.Source.DSN.reveal()), targetOf(c.State.DSN.reveal())
	return a.host == b.host && a.port == b.port && a.database == b.database
}
