package cdc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// probeTimeout bounds one attempt of Probe.
const probeTimeout = 10 * time.Second

// Probe connects as the stream does, and as a base backup would, and reports what catalogs do not
// tell: a server, or something in front of it, that refuses replication, and a role that may copy the whole cluster
// (trap 16). It starts nothing on these connections. f says what [Preflight] reports already.
func Probe(ctx context.Context, dsn string, f *Facts) []Finding {
	p := &preflight{f: f}
	if f.Major() < MinServer || !f.Role.Replication && !f.Role.Superuser || f.SendersUsed >= f.SendersMax {
		return nil
	}
	role := quoteIdent(f.Role.Name)
	if err := tryReplication(ctx, dsn, "database"); err != nil && sqlState(err) != "53300" {
		p.add(SeverityError, "replication_refused", "the server takes ordinary connections, and refuses one for replication: "+oneLine(err),
			fmt.Sprintf("source.dsn must lead to PostgreSQL itself, not to a pooler, and pg_hba.conf must let it in (a line for the database, not for \"replication\"): host %s %s <address>/32 scram-sha-256", f.Database, f.Role.Name))
	}
	if !f.Role.Superuser && tryReplication(ctx, dsn, "true") == nil {
		p.add(SeverityInfo, "base_backup", fmt.Sprintf("role %q may open physical replication connections: who has its password can copy the whole cluster, all databases of it", f.Role.Name),
			fmt.Sprintf("in pg_hba.conf, before the line for the database \"replication\" that lets it in, and reload: host replication %s all reject", role))
	}
	return p.findings
}

// tryReplication opens and closes a connection of a kind: "database" for logical, "true" for physical replication.
func tryReplication(ctx context.Context, dsn, kind string) error {
	cfg, err := parseDSN(dsn)
	if err != nil {
		return err
	}
	cfg.RuntimeParams["replication"] = kind
	cfg.AfterConnect = nil // physical replication knows no SQL
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	conn, err := pgconn.ConnectConfig(ctx, &cfg.Config)
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

// oneLine is the server's own words where there are some: pgconn lists every address that it tried.
func oneLine(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Message
	}
	return err.Error()
}

// ClockSkew is how far the server's clock is ahead of this machine's, or behind when it is negative. Half of the way there and back
// is taken for the way back. now is this machine's clock.
func ClockSkew(ctx context.Context, conn *pgx.Conn, now func() time.Time) (time.Duration, error) {
	began := now()
	var there time.Time
	if err := conn.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&there); err != nil {
		return 0, fmt.Errorf("read the server's clock: %w", err)
	}
	ended := now()
	return there.Sub(began.Add(ended.Sub(began) / 2)), nil
}
