package cdc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// Live reads the source over an ordinary connection: the types and primary keys that the decoder needs
// ([Schema]), and rows related to a change ([Live.Load]). The connection is opened when
// it is first needed, and again when it broke.
//
// What it returns is as of now, which may be later than the WAL at hand. It is safe
// for concurrent use, one call at a time goes to the server; give goroutines that
// must not wait for each other a Live of their own.
type Live struct {
	cfg  *pgx.ConnConfig
	gate *Gate

	mu     sync.Mutex
	conn   *pgx.Conn
	types  map[uint32]*Type // by OID; an OID is not reused in practice, and what a type is never changes
	tables map[tableName]*liveTable

	horizon LSN       // what look-ups must see, see [Live.Await]
	seen    *pgx.Conn // that is known to have come so far
}

type tableName struct{ schema, table string }

// NewLive checks the connection string; it does not connect. part names the session, as walhook/part; the
// gate, which may be nil, is that of all sessions in the database.
func NewLive(dsn, part string, gate *Gate) (*Live, error) {
	cfg, err := parseDSN(dsn)
	if err != nil {
		return nil, err
	}
	// Look-ups are short. One that waits behind a lock ends soon, lest it be in the way of others who wait for the table, and is tried again for as
	// long as it takes: the stream waits, since nothing is lost by that, see [LockedError].
	cfg.RuntimeParams["statement_timeout"] = "30s"
	cfg.RuntimeParams["lock_timeout"] = "5s"
	cfg.Tracer = Deadline(40 * time.Second) // where the server itself does not end it
	cfg.RuntimeParams["application_name"] = applicationName(part)
	gate.Guard(&cfg.Config)
	return &Live{cfg: cfg, gate: gate, types: make(map[uint32]*Type), tables: make(map[tableName]*liveTable)}, nil
}

// Close closes the connection, if there is one. The Live can be used again.
func (l *Live) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop()
}

func (l *Live) drop() {
	if l.conn == nil {
		return
	}
	// The connection is given up: an error of closing it tells nothing.
	_ = closeConn(l.conn.PgConn())
	l.conn, l.seen = nil, nil
}

// use runs f, which must only read, on the connection. If the connection turns out to be broken,
// f runs once more on a new one. Errors that pass by themselves are marked temporary.
func (l *Live) use(ctx context.Context, f func(*pgx.Conn) error) error {
	for fresh := false; ; {
		if away := l.gate.Away(); away != nil {
			l.drop() // the gate has closed it
			return away
		}
		if l.conn == nil {
			conn, err := pgx.ConnectConfig(ctx, l.cfg)
			if err != nil {
				err = fmt.Errorf("connect to the source: %w", connectError(err, l.cfg.User, l.cfg.Database))
				if isFinal(err) {
					return err
				}
				return temporaryError{err}
			}
			l.conn, fresh = conn, true
		}
		err := f(l.conn)
		if err == nil {
			return nil
		}
		broken := l.conn.IsClosed()
		if broken {
			l.drop()
		}
		if broken && !fresh && ctx.Err() == nil {
			continue
		}
		if broken || passing(sqlState(err)) {
			return temporaryError{err}
		}
		return err
	}
}

// ask finds out whether the connection, if there is one, was ended by an administrator: the gate learns it then.
func (l *Live) ask() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	sock := l.conn.PgConn().Conn()
	if err := l.conn.Ping(ctx); err != nil {
		_ = sock.Close() // nothing waits for a server that does not answer
		l.drop()
	}
}

// passing says whether an error of this SQLSTATE passes by itself: classes 08 (connection), 40
// (rollback), 53 (resources), 55P03 and 57 (lock timeout, shutdown, cancel), 58 (I/O).
func passing(state string) bool {
	if len(state) != 5 {
		return false
	}
	switch state[:2] {
	case "08", "40", "53", "57", "58":
		return true
	}
	return state == "55P03"
}

// Type implements [Schema].
func (l *Live) Type(ctx context.Context, oid uint32) (*Type, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.resolve(ctx, oid, 0)
}

