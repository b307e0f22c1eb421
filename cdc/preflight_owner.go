package cdc

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
)

// ProbeOwner looks, over any connection to the source, whether those to whom database and tables belong may end the sessions of
// roles, which are walhook's. Odoo ends every session of a database before it duplicates, renames or drops it, and ignores that
// the server refuses.
func ProbeOwner(ctx context.Context, conn *pgx.Conn, f *Facts, roles ...string) ([]Finding, error) {
	p := &preflight{f: f}
	var tables []int64
	for _, t := range f.Tables {
		if t.Exists {
			tables = append(tables, int64(t.OID))
		}
	}
	slices.Sort(roles)
	for _, role := range slices.Compact(roles) {
		var super, can, circular, member, apart bool
		rows, err := conn.Query(ctx, `SELECT r.rolsuper,
				EXISTS (SELECT FROM pg_catalog.pg_roles o
					WHERE (o.oid = d.datdba OR o.oid IN (SELECT c.relowner FROM pg_catalog.pg_class c WHERE c.oid::int8 = ANY ($2::int8[])))
					AND (o.rolsuper OR NOT r.rolsuper AND (pg_catalog.pg_has_role(o.oid, r.oid, 'USAGE') OR pg_catalog.pg_has_role(o.oid, 'pg_signal_backend'::name, 'USAGE')))),
				pg_catalog.pg_has_role(r.oid, d.datdba, 'MEMBER'), pg_catalog.pg_has_role(d.datdba, r.oid, 'MEMBER'),
				EXISTS (SELECT FROM pg_catalog.pg_roles o WHERE o.oid = d.datdba AND NOT o.rolinherit)
			FROM pg_catalog.pg_database d, pg_catalog.pg_roles r WHERE d.datname = pg_catalog.current_database() AND r.rolname = $1`, role, tables)
		if err != nil {
			return nil, fmt.Errorf("inspect who may end sessions: %w", err)
		}
		_, err = pgx.ForEachRow(rows, []any{&super, &can, &circular, &member, &apart}, func() error {
			if !can {
				p.add(SeverityWarning, "owner_cannot_end", fmt.Sprintf("role %q, the owner of database %q, may not end the sessions of role %q: while walhook runs, Odoo cannot duplicate, rename or drop the database", f.DatabaseOwner, f.Database, role),
					p.endingHint(role, super, circular, member, apart))
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("inspect who may end sessions: %w", err)
		}
	}
	return p.findings, nil
}

// endingHint lets the owner end a role's sessions by as little as possible.
func (p *preflight) endingHint(role string, super, circular, member, apart bool) string {
	quoted, owner := quoteIdent(role), quoteIdent(p.f.DatabaseOwner)
	inherit := "" // each membership says for itself there whether it is inherited, and goes by NOINHERIT if it does not say
	if p.f.Major() >= 16 && (member || apart) {
		inherit = " WITH INHERIT TRUE"
	}
	grant := fmt.Sprintf("GRANT %s TO %s%s", quoted, owner, inherit)
	switch {
	case super:
		return fmt.Sprintf("only a superuser can end a superuser's sessions; as one: ALTER ROLE %s NOSUPERUSER REPLICATION; %s; then `walhook setup --dsn`", quoted, grant)
	case circular: // the server takes no memberships in a circle
		return "as a superuser: GRANT pg_signal_backend TO " + owner + inherit
	case member && p.f.Major() < 16: // and does not inherit
		return fmt.Sprintf("as a superuser: ALTER ROLE %s INHERIT", owner)
	}
	return "as a superuser, or whoever may grant the role: " + grant
}
