package cdc

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
)

// Inspect finds out what setup and check must know, as the role that streams.
// It only reads catalogs that every role may read.
func Inspect(ctx context.Context, conn *pgx.Conn, slot, publication string, tables []TableNeed) (*Facts, error) {
	return InspectAs(ctx, conn, "", slot, publication, tables)
}

// InspectAs is Inspect over the connection of another role, such as the tables' owner: what role, the one
// that streams, may do is found all the same. An empty role means the connection's own.
func InspectAs(ctx context.Context, conn *pgx.Conn, role, slot, publication string, tables []TableNeed) (*Facts, error) {
	f := &Facts{SlotName: slot, PublicationName: publication}
	in := inspection{conn: conn, facts: f}
	steps := []struct {
		what string
		do   func(context.Context) error
	}{
		{"server", in.server},
		{"roles", func(ctx context.Context) error { return in.roles(ctx, role) }},
		{"slot", in.slot},
		{"standbys", in.standbys},
		{"publication", in.publication},
		{"tables", func(ctx context.Context) error { return in.tables(ctx, tables) }},
		{"columns", func(ctx context.Context) error { return in.columns(ctx, tables) }},
		{"published tables", in.failing},
		{"other publications", in.elsewhere},
		{"open transactions", in.blockers},
		{"locks", in.locks},
	}
	for _, s := range steps {
		if err := s.do(ctx); err != nil {
			return nil, fmt.Errorf("inspect %s: %w", s.what, err)
		}
		if f.Version != 0 && f.Major() < MinServer {
			return f, nil // the other catalogs differ; Preflight says that it is too old
		}
	}
	return f, nil
}

// inspection is one run of InspectAs.
type inspection struct {
	conn  *pgx.Conn
	facts *Facts
}

func (in inspection) server(ctx context.Context) error {
	f := in.facts
	var keep, maxWAL, memory *int64
	var idle float64
	var pid int
	err := in.conn.QueryRow(ctx, `SELECT
			current_setting('server_version_num')::int, current_setting('server_version'),
			pg_catalog.pg_is_in_recovery(), d.datname::text, d.oid::int8, pg_catalog.pg_get_userbyid(d.datdba)::text,
			current_setting('wal_level'),
			current_setting('max_replication_slots')::int, (SELECT count(*) FROM pg_catalog.pg_replication_slots)::int,
			current_setting('max_wal_senders')::int, (SELECT count(*) FROM pg_catalog.pg_stat_get_wal_senders())::int,
			pg_catalog.pg_size_bytes(current_setting('max_slot_wal_keep_size', true)),
			pg_catalog.pg_size_bytes(current_setting('max_wal_size', true)),
			pg_catalog.pg_size_bytes(current_setting('logical_decoding_work_mem', true)), current_setting('synchronous_standby_names'),
			current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,
			(SELECT coalesce(sum(numbackends), 0) FROM pg_catalog.pg_stat_database)::int, d.datconnlimit, pg_catalog.pg_backend_pid(),
			(SELECT system_identifier::text FROM pg_catalog.pg_control_system()),
			coalesce(pg_catalog.date_part('epoch', current_setting('idle_replication_slot_timeout', true)::interval), 0)
		FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()`).
		Scan(&f.Version, &f.VersionText, &f.InRecovery, &f.Database, &f.DatabaseOID, &f.DatabaseOwner,
			&f.WALLevel, &f.SlotsMax, &f.SlotsUsed, &f.SendersMax, &f.SendersUsed, &keep, &maxWAL, &memory, &f.SyncStandbys,
			&f.ConnectionsMax, &f.ConnectionsUsed, &f.DatabaseLimit, &pid, &f.SystemID, &idle)
	if err != nil {
		return err
	}
	f.IdleLimit = time.Duration(idle * float64(time.Second))
	f.KeepMax = -1
	if keep != nil && *keep >= 0 {
		f.KeepMax = *keep
	}
	if maxWAL != nil {
		f.MaxWALSize = *maxWAL
	}
	f.DecodingMemory = -1
	if memory != nil {
		f.DecodingMemory = *memory
	}
	// A pooler answers for the server, with a process id of its own making.
	f.Pooled = pid != int(in.conn.PgConn().PID())
	if f.InRecovery {
		var timeline int64
		err := in.conn.QueryRow(ctx, `SELECT timeline_id::int8, pg_catalog.pg_last_wal_replay_lsn()::text FROM pg_catalog.pg_control_checkpoint()`).
			Scan(&timeline, &f.End)
		f.Timeline = uint32(timeline)
		return err
	}
	var segment string
	err = in.conn.QueryRow(ctx, `SELECT pg_catalog.pg_current_wal_lsn()::text, pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn())`).Scan(&f.End, &segment)
	if err != nil {
		return err
	}
	if len(segment) < 8 {
		return fmt.Errorf("unexpected name of a WAL segment: %q", segment)
	}
	timeline, err := strconv.ParseUint(segment[:8], 16, 32)
	if err != nil {
		return fmt.Errorf("unexpected name of a WAL segment: %q", segment)
	}
	f.Timeline = uint32(timeline)
	return nil
}

