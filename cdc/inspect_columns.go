package cdc

import (
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// selects is the privilege that the streaming role lacks, for GRANT.
func (t *TableFacts) selects() string {
	if len(t.Lacks) == 0 {
		return "SELECT ON TABLE " + quoteTable(t.Schema, t.Name)
	}
	columns := make([]string, len(t.Lacks))
	for i, c := range t.Lacks {
		columns[i] = quoteIdent(c)
	}
	return "SELECT (" + strings.Join(columns, ", ") + ") ON TABLE " + quoteTable(t.Schema, t.Name)
}

// columns finds the tables that the streaming role may not SELECT from as a whole, and may as far as is needed: of these a grant on columns
// is enough.
func (in inspection) columns(ctx context.Context, needs []TableNeed) error {
	f := in.facts
	if !f.Role.Exists {
		return nil
	}
	var oids []int64 // one for each column that is wanted
	var names []string
	tables := map[int64]*TableFacts{}
	for i := range f.Tables {
		t := &f.Tables[i]
		if !t.Exists || t.Select {
			continue
		}
		wanted := columnsNeeded(needs, t)
		if len(wanted) == 0 {
			continue
		}
		tables[int64(t.OID)] = t
		for _, c := range wanted {
			oids, names = append(oids, int64(t.OID)), append(names, c)
		}
	}
	if len(oids) == 0 {
		return nil
	}
	rows, err := in.conn.Query(ctx, `SELECT a.attrelid::int8, coalesce(pg_catalog.array_agg(a.attname::text ORDER BY a.attnum)
			FILTER (WHERE NOT pg_catalog.has_column_privilege($1::text, a.attrelid, a.attnum, 'SELECT')), '{}')
		FROM unnest($2::int8[], $3::text[]) AS want(oid, name)
		JOIN pg_catalog.pg_attribute a ON a.attrelid = want.oid::oid AND a.attname = want.name AND NOT a.attisdropped GROUP BY 1`, f.Role.Name, oids, names)
	if err != nil {
		return err
	}
	var oid int64
	var lacks []string
	_, err = pgx.ForEachRow(rows, []any{&oid, &lacks}, func() error {
		tables[oid].Lacks, tables[oid].Select = lacks, len(lacks) == 0
		lacks = nil // not shared with the next row
		return nil
	})
	return err
}

// columnsNeeded lists the columns of a table that are needed; none when all are.
func columnsNeeded(needs []TableNeed, t *TableFacts) (wanted []string) {
	for _, n := range needs {
		if n.name() != (tableName{t.Schema, t.Name}) {
			continue
		}
		if len(n.Columns) == 0 {
			return nil
		}
		for _, c := range n.Columns {
			if !slices.Contains(wanted, c) {
				wanted = append(wanted, c)
			}
		}
	}
	return wanted
}
