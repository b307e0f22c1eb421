package main

import (
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"walhook/delivery/signature"
	"walhook/internal/pgserver"
)

//go:embed demo/schema.sql
var demoSchema string

//go:embed demo/walhook.toml
var demoConfig string

func (a *app) demoCommand() *cobra.Command {
	var keep bool
	c := &cobra.Command{
		Use:   "demo",
		Short: "See it work: a private PostgreSQL, Odoo's tables, a receiver and walhook",
		Long: `demo starts a PostgreSQL of its own, creates tables as Odoo has them, a receiver and walhook itself, and plays a
short business day. It prints what was written beside what was delivered, and ends with status 0 only if every
expected webhook arrived, once, signed and in order, and no other.

It needs no configuration and touches nothing of yours. PostgreSQL's programs are taken from $WALHOOK_PG_BIN, PATH or the
usual places, and downloaded when the machine has none. Ctrl-C cleans up.`,
		Example: "  walhook demo\n  walhook demo --keep        # then type SQL and watch webhooks arrive",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := &demo{app: a, keep: keep}
			err := d.run(cmd.Context())
			if cmd.Context().Err() == nil || !errors.Is(context.Cause(cmd.Context()), errInterrupted) {
				return err
			}
			fmt.Fprintln(a.stdout, "\ninterrupted: everything is cleaned up")
			if d.over {
				return err // what the day showed
			}
			return d.leftBehind
		},
	}
	c.Flags().BoolVar(&keep, "keep", false, "leave it running after the day, for SQL of your own")
	return c
}

// demo is one run of the command.
type demo struct {
	app  *app
	keep bool

	server   *pgserver.Server
	receiver *demoReceiver
	pipeline *pipeline
	odoo     *pgx.Conn
	odooDSN  string
	folder   string
	config   string // path of the configuration file

	seen    int  // arrivals that were looked at
	over    bool // the day has been played
	failed  []string
	closers []closer

	leftBehind error // what could not be cleaned up
}

func (d *demo) run(ctx context.Context) (err error) {
	began := time.Now()
	defer func() {
		d.leftBehind = d.close()
		err = errors.Join(err, d.leftBehind)
	}()
	d.say("walhook demo: a private PostgreSQL, Odoo's tables, a receiver, and walhook between them\n")
	if err := d.database(ctx); err != nil {
		return err
	}
	if err := d.configure(ctx); err != nil {
		return err
	}
	cfg, err := loadConfig(d.config, d.app.env)
	if err != nil {
		return err
	}
	quiet := &app{stdout: io.Discard, stderr: d.app.stderr, env: d.app.env}
	if err := (&setup{app: quiet, cfg: cfg, out: quiet.stdout}).run(ctx, d.odooDSN); err != nil {
		return err
	}
	log, flush, err := newLogger(d.app.stderr, withDefault(d.app.logLevel, "fatal"), d.app.logFormat)
	if err != nil {
		return err
	}
	defer flush()
	if d.pipeline, err = openPipeline(ctx, cfg, log, false); err != nil {
		return err
	}
	d.say("walhook streams, %s after the start: 6 rules, 2 endpoints, all in an ordinary walhook.toml\n", time.Since(began).Round(100*time.Millisecond))
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- errors.Join(d.pipeline.Run(running), d.pipeline.Close()) }()
	defer func() {
		stop()
		if e := <-ended; e != nil {
			err = errors.Join(err, fmt.Errorf("walhook: %w", e))
		}
	}()
	day, over := context.WithTimeout(ctx, time.Minute)
	defer over()
	if err := d.day(day); err != nil {
		return err
	}
	d.over = true
	if err = d.summary(time.Since(began)); d.keep {
		err = errors.Join(err, d.stay(ctx, ended))
	}
	return err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// database starts the server and makes an Odoo-shaped database in it, owned by Odoo's role.