func (in inspection) roles(ctx context.Context, name string) error {
	f := in.facts
	read := func(r *Role) error {
		var until *time.Time
		r.Limit = -1
		err := in.conn.QueryRow(ctx, `SELECT rolname::text, true, rolcanlogin, rolsuper, rolreplication,
				pg_catalog.has_database_privilege(oid, pg_catalog.current_database(), 'CONNECT'),
				pg_catalog.has_database_privilege(oid, pg_catalog.current_database(), 'CREATE'),
				rolconnlimit, rolbypassrls, CASE WHEN pg_catalog.isfinite(rolvaliduntil) THEN rolvaliduntil END
			FROM pg_catalog.pg_roles WHERE rolname = coalesce(nullif($1::text, ''), current_user)`, r.Name).
			Scan(&r.Name, &r.Exists, &r.Login, &r.Superuser, &r.Replication, &r.Connect, &r.Create, &r.Limit, &r.BypassRLS, &until)
		if until != nil {
			r.ValidUntil = *until
		}
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	}
	if err := read(&f.Login); err != nil {
		return err
	}
	if name == "" {
		f.Role = f.Login
		return nil
	}
	f.Role.Name = name
	return read(&f.Role)
}

func (in inspection) slot(ctx context.Context) error {
	f := in.facts
	rows, err := in.conn.Query(ctx, "SELECT "+slotColumns(f.Major())+" FROM pg_catalog.pg_replication_slots WHERE slot_name = $1",
		pgx.QueryResultFormats{pgx.TextFormatCode}, f.SlotName)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if f.Slot, err = parseSlot(rows.RawValues()); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (in inspection) publication(ctx context.Context) error {
	f := in.facts
	rows, err := in.conn.Query(ctx, `SELECT pubname::text FROM pg_catalog.pg_publication WHERE puballtables AND pubname <> $1 ORDER BY 1`, f.PublicationName)
	if err != nil {
		return err
	}
	if f.AllTables, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
		return err
	}
	viaRoot := "false"
	if f.Major() >= 13 {
		viaRoot = "pubviaroot"
	}
	p := &Publication{}
	err = in.conn.QueryRow(ctx, `SELECT pg_catalog.pg_get_userbyid(pubowner)::text, pg_catalog.pg_has_role(pubowner, 'USAGE'),
			puballtables, pubinsert, pubupdate, pubdelete, pubtruncate, `+viaRoot+`, coalesce(pg_catalog.obj_description(oid, 'pg_publication'), '')
		FROM pg_catalog.pg_publication WHERE pubname = $1`, f.PublicationName).
		Scan(&p.Owner, &p.Ours, &p.AllTables, &p.Insert, &p.Update, &p.Delete, &p.Truncate, &p.ViaRoot, &p.Comment)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	f.Publication = p
	lists := "false, false"
	if f.Major() >= 15 {
		lists = "r.prattrs IS NOT NULL, r.prqual IS NOT NULL"
		rows, err := in.conn.Query(ctx, `SELECT n.nspname::text FROM pg_catalog.pg_publication_namespace pn
			JOIN pg_catalog.pg_publication p ON p.oid = pn.pnpubid JOIN pg_catalog.pg_namespace n ON n.oid = pn.pnnspid
			WHERE p.pubname = $1 ORDER BY 1`, f.PublicationName)
		if err != nil {
			return err
		}
		if p.Schemas, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
			return err
		}
	}
	rows, err = in.conn.Query(ctx, `SELECT n.nspname::text, c.relname::text, `+lists+`
		FROM pg_catalog.pg_publication_rel r JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid
		JOIN pg_catalog.pg_class c ON c.oid = r.prrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE p.pubname = $1 ORDER BY 1, 2`, f.PublicationName)
	if err != nil {
		return err
	}
	p.Tables, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (t PublishedTable, err error) {
		return t, row.Scan(&t.Schema, &t.Name, &t.ColumnList, &t.RowFilter)
	})
	return err
}

