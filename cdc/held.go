package cdc

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// heldSQL lists the privileges that a role was granted directly in a database, by kind of object and privilege. What lies in the
// schema $2 is left out.
const heldSQL = `
WITH acl AS (
	SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind, n.nspname::text AS schema, c.relname::text AS name, c.relowner AS owner, c.relacl AS acl
		FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relacl IS NOT NULL AND n.nspname !~ '^pg_|^information_schema$' AND n.nspname <> $2
	UNION ALL SELECT 'SCHEMA', '', nspname::text, nspowner, nspacl FROM pg_catalog.pg_namespace
		WHERE nspacl IS NOT NULL AND nspname !~ '^pg_|^information_schema$' AND nspname <> $2
	UNION ALL SELECT 'DATABASE', '', datname::text, datdba, datacl FROM pg_catalog.pg_database WHERE datacl IS NOT NULL AND datname = pg_catalog.current_database()
)
SELECT DISTINCT kind, x.privilege_type, schema, name FROM acl, pg_catalog.aclexplode(acl) x
	JOIN pg_catalog.pg_roles r ON r.oid = x.grantee
	WHERE r.rolname = $1 AND x.grantee <> owner ORDER BY 1, 2, 3, 4`

// HeldPrivileges returns for people what the role still holds in the database after a teardown, with what takes it back: it was
// granted before setup, or by somebody else. schema is dropped in any case.
func HeldPrivileges(ctx context.Context, conn *pgx.Conn, f *Facts, role, schema string) ([]string, error) {
	rows, err := conn.Query(ctx, heldSQL, role, schema)
	if err != nil {
		return nil, fmt.Errorf("list the privileges of role %q: %w", role, err)
	}
	record := f.Publication.record()
	var order []string // of the privileges, each with its objects
	objects := map[string][]string{}
	var kind, privilege, in, name string
	_, err = pgx.ForEachRow(rows, []any{&kind, &privilege, &in, &name}, func() error {
		switch { // teardown takes these back
		case kind == "TABLE" && privilege == "SELECT" && slices.Contains(record.Select, tableName{in, name}),
			kind == "SCHEMA" && privilege == "USAGE" && slices.Contains(record.Usage, name),
			kind == "DATABASE" && privilege == "CONNECT" && record.Connect:
			return nil
		}
		quoted := quoteIdent(name)
		if in != "" {
			quoted = quoteTable(in, name)
		}
		what := privilege + " ON " + kind
		if objects[what] == nil {
			order = append(order, what)
		}
		objects[what] = append(objects[what], quoted)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the privileges of role %q: %w", role, err)
	}
	var held []string
	for _, what := range order {
		held = append(held, fmt.Sprintf("a privilege of role %q, which setup has not granted; if nobody needs it: REVOKE %s %s FROM %s", role, what, strings.Join(objects[what], ", "), quoteIdent(role)))
	}
	return held, nil
}
