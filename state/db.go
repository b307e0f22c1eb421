package state

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"walhook/cdc"
)

// DB is the state schema: everything that needs no membership of the group of running
// processes. Commands use it alone; run registers a [Process] on it. It is safe for concurrent use.
//
// Opening it connects once, but neither creates nor checks the schema: see [DB.Migrate] and [DB.Check].
type DB struct {
	cfg      Config
	pool     *pgxpool.Pool
	schema   string // quoted
	role     string // that the sessions run as
	database string

	texts  sync.Map      // statement template → SQL with the schema's name
	grace  time.Duration // how long a commit in doubt is looked up after its caller's time has ended
	regain time.Duration // after which the reader makes a new session when its own broke
	window int           // rows that a list looks at for one page

	stats  statistics
	oldest oldest

	recordFull atomic.Bool // there is no room to record more

	renewed atomic.Pointer[renewed] // what Reconfigure has changed; nil before
}

// session pins what a role's or database's defaults may have changed. Joins by nested loops over indexes
// are the only good plans for the hot statements; a planner that last saw an empty queue would choose
// others (design of queue tables), and statements that read widely allow them again.
// A client that vanished within a transaction must not keep lane locks, nor the right to read, for longer than its lease; one whose machine
// has vanished for no longer than its silence takes to be noticed.
const session = `
SELECT set_config('search_path', '', false);
SET synchronous_commit = on;
SET TimeZone = 'UTC';
SET statement_timeout = '%[2]dms';
SET lock_timeout = '40s';
SET idle_in_transaction_session_timeout = '%[1]dms';
SELECT set_config(name, '0', false) FROM (VALUES ('idle_session_timeout'), ('transaction_timeout')) AS newer(name) WHERE current_setting(name, true) IS NOT NULL;
SET tcp_keepalives_idle = 2;
SET tcp_keepalives_interval = 1;
SET tcp_keepalives_count = 3;
SET tcp_user_timeout = '5s';
SET default_transaction_isolation = 'read committed';
SET default_transaction_read_only = off;
SET jit = off;
SET enable_seqscan = off;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET enable_bitmapscan = off`

// statementTimeout bounds every statement of a session.
const statementTimeout = 2 * time.Minute

// session returns the statements that begin every session.
func (c Config) session() string {
	return fmt.Sprintf(session, min(20*time.Second, c.Lease).Milliseconds(), statementTimeout.Milliseconds())
}

// Open connects. The caller closes the DB.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	pc, err := pgxpool.ParseConfig(cfg.DSN)
	if err != nil {
		return nil, fmt.Errorf("state.dsn: %w", err)
	}
	switch mode := pc.ConnConfig.DefaultQueryExecMode; mode {
	case pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol: // the driver guesses types by their values, and has none for what we encode ourselves
		return nil, fmt.Errorf("state.dsn: default_query_exec_mode cannot be %q: leave it out", mode)
	}
	pc.MaxConns = int32(cfg.PoolSize)
	pc.ConnConfig.RuntimeParams["application_name"] = cdc.ApplicationName + "/state"
	cfg.network(pc)
	cfg.Gate.Guard(&pc.ConnConfig.Config)
	pc.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		ctx, cancel := context.WithTimeout(ctx, max(pc.ConnConfig.ConnectTimeout, 10*time.Second))
		defer cancel()
		encodeArrays(conn)
		if err := conn.PgConn().Exec(ctx, cfg.session()).Close(); err != nil {
			return err
		}
		return learn(ctx, conn)
	}
	db := &DB{cfg: cfg, schema: ident(cfg.Schema), role: pc.ConnConfig.User, database: pc.ConnConfig.Database, grace: 5 * time.Second, regain: roleRegain, window: listWindow}
	if db.pool, err = pgxpool.NewWithConfig(ctx, pc); err != nil {
		return nil, db.translate("connect", err)
	}
	const who = `SELECT current_user, current_database(), pg_encoding_to_char(encoding) FROM pg_catalog.pg_database WHERE datname = current_database()`
	var encoding string
	if err := db.pool.QueryRow(ctx, who).Scan(&db.role, &db.database, &encoding); err != nil {
		db.pool.Close()
		return nil, db.translate("connect", err)
	}
	if encoding != "UTF8" {
		db.pool.Close()
		return nil, &Error{Op: "state: connect", Err: fmt.Errorf("database %q has encoding %s, not UTF8", db.database, encoding),
			hint: "put the state into a database of its own: CREATE DATABASE walhook ENCODING 'UTF8' TEMPLATE template0; and set state.dsn"}
	}
	return db, nil
}

// Close writes pending statistics and closes all connections. It waits for statements that run.
func (db *DB) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := db.FlushStatistics(ctx)
	db.pool.Close()
	return err
}

// Schema returns the schema's name, unquoted.
func (db *DB) Schema() string { return db.cfg.Schema }

// Role returns the role that the state's sessions run as.
func (db *DB) Role() string { return db.role }

// ident quotes a name.
func ident(name string) string { return pgx.Identifier{name}.Sanitize() }

// literal quotes text as an SQL string constant.
func literal(s string) string {
	if strings.Contains(s, `\`) {
		return `E'` + strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), `'`, `''`) + `'`
	}
	return `'` + strings.ReplaceAll(s, `'`, `''`) + `'`
}

// sql puts the schema's quoted name into a statement. The result is made once per statement, so
// that pgx finds it among its prepared ones.
func (db *DB) sql(statement string) string {
	if s, ok := db.texts.Load(statement); ok {
		return s.(string)
	}
	s := expand(statement, db.cfg.Schema)
	db.texts.Store(statement, s)
	return s
}

// expand replaces the placeholders of statements and migrations.
func expand(statement, schema string) string {
	return strings.NewReplacer("{schema}", ident(schema), "{schema_text}", literal(schema)).Replace(statement)
}

// lockKey makes an advisory lock's key of a purpose and the schema. Advisory locks
// are per database, so the key need not name it.
func (db *DB) lockKey(purpose string) int64 {
	h := fnv.New64a()
	h.Write([]byte("walhook\x00" + purpose + "\x00" + db.cfg.Schema)) // never fails
	return int64(h.Sum64())
}

// Ping reports whether the state database answers.
func (db *DB) Ping(ctx context.Context) error { return db.translate("ping", db.pool.Ping(ctx)) }

// read runs one read-only transaction in which the planner may use every kind of plan. When the caller's time is limited, the server
// gives up at its end too.
func (db *DB) read(ctx context.Context, op string, fn func(pgx.Tx) error) error {
	err := pgx.BeginTxFunc(ctx, db.pool, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		const wide = `SET LOCAL enable_seqscan = on; SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on; SET LOCAL enable_bitmapscan = on; SET LOCAL lock_timeout = '5s'`
		statement := wide
		if end, limited := ctx.Deadline(); limited {
			if left := time.Until(end); left < statementTimeout {
				statement += fmt.Sprintf("; SET LOCAL statement_timeout = %d", max(left.Milliseconds(), 1))
			}
		}
		if err := tx.Conn().PgConn().Exec(ctx, statement).Close(); err != nil {
			return err
		}
		return fn(tx)
	})
	return db.translate(op, err)
}

// noRows tells an empty answer from a failure.
func noRows(err error) bool { return errors.Is(err, pgx.ErrNoRows) }
