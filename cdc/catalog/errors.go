package catalog

import (
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// PrivilegeError says that the role may not read some of Odoo's metadata. What
// pg_catalog holds is readable by every role.
type PrivilegeError struct {
	Role   string
	Schema string
	Usage  bool     // USAGE on the schema is missing, too
	Tables []string // without the schema; not readable
}

func (e *PrivilegeError) Error() string {
	if e.Usage {
		return fmt.Sprintf("role %q may not use schema %q, where Odoo keeps its models and fields", e.Role, e.Schema)
	}
	return fmt.Sprintf("role %q may not read what Odoo says of its models and fields: %s", e.Role, strings.Join(e.Tables, ", "))
}

// Hint returns the SQL that the owner of the tables, or a superuser, must run.
func (e *PrivilegeError) Hint() string {
	role := pgx.Identifier{e.Role}.Sanitize()
	var sql []string
	if e.Usage {
		sql = append(sql, fmt.Sprintf("GRANT USAGE ON SCHEMA %s TO %s;", pgx.Identifier{e.Schema}.Sanitize(), role))
	}
	if len(e.Tables) > 0 {
		quoted := make([]string, len(e.Tables))
		for i, t := range e.Tables {
			quoted[i] = pgx.Identifier{e.Schema, t}.Sanitize()
		}
		sql = append(sql, fmt.Sprintf("GRANT SELECT ON %s TO %s;", strings.Join(quoted, ", "), role))
	}
	return strings.Join(sql, " ")
}