// tableColumns selects TableFacts of pg_class c, pg_namespace n; $1 is the streaming role or an empty text.
const tableColumns = `c.oid::int8, c.relkind::text, pg_catalog.pg_get_userbyid(c.relowner)::text, pg_catalog.pg_has_role(c.relowner, 'USAGE'),
	coalesce((SELECT pg_catalog.array_agg(a.attname::text ORDER BY k.n) FROM pg_catalog.pg_index i
		CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, n)
		JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
		WHERE i.indrelid = c.oid AND i.indisprimary AND k.n <= i.indnkeyatts), '{}'),
	c.relreplident::text,
	c.relreplident = 'i' AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisreplident AND i.indisvalid),
	CASE WHEN c.relreplident = 'i' THEN (SELECT pg_catalog.array_agg(a.attname::text) FROM pg_catalog.pg_index i
		JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::int2[])
		WHERE i.indrelid = c.oid AND i.indisreplident) END,
	coalesce((SELECT ic.relname::text FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid
		WHERE c.relreplident = 'i' AND i.indrelid = c.oid AND i.indisreplident), ''),
	c.relpersistence = 'u', c.relpersistence = 't', c.relrowsecurity, c.relhassubclass AND c.relkind = 'r'`

func (t *TableFacts) targets() []any {
	return []any{&t.OID, &t.Kind, &t.Owner, &t.Owned, &t.PrimaryKey, &t.Identity, &t.IdentityLost, &t.IdentityKey, &t.IdentityIndex, &t.Unlogged, &t.Temporary, &t.RowSecurity, &t.Inherited}
}

func (in inspection) tables(ctx context.Context, needs []TableNeed) error {
	f := in.facts
	var schemas, names []string
	index := make(map[tableName]int, len(needs))
	for _, n := range needs {
		if _, ok := index[n.name()]; ok {
			continue
		}
		index[n.name()] = len(f.Tables)
		f.Tables = append(f.Tables, TableFacts{Schema: n.Schema, Name: n.Table})
		schemas, names = append(schemas, n.Schema), append(names, n.Table)
	}
	if f.Publication != nil {
		more := f.Publication.record().tables()
		for _, m := range f.Publication.Tables {
			more = append(more, m.name())
		}
		for _, m := range more {
			if _, ok := index[m]; !ok {
				index[m] = len(f.Tables)
				f.Tables = append(f.Tables, TableFacts{Schema: m.schema, Name: m.table})
				schemas, names = append(schemas, m.schema), append(names, m.table)
			}
		}
	}
	rights := "false, false, false AND $1::text IS NULL" // the parameter needs a type
	if f.Role.Exists {
		rights = `pg_catalog.has_schema_privilege($1::text, n.oid, 'USAGE'), pg_catalog.has_table_privilege($1::text, c.oid, 'SELECT'),
			EXISTS (SELECT FROM pg_catalog.aclexplode(c.relacl) AS acl
				WHERE acl.grantee = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = $1) AND acl.privilege_type = 'SELECT')
			OR EXISTS (SELECT FROM pg_catalog.pg_attribute a CROSS JOIN LATERAL pg_catalog.aclexplode(a.attacl) AS acl
				WHERE a.attrelid = c.oid AND NOT a.attisdropped AND acl.grantee = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = $1) AND acl.privilege_type = 'SELECT')`
	}
	rows, err := in.conn.Query(ctx, `SELECT n.nspname::text, c.relname::text, `+rights+`, `+tableColumns+`
		FROM unnest($2::text[], $3::text[]) AS want(schema, name)
		JOIN pg_catalog.pg_namespace n ON n.nspname = want.schema
		JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = want.name AND c.relkind IN ('r', 'p', 'v', 'm', 'f')`,
		f.Role.Name, schemas, names)
	if err != nil {
		return err
	}
	var t TableFacts
	_, err = pgx.ForEachRow(rows, append([]any{&t.Schema, &t.Name, &t.Usage, &t.Select, &t.Granted}, t.targets()...), func() error {
		t.Exists = true
		f.Tables[index[tableName{t.Schema, t.Name}]] = t
		t.PrimaryKey, t.IdentityKey = nil, nil // not shared with the next row
		return nil
	})
	if err != nil {
		return err
	}
	for i := range f.Tables {
		t := &f.Tables[i]
		f.Publication.describe(t)
		if t.Kind == "p" {
			if err := in.partitions(ctx, t); err != nil {
				return err
			}
		}
	}
	return nil
}

