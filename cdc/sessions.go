package cdc

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Attached is a session of walhook's in the source's database.
type Attached struct {
	PID         int        `json:"pid"` // of the server's process
	Application string     `json:"application_name"`
	User        string     `json:"user"`
	Address     string     `json:"address,omitempty"` // of the client; "" for one on the server's machine, and of other roles
	Since       *time.Time `json:"since,omitempty"`   // nil of other roles, unless this one is a member of pg_read_all_stats
}

// String describes the session in one line.
func (a Attached) String() string {
	from := ""
	if a.Address != "" {
		from = " from " + a.Address
	}
	return fmt.Sprintf("process %d of the server (%s, role %s%s)", a.PID, a.Application, a.User, from)
}

// Sessions lists walhook's sessions in the database of conn, whatever their role, without conn itself.
func Sessions(ctx context.Context, conn *pgx.Conn) ([]Attached, error) {
	rows, err := conn.Query(ctx, `SELECT pid, application_name, coalesce(usename::text, ''), coalesce(host(client_addr), ''), backend_start
		FROM pg_catalog.pg_stat_activity
		WHERE datname = pg_catalog.current_database() AND pid <> pg_catalog.pg_backend_pid() AND (application_name = $1 OR application_name LIKE $1 || '/%')
		ORDER BY backend_start`, ApplicationName)
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Attached])
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	if all == nil {
		all = []Attached{}
	}
	return all, nil
}