// Describe implements [Schema]. It is not cached: the decoder asks once per RELATION message, that is when a table
// is first seen or may have changed.
//
// Of a column that was dropped, pg_attribute keeps a row, written by the transaction that dropped it. Where that one is older than all that slots of this
// database have still to decode, the columns that came later are the ones that WAL names.
func (l *Live) Describe(ctx context.Context, relOID uint32) (d Description, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	err = l.use(ctx, func(conn *pgx.Conn) error {
		d = Description{Columns: map[string]ColumnNumber{}}
		rows, err := conn.Query(ctx, `SELECT c.attname::text, c.attnum, coalesce(c.recent AND (c.attnum > c.dropped OR c.recents > 1 AND NOT c.made), false), coalesce(k.n, 0),
				CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_insert_lsn() END::text
			FROM (SELECT r.*, count(*) FILTER (WHERE r.recent AND r.attnum > 0) OVER () AS recents, min(r.attnum) FILTER (WHERE r.recent AND r.attisdropped) OVER () AS dropped,
					bool_or(r.recent AND r.attnum < 0) OVER () AS made
				FROM (SELECT a.attname, a.attnum, a.attisdropped, pg_catalog.age(a.xmin) BETWEEN 0 AND h.age AS recent
					FROM pg_catalog.pg_attribute a CROSS JOIN (SELECT coalesce(max(pg_catalog.age(s.catalog_xmin)), 2147483647) AS age
						FROM pg_catalog.pg_replication_slots s WHERE s.database = pg_catalog.current_database()) h
					WHERE a.attrelid = $1) r) c
			LEFT JOIN (SELECT k.attnum, k.n FROM pg_catalog.pg_index i CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, n)
				WHERE i.indrelid = $1 AND i.indisprimary AND k.n <= i.indnkeyatts) k ON k.attnum = c.attnum
			WHERE c.attnum > 0 AND NOT c.attisdropped ORDER BY 4`, pgtype.Uint32{Uint32: relOID, Valid: true})
		if err != nil {
			return err
		}
		var name string
		var n ColumnNumber
		var place int64
		_, err = pgx.ForEachRow(rows, []any{&name, &n.Number, &n.Anew, &place, &d.Seen}, func() error {
			d.Columns[name] = n
			if place > 0 {
				d.Key = append(d.Key, name)
			}
			return nil
		})
		return err
	})
	if err != nil {
		return Description{}, fmt.Errorf("look up a table: %w", err)
	}
	return d, nil
}

// resolve looks a type up, domains down to their base type.
func (l *Live) resolve(ctx context.Context, oid uint32, depth int) (*Type, error) {
	if t := BuiltinType(oid); t != nil {
		return t, nil
	}
	if t, ok := l.types[oid]; ok {
		return t, nil
	}
	if depth > 16 {
		return nil, fmt.Errorf("look up type %d: nested too deep", oid)
	}
	var row struct {
		name, typname, kind, category, delim string
		base, elem                           uint32
		length                               int16
	}
	err := l.use(ctx, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `SELECT pg_catalog.format_type(t.oid, NULL), t.typname::text, t.typtype::text, t.typcategory::text,
				t.typbasetype::int8, t.typelem::int8, t.typlen,
				coalesce((SELECT e.typdelim::text FROM pg_catalog.pg_type e WHERE e.oid = t.typelem), ',')
			FROM pg_catalog.pg_type t WHERE t.oid = $1`, pgtype.Uint32{Uint32: oid, Valid: true}).
			Scan(&row.name, &row.typname, &row.kind, &row.category, &row.base, &row.elem, &row.length, &row.delim)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil // dropped since
	}
	if err != nil {
		return nil, fmt.Errorf("look up type %d: %w", oid, err)
	}
	t := &Type{OID: oid, Name: row.name, Kind: KindOther}
	switch {
	case row.kind == "d":
		base, err := l.resolve(ctx, row.base, depth+1)
		if err != nil || base == nil {
			return nil, err
		}
		copied := *base
		t = &copied
		t.Name = row.name
	case row.kind == "e", row.typname == "citext":
		t.Kind = KindText
	case row.category == "A" && row.elem != 0 && row.length == -1:
		elem, err := l.resolve(ctx, row.elem, depth+1)
		if err != nil || elem == nil {
			return nil, err
		}
		t.Kind, t.Elem, t.Delim = KindArray, elem, row.delim[0]
	}
	l.types[oid] = t
	return t, nil
}
