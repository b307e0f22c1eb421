package cdc

import (
	"context"
	"slices"
	"strings"
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
	for i := range f.Tables {
		t := &f.Tables[i]
		if !t.Exists || t.Select {
			continue
		}
		var wanted []string
		for _, n := range needs {
			if n.name() != (tableName{t.Schema, t.Name}) {
				continue
			}
			if len(n.Columns) == 0 {
				wanted = nil // all of them
				break
			}
			for _, c := range n.Columns {
				if !slices.Contains(wanted, c) {
					wanted = append(wanted, c)
				}
			}
		}
		if len(wanted) == 0 {
			continue
		}
		var found int
		err := in.conn.QueryRow(ctx, `SELECT count(*)::int4, coalesce(pg_catalog.array_agg(a.attname::text ORDER BY a.attnum)
				FILTER (WHERE NOT pg_catalog.has_column_privilege($1::text, a.attrelid, a.attnum, 'SELECT')), '{}')
			FROM pg_catalog.pg_attribute a WHERE a.attrelid = $2::int8::oid AND a.attname = ANY ($3::text[]) AND NOT a.attisdropped`, f.Role.Name, int64(t.OID), wanted).Scan(&found, &t.Lacks)
		if err != nil {
			return err
		}
		t.Select = found > 0 && len(t.Lacks) == 0
	}
	return nil
}
