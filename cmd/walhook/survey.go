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

	images []*catalog.Table // that images are kept of
	unfit  []*rules.Unfit   // rules that do not fit; none unless the process went on while the schema changed
	kept   map[string]bool  // those of them that go on as they were, see [survey.keep]
	tables []*catalog.Table // that rules watch or look into
	sum    [32]byte         // of what the catalog says of these
}

// streamed lists the tables that must be in the publication.
func (s *survey) streamed() (needs []cdc.TableNeed) {
	for _, n := range s.needs {
		if !n.ReadOnly && !n.Optional {
			needs = append(needs, n)
		}
	}
	return needs
}

// look reads the catalog over a connection, compiles the rules against it and finds out the state of slot,
// publication and tables for the role that streams; an empty role is the connection's own.
func (c *Config) look(ctx context.Context, conn *pgx.Conn, role string, more ...cdc.TableNeed) (*survey, error) {
	s, err := c.understand(ctx, conn, false, nil)
	if err != nil {
		return nil, err
	}
	s.needs = spareSecrets(s.catalog, append(s.needs, more...))
	return s, s.inspect(ctx, conn, c, role)
}

// understand reads the catalog and compiles the rules. Rules that do not fit are an error, unless the process is running already: then before is what
// it knew so far, or nil.
func (c *Config) understand(ctx context.Context, conn *pgx.Conn, running bool, before *survey) (*survey, error) {
	since, err := cdc.EndOfWAL(ctx, conn)
	if err != nil {
		return nil, environmentError(err, "")
	}
	s := &survey{since: since}
	if s.catalog, err = c.loadCatalog(ctx, conn); err != nil {
		return nil, environmentError(err, "")
	}
	logins := rules.Logins(c.Rules)
	if s.catalog, err = s.catalog.WithUsers(ctx, conn, logins); err != nil {
		return nil, environmentError(err, "")
	}
	if running {
		if s.rules, s.unfit, err = c.settings().CompileFitting(c.Rules, s.catalog); err != nil {
			return nil, c.ruleProblems(err)
		}
		if err := s.keep(c, before); err != nil {
			return nil, err
		}
	} else if s.rules, err = c.compile(s.catalog); err != nil || len(c.Odoo.Tables) > 0 {
		if err = errors.Join(append(c.misplaced(s.catalog), err)...); err != nil {
			return nil, err
		}
	}
	var problems []error
	if s.images, problems = c.imageTables(s.catalog); len(problems) > 0 && !running {
		return nil, errors.Join(problems...)
	}
	for _, n := range s.rules.Needs() {
		s.tables = append(s.tables, n.Table)
	}
	s.tables = append(s.tables, s.images...)
	s.tables = append(s.tables, s.rules.Related()...)
	for _, r := range s.rules.Scheduled() {
		s.tables = append(s.tables, r.Table)
	}
	s.sum = s.catalog.Sum(s.tables)
	s.needs = append(scheduleNeeds(s.rules, imageNeeds(s.images, needsOf(s.rules))), identityNeeds(s.catalog)...)
	s.needs = loginNeeds(s.catalog, logins, s.needs)
	s.needs = spareSecrets(s.catalog, upgradeNeeds(s.rules, s.catalog, registryNeeds(s.catalog, s.needs)))
	return s, nil
}

// inspect adds the facts.
func (s *survey) inspect(ctx context.Context, conn *pgx.Conn, c *Config, role string) (err error) {
	s.facts, err = cdc.InspectAs(ctx, conn, role, c.Source.Slot, c.Source.Publication, s.needs)
	if err == nil {
		c.nameSources(s.facts.Database, s.catalog.Odoo != nil)
		s.facts.Messages = messageNeeds(s.rules)
		s.facts.Failover = c.Source.Failover
	}
	return environmentError(err, "")
}

// needsOf says in cdc's words what the rules need.
func needsOf(set *rules.Set) []cdc.TableNeed {
	var needs []cdc.TableNeed
	for _, n := range set.Needs() {
		needs = append(needs, cdc.TableNeed{Schema: n.Table.Schema, Table: n.Table.Name, Full: n.Full, Why: n.Why})
	}
	asked := func(t *catalog.Table) bool {
		return slices.ContainsFunc(needs, func(n cdc.TableNeed) bool { return n.Schema == t.Schema && n.Table == t.Name })
	}
	for _, t := range set.Related() {
		if i := slices.IndexFunc(needs, func(n cdc.TableNeed) bool { return n.Schema == t.Schema && n.Table == t.Name }); i >= 0 {
			needs[i].Read = true
		} else {
			needs = append(needs, cdc.TableNeed{Schema: t.Schema, Table: t.Name, Optional: true, Read: true, Columns: readColumns(set, t), Why: []string{"rules look related records up in it"}})
		}
	}
	for _, t := range set.Leading() {
		if !asked(t) {
			needs = append(needs, cdc.TableNeed{Schema: t.Schema, Table: t.Name, Optional: true, Why: []string{"rules tell what is deleted along with its records"}})
		}
	}
	return needs
}

// spareSecrets leaves the columns that hold secrets out of what is read of tables: walhook shows none of them, so its role need not read
// them. The table of parameters stays whole: among its values are those that a copy is recognised by.
func spareSecrets(cat *catalog.Catalog, needs []cdc.TableNeed) []cdc.TableNeed {
	for i := range needs {
		n := &needs[i]
		t := cat.Table(n.Schema, n.Table)
		if t == nil || n.Columns != nil || n.Table == cdc.ParameterTable {
			continue
		}
		var columns []string
		for _, c := range t.Columns {
			if !catalog.Secret(t.Name, c.Name) {
				columns = append(columns, c.Name)
			}
		}
		if len(columns) < len(t.Columns) {
			n.Columns = columns
		}
	}
	return needs
}

// readColumns lists the columns of a table that rules look up, and what finds and sorts the rows; nil when that is not known.
func readColumns(set *rules.Set, t *catalog.Table) (columns []string) {
	read := func(names ...string) {
		for _, name := range names {
			name, _, _ = strings.Cut(name, " ")
			if t.Column(name) != nil && !slices.Contains(columns, name) {
				columns = append(columns, name)
			}
		}
	}
	for _, l := range set.Links() {
		if l.Schema == t.Schema && l.Table == t.Name {
			read("id", l.By)
			read(l.Columns...)
			if read(l.Order...); l.Many() && !l.Archived {
				read("active")
			}
		}
		if r := l.Rel; r != nil && r.Schema == t.Schema && r.Table == t.Name {
			read(r.From, r.To)
		}
	}
	return columns
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