func (d *demo) database(ctx context.Context) error {
	began := time.Now()
	server, err := pgserver.Start(ctx, pgserver.Options{Settings: map[string]string{"fsync": "off"}})
	if err != nil {
		return environmentError(fmt.Errorf("start a private PostgreSQL: %w", err), "")
	}
	d.server = server
	undo := beforeAbort(ctx, func() { _ = server.Close() }) // the process ends in any case
	d.defers("PostgreSQL", func() error {
		defer undo() // not before: a second signal in the middle of it must not leave half of it
		return server.Close()
	})
	admin, err := connect(ctx, "the private PostgreSQL", server.DSN("postgres"))
	if err != nil {
		return err
	}
	defer closeConn(admin)
	odoo, walhook := rand.Text(), rand.Text()
	prepare := []string{
		"CREATE ROLE odoo LOGIN PASSWORD '" + odoo + "'",
		"CREATE ROLE walhook LOGIN REPLICATION PASSWORD '" + walhook + "'",
		"CREATE DATABASE odoo OWNER odoo",
	}
	if server.Major() >= 13 {
		prepare = append(prepare, "ALTER SYSTEM SET max_slot_wal_keep_size = '1GB'", "SELECT pg_reload_conf()")
	}
	for _, sql := range prepare {
		if _, err := admin.Exec(ctx, sql); err != nil {
			return fmt.Errorf("prepare the private PostgreSQL: %w", err)
		}
	}
	d.odooDSN = server.DSNFor("odoo", odoo, "odoo")
	if d.odoo, err = connect(ctx, "the demo's database", d.odooDSN); err != nil {
		return err
	}
	d.defers("connection", func() error { closeConn(d.odoo); return nil })
	if _, err := d.odoo.PgConn().Exec(ctx, demoSchema).ReadAll(); err != nil {
		return fmt.Errorf("create the demo's tables: %w", err)
	}
	d.config = server.DSNFor("walhook", walhook, "odoo")
	d.say("PostgreSQL runs on port %d, %s after the start; it has a role odoo that owns the tables and a role walhook that may replicate", server.Port(), time.Since(began).Round(100*time.Millisecond))
	return nil
}

// configure starts the receiver and writes the configuration, as a user would.
func (d *demo) configure(ctx context.Context) error {
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return fmt.Errorf("make a secret: %w", err)
	}
	text := "whsec_" + base64.StdEncoding.EncodeToString(key)
	secret, err := signature.ParseSecret(text)
	if err != nil {
		return fmt.Errorf("make a secret: %w", err)
	}
	if d.receiver, err = startReceiver(ctx, secret); err != nil {
		return err
	}
	d.defers("receiver", d.receiver.Close)
	if d.folder, err = os.MkdirTemp("", "walhook-demo-"); err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	folder := d.folder
	undo := beforeAbort(ctx, func() { _ = os.RemoveAll(folder) }) // the process ends in any case
	d.defers("folder", func() error {
		defer undo()
		return os.RemoveAll(folder)
	})
	listen, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	config := strings.NewReplacer("{{dsn}}", d.config, "{{listen}}", listen, "{{receiver}}", d.receiver.address, "{{secret}}", text).Replace(demoConfig)
	d.config = filepath.Join(d.folder, "walhook.toml")
	if err := os.WriteFile(d.config, []byte(config), 0o600); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	return nil
}

// freeAddress finds a port, so that `walhook status` can be told of it in the file.
func freeAddress(ctx context.Context) (string, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// stay shows how to go on, and every webhook as it comes, until it is interrupted.
func (d *demo) stay(ctx context.Context, ended chan error) error {
	psql := "psql"
	if _, err := exec.LookPath(psql); err != nil {
		if beside := filepath.Join(d.server.Bin(), "psql"); exists(beside) {
			psql = beside
		}
	}
	d.say("\nIt goes on running. In another terminal:\n")
	d.say("  %s '%s'", psql, d.odooDSN)
	d.say("    INSERT INTO res_partner (name, city, is_company) VALUES ('You', 'Here', false);")
	d.say("    UPDATE product_template SET list_price = 9.99 WHERE id = 7;")
	d.say("  walhook status --config %s", d.config)
	d.say("  http://%s/\n", d.pipeline.server.Addr())
	d.say("Webhooks as they arrive; Ctrl-C ends it and cleans up:\n")
	d.receiver.follow(d.seen, func(r arrival) {
		d.say("  %s  %-5s %-18s %-22s %s", r.at.Format(time.TimeOnly), r.endpoint, r.event, r.record, shorten(string(r.data), 100))
	})
	select {
	case <-ctx.Done():
		return nil
	case err := <-ended:
		ended <- err // for run, which says so
		return nil
	}
}

func (d *demo) defers(name string, f func() error) {
	d.closers = append(d.closers, closer{name, f})
}

func (d *demo) close() error {
	var problems []error
	for i := len(d.closers) - 1; i >= 0; i-- {
		if err := d.closers[i].close(); err != nil {
			problems = append(problems, fmt.Errorf("clean up %s: %w", d.closers[i].name, err))
		}
	}
	return errors.Join(problems...)
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.app.stdout, format+"\n", args...) }

func withDefault(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
