package cdc

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Missing tells which of some records are not in a table now. keys are those of [Change.Key]; one that can be none of this table's any more, as the key
// has changed since, is missing. end is where WAL ended after the look: what was in the table then has its changes behind it.
func (l *Live) Missing(ctx context.Context, schema, table string, keys []string) (missing []string, end LSN, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	rel, err := l.relation(ctx, schema, table)
	if err == nil && len(rel.Key) == 0 {
		err = errors.New("the table has no primary key to find a row by")
	}
	if err == nil {
		err = l.use(ctx, func(conn *pgx.Conn) error {
			if missing, err = missingKeys(ctx, conn, rel, keys); err != nil {
				return err
			}
			return conn.QueryRow(ctx, "SELECT "+endOfLog+"::text").Scan(&end)
		})
	}
	if err != nil {
		var key []string
		if rel != nil {
			key = rel.keyNames()
		}
		return nil, 0, l.mayNotScan(ctx, schema, table, key, err)
	}
	return missing, end, nil
}

// missingKeys asks for all at once. Keys are compared as their columns' type, so that an index finds them; what is no value of the type is told apart by a
// comparison of texts, which reads the whole table.
func missingKeys(ctx context.Context, conn *pgx.Conn, rel *Relation, keys []string) ([]string, error) {
	parts := make([][]string, len(rel.Key))
	var whole []string
	var missing []string
	for _, key := range keys {
		values := splitKey(key, len(rel.Key))
		if len(values) != len(rel.Key) {
			missing = append(missing, key)
			continue
		}
		whole = append(whole, key)
		for i, v := range values {
			parts[i] = append(parts[i], v)
		}
	}
	if len(whole) == 0 {
		return missing, nil
	}
	found, err := presentKeys(ctx, conn, rel, parts, func(column string) string { return "::" + typeOfColumn(rel, column) })
	if state := sqlState(err); strings.HasPrefix(state, "22") {
		found, err = presentKeys(ctx, conn, rel, parts, nil)
	}
	if err != nil {
		return nil, err
	}
	for i, key := range whole {
		if !found[i] {
			missing = append(missing, key)
		}
	}
	return missing, nil
}

// typeOfColumn is the SQL name of the type of a column of the key: its own, without a domain's or an enum's schema where that is not known.
func typeOfColumn(rel *Relation, column string) string {
	switch t := rel.Columns[rel.Column(column)].Type; t.OID {
	case 20:
		return "int8"
	case 21:
		return "int2"
	case 23:
		return "int4"
	case 2950:
		return "uuid"
	case 1700:
		return "numeric"
	case 1082:
		return "date"
	}
	return "text"
}

// presentKeys tells for each key whether there is a row. cast is what a text is compared as; nil: the column as a text.
func presentKeys(ctx context.Context, conn *pgx.Conn, rel *Relation, parts [][]string, cast func(column string) string) ([]bool, error) {
	var arrays, names, conditions []string
	args := []any{pgx.QueryExecModeExec}
	for n, i := range rel.Key {
		column := rel.Columns[i].Name
		arrays, names = append(arrays, fmt.Sprintf("$%d::text[]", n+1)), append(names, fmt.Sprintf("k%d", n))
		args = append(args, parts[n])
		switch {
		case cast == nil || cast(column) == "::text":
			conditions = append(conditions, fmt.Sprintf("t.%s::text = u.k%d", quoteIdent(column), n))
		default:
			conditions = append(conditions, fmt.Sprintf("t.%s = u.k%d%s", quoteIdent(column), n, cast(column)))
		}
	}
	sql := fmt.Sprintf("SELECT EXISTS (SELECT FROM %s t WHERE %s) FROM unnest(%s) WITH ORDINALITY AS u (%s, n) ORDER BY u.n",
		quoteTable(rel.Schema, rel.Name), strings.Join(conditions, " AND "), strings.Join(arrays, ", "), strings.Join(names, ", "))
	rows, err := conn.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[bool])
}