// describe notes how the publication, which may be nil, publishes a table.
func (p *Publication) describe(t *TableFacts) {
	if p == nil {
		return
	}
	t.Published = p.AllTables
	for _, s := range p.Schemas {
		t.Published = t.Published || s == t.Schema
	}
	for _, m := range p.Tables {
		if m.Schema == t.Schema && m.Name == t.Name {
			t.Published, t.ColumnList, t.RowFilter = true, m.ColumnList, m.RowFilter
		}
	}
}

func (in inspection) partitions(ctx context.Context, t *TableFacts) error {
	rows, err := in.conn.Query(ctx, `SELECT n.nspname::text, c.relname::text, `+tableColumns+`
		FROM pg_catalog.pg_partition_tree($1::int8::oid) AS tree JOIN pg_catalog.pg_class c ON c.oid = tree.relid
		JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE tree.isleaf ORDER BY 1, 2`, int64(t.OID))
	if err != nil {
		return err
	}
	t.Partitions, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (p TableFacts, err error) {
		p.Exists = true
		return p, row.Scan(append([]any{&p.Schema, &p.Name}, p.targets()...)...)
	})
	return err
}

// failing finds tables that the server refuses to update already, whoever published them.
func (in inspection) failing(ctx context.Context) error {
	lists := "false"
	if in.facts.Major() >= 15 {
		lists = `EXISTS (SELECT FROM pg_catalog.pg_publication_rel r WHERE r.prpubid = p.oid AND r.prrelid = c.oid AND r.prattrs IS NOT NULL)`
	}
	rows, err := in.conn.Query(ctx, `SELECT * FROM (SELECT n.nspname::text, c.relname::text, p.pubname::text, c.relreplident = 'f' AND `+lists+` AS listed, p.puballtables,
				EXISTS (SELECT FROM pg_catalog.pg_publication_rel r WHERE r.prpubid = p.oid AND r.prrelid = c.oid), c.oid, c.relreplident
			FROM pg_catalog.pg_publication p JOIN pg_catalog.pg_publication_tables pt ON pt.pubname = p.pubname
			JOIN pg_catalog.pg_namespace n ON n.nspname = pt.schemaname
			JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = pt.tablename
			WHERE (p.pubupdate OR p.pubdelete) AND c.relkind = 'r') AS t
		WHERE CASE relreplident WHEN 'f' THEN listed WHEN 'n' THEN true
			WHEN 'd' THEN NOT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = t.oid AND i.indisprimary)
			ELSE NOT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = t.oid AND i.indisreplident AND i.indisvalid) END
		ORDER BY 1, 2, 3`)
	if err != nil {
		return err
	}
	in.facts.Failing, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (t FailingTable, err error) {
		return t, row.Scan(&t.Schema, &t.Name, &t.Publication, &t.ColumnList, &t.AllTables, &t.Member, nil, nil)
	})
	return err
}

// elsewhere finds out which of the tables whose identity setup has set are in another publication too, by themselves or as a partition.
func (in inspection) elsewhere(ctx context.Context) error {
	var schemas, names []string
	if in.facts.Publication != nil {
		for _, c := range in.facts.Publication.record().Identity {
			schemas, names = append(schemas, c.Table.schema), append(names, c.Table.table)
		}
	}
	if len(names) == 0 {
		return nil
	}
	rows, err := in.conn.Query(ctx, `SELECT n.nspname::text, c.relname::text, min(p.pubname::text COLLATE "C")
		FROM unnest($2::text[], $3::text[]) AS want(schema, name)
		JOIN pg_catalog.pg_namespace n ON n.nspname = want.schema
		JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = want.name
		JOIN pg_catalog.pg_publication_tables pt ON pt.pubname <> $1
		JOIN pg_catalog.pg_publication p ON p.pubname = pt.pubname AND (p.pubupdate OR p.pubdelete)
		JOIN pg_catalog.pg_namespace hn ON hn.nspname = pt.schemaname
		JOIN pg_catalog.pg_class h ON h.relnamespace = hn.oid AND h.relname = pt.tablename
			AND (h.oid = c.oid OR h.oid IN (SELECT relid FROM pg_catalog.pg_partition_ancestors(c.oid)))
		GROUP BY 1, 2`, in.facts.PublicationName, schemas, names)
	if err != nil {
		return err
	}
	var schema, name, publication string
	_, err = pgx.ForEachRow(rows, []any{&schema, &name, &publication}, func() error {
		if t := in.facts.table(schema, name); t != nil {
			t.Elsewhere = publication
		}
		return nil
	})
	return err
}
