package storm

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/internal/pgserver"
)

// Cluster is a server of the world's own, with the one database that matters.
type Cluster struct {
	Name     string // "source" or "state"
	Database string

	mu     sync.Mutex // of the server, whose methods may not be called concurrently
	server *pgserver.Server

	idleMu sync.Mutex
	idle   *pgx.Conn // a superuser's, for [Cluster.Query]
}

// newCluster starts a server. Its log goes to a file of the world's folder, and the files of its database to a disk of their own unless
// that is nil.
func newCluster(t testing.TB, dir, name string, on *disk, settings map[string]string) *Cluster {
	t.Helper()
	log, err := os.Create(filepath.Join(dir, name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := pgserver.Start(context.Background(), pgserver.Options{Trust: true, Settings: settings, Log: log, StartTimeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	c := &Cluster{Name: name, Database: "storm", server: s}
	t.Cleanup(func() {
		c.hangUp()
		if err := c.With((*pgserver.Server).Close); err != nil {
			t.Errorf("close the %s: %v", name, err)
		}
		log.Close()
	})
	create := "CREATE DATABASE " + c.Database
	if on != nil {
		place, err := on.tablespace(s.DataDir())
		if err == nil {
			err = c.exec(context.Background(), s.DSN("postgres"), "CREATE TABLESPACE small LOCATION '"+place+"'")
		}
		if err != nil {
			t.Fatal(err)
		}
		create += " TABLESPACE small"
	}
	if err := c.exec(context.Background(), s.DSN("postgres"), create); err != nil {
		t.Fatal(err)
	}
	return c
}

// With does something to the server while nobody else does.
func (c *Cluster) With(do func(*pgserver.Server) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return do(c.server)
}

// DSN is the superuser's, on the database, past any link.
func (c *Cluster) DSN() string { return c.server.DSN(c.Database) }

// Addr is where the server listens.
func (c *Cluster) Addr() string { return fmt.Sprintf("127.0.0.1:%d", c.server.Port()) }

// Exec runs statements as the superuser, past any link, in one go. While the server is away it waits: a statement is
// tried again only as long as there is no connection.
func (c *Cluster) Exec(ctx context.Context, sql string) error { return c.exec(ctx, c.DSN(), sql) }

func (c *Cluster) exec(ctx context.Context, dsn, sql string) error {
	conn, err := c.connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
		return fmt.Errorf("%.500s: %w", sql, err)
	}
	return nil
}

// Connect opens a superuser's connection, past any link, which the caller closes. It waits for a server that is away.
func (c *Cluster) Connect(ctx context.Context) (*pgx.Conn, error) { return c.connect(ctx, c.DSN()) }

func (c *Cluster) connect(ctx context.Context, dsn string) (conn *pgx.Conn, err error) {
	for end := time.Now().Add(patience); ; {
		one, cancel := context.WithTimeout(ctx, 10*time.Second)
		conn, err = pgx.Connect(one, dsn)
		cancel()
		if err == nil || ctx.Err() != nil || time.Now().After(end) {
			return conn, err
		}
		time.Sleep(20 * time.Millisecond) // a server that is starting
	}
}

// Query reads one value, as the superuser and past any link. It is called many times a second: connections are used again.
func (c *Cluster) Query(ctx context.Context, into any, sql string, args ...any) error {
	c.idleMu.Lock()
	conn := c.idle
	c.idle = nil
	c.idleMu.Unlock()
	if conn != nil {
		err := conn.QueryRow(ctx, sql, args...).Scan(into)
		if err == nil {
			c.keep(conn)
			return nil
		}
		conn.Close(context.WithoutCancel(ctx)) // its server may have been restarted
	}
	conn, err := c.Connect(ctx)
	if err != nil {
		return err
	}
	if err := conn.QueryRow(ctx, sql, args...).Scan(into); err != nil {
		conn.Close(context.WithoutCancel(ctx))
		return fmt.Errorf("%s: %w", sql, err)
	}
	c.keep(conn)
	return nil
}

func (c *Cluster) keep(conn *pgx.Conn) {
	c.idleMu.Lock()
	conn, c.idle = c.idle, conn
	c.idleMu.Unlock()
	if conn != nil {
		conn.Close(context.Background())
	}
}

// hangUp closes the connection that is kept.
func (c *Cluster) hangUp() { c.keep(nil) }
