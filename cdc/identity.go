package cdc

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// ParameterTable is where Odoo keeps what tells a database from its copies.
const ParameterTable = "ir_config_parameter"

// Odoo's parameters that say which database this is.
const (
	ParameterUUID        = "database.uuid"
	ParameterCreateDate  = "database.create_date"
	ParameterNeutralized = "database.is_neutralized"
)

// Identity is what tells a source from its copies (invariant 8), as of now.
type Identity struct {
	SystemID     string
	DatabaseOID  uint32
	DatabaseName string
	Parameters   map[string]string // of ParameterTable; nil when the database is not Odoo's
}

// Identity reads what a look at the source tells of its identity. schema is where Odoo's tables are, "" for a database that is not
// Odoo's.
func (l *Live) Identity(ctx context.Context, schema string) (*Identity, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	id := &Identity{}
	err := l.use(ctx, func(conn *pgx.Conn) (err error) {
		*id, err = ReadIdentity(ctx, conn, schema)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("identify the source: %w", err)
	}
	return id, nil
}

// ReadIdentity is [Live.Identity] over a connection at hand.
func ReadIdentity(ctx context.Context, conn *pgx.Conn, schema string) (id Identity, err error) {
	var oid pgtype.Uint32
	err = conn.QueryRow(ctx, `SELECT (SELECT system_identifier::text FROM pg_catalog.pg_control_system()), oid, datname::text
		FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()`).Scan(&id.SystemID, &oid, &id.DatabaseName)
	id.DatabaseOID = oid.Uint32
	if err != nil || schema == "" {
		return id, err
	}
	rows, err := conn.Query(ctx, "SELECT key::text, coalesce(value::text, '') FROM "+quoteTable(schema, ParameterTable)+" WHERE key = ANY ($1)",
		[]string{ParameterUUID, ParameterCreateDate, ParameterNeutralized})
	if err != nil {
		return id, err
	}
	id.Parameters = map[string]string{}
	var key, value string
	_, err = pgx.ForEachRow(rows, []any{&key, &value}, func() error {
		id.Parameters[key] = value
		return nil
	})
	if sqlState(err) == "42P01" { // not there, or not any more: an Odoo database without it has no parameters
		return id, nil
	}
	return id, err
}

// ReadParameter returns the parameter that a change of ParameterTable sets, of those that tell a database from its copies.
func ReadParameter(c *Change) (key, value string, ok bool) {
	if c.Rel.Name != ParameterTable || c.After.Relation() == nil {
		return "", "", false
	}
	for i, column := range c.After.Relation().Columns {
		switch v := c.After.Value(i); {
		case v.State != Present:
		case column.Name == "key":
			key = string(v.Text)
		case column.Name == "value":
			value = string(v.Text)
		}
	}
	switch key {
	case ParameterUUID, ParameterCreateDate, ParameterNeutralized:
		return key, value, true
	}
	return "", "", false
}
