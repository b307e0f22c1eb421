package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"walhook/cdc/catalog"
	"walhook/delivery"
)

func (a *app) initCommand() *cobra.Command {
	i := &initial{app: a}
	c := &cobra.Command{
		Use:   "init",
		Short: "Write a configuration for a database",
		Long: `init looks at a database and writes a commented walhook.toml for it: with rules for models that the database has, a new
secret to sign with, and names for slot and role that are free. It changes nothing in the database and sends nothing: the
endpoint that it writes is on this machine until you name a real one.

Give the login that owns the database (Odoo's own): init only reads. walhook itself needs a role of its own; what to do
next is printed at the end. The file is readable for its owner only.`,
		Example: `  walhook init --dsn postgres://odoo@db.internal/odoo
  walhook init --dsn postgres://odoo@db.internal/odoo --url https://erp.example.com/hooks -o /etc/walhook.toml
  walhook init --dsn "host=db.internal user=odoo dbname=odoo" --output -`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return i.run(cmd.Context(), os.Stdin) },
	}
	f := c.Flags()
	f.StringVar(&i.dsn, "dsn", "", "the database to look at, with a login that may read it")
	f.StringVar(&i.role, "role", "", "walhook's own role (default the login of --dsn if it may replicate and nothing more, else walhook)")
	f.StringVar(&i.url, "url", "", "where webhooks go (default an address of this machine)")
	f.StringVarP(&i.output, "output", "o", "walhook.toml", "the file to write; - prints it")
	f.BoolVar(&i.force, "force", false, "overwrite the file if it is there")
	f.BoolVar(&i.asJSON, "json", false, "print JSON: what was written, and what to do next")
	return c
}

// initial is one run of the command.
type initial struct {
	app                    *app
	dsn, role, url, output string
	force, asJSON          bool
}

func (i *initial) run(ctx context.Context, in io.Reader) error {
	if i.asJSON && i.output == "-" {
		return usagef("walhook init --json -o walhook.toml", "--output - prints the file itself, which is TOML: --json does not fit")
	}
	if err := i.checkURL(); err != nil {
		return err
	}
	if err := i.free(); err != nil {
		return err
	}
	if err := i.askDSN(in); err != nil {
		return err
	}
	conn, err := connect(ctx, "--dsn", i.dsn)
	if err != nil {
		return err
	}
	defer closeConn(conn)
	cat, err := catalog.Load(ctx, conn)
	var privilege *catalog.PrivilegeError
	if errors.As(err, &privilege) {
		return environmentError(err, "give --dsn the login that owns Odoo's database; init only reads")
	}
	if err != nil {
		return environmentError(err, "")
	}
	d, err := i.draft(ctx, conn, cat)
	if err != nil {
		return err
	}
	text := d.text()
	if _, err := parseConfig(i.output, []byte(text), i.app.env); err != nil {
		return fmt.Errorf("the configuration that init has written is wrong, which is a mistake in walhook: %w", err)
	}
	if i.output == "-" {
		_, err := io.WriteString(i.app.stdout, text)
		return err
	}
	if err := i.write(text); err != nil {
		return err
	}
	if i.asJSON {
		return i.app.printJSON(d.shown(i.output, i.dsn))
	}
	_, err = io.WriteString(i.app.stdout, d.next(i.output, i.dsn))
	return err
}

// checkURL refuses an address to which nothing could be sent.
func (i *initial) checkURL() error {
	if i.url == "" {
		return nil
	}
	var all []error
	for _, e := range flatten((delivery.EndpointConfig{URL: delivery.URL(i.url)}).Validate()) {
		hint := hintOf(e)
		if hint == "" {
			hint = "walhook init --url https://erp.example.com/hooks"
		}
		all = append(all, usagef(hint, "--url: %v", e))
	}
	return errors.Join(all...)
}

// free refuses to overwrite a file.
func (i *initial) free() error {
	if i.output == "-" || i.force {
		return nil
	}
	if _, err := os.Lstat(i.output); err == nil {
		return usagef("choose another file with --output, or overwrite it with --force", "%s is there already", i.output)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return usagef("choose another file with --output", "%v", err)
	}
	return nil
}

// askDSN asks for the database on a terminal.
func (i *initial) askDSN(in io.Reader) error {
	if i.dsn != "" {
		return nil
	}
	const hint = "walhook init --dsn postgres://odoo@localhost/odoo"
	if f, ok := in.(*os.File); ok && !isatty.IsTerminal(f.Fd()) {
		return usagef(hint, "--dsn is missing: which database is it for?")
	}
	fmt.Fprint(i.app.stdout, "Connection string of Odoo's database, such as postgres://odoo@localhost/odoo: ")
	line, err := bufio.NewReader(in).ReadString('\n')
	if i.dsn = strings.TrimSpace(line); i.dsn == "" {
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read the connection string: %w", err)
		}
		return usagef(hint, "--dsn is missing: which database is it for?")
	}
	return nil
}

// write makes the file, readable for its owner only, whole or not at all.
func (i *initial) write(text string) error {
	f, err := os.CreateTemp(filepath.Dir(i.output), ".walhook-*.toml") // 0600
	if err != nil {
		return usagef("choose another file with --output", "%v", err)
	}
	defer os.Remove(f.Name()) // gone after the rename
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", i.output, err)
	}
	if i.force {
		err = os.Rename(f.Name(), i.output)
	} else {
		err = os.Link(f.Name(), i.output) // unlike a rename it does not replace a file that has come meanwhile
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", i.output, err)
	}
	return nil
}

// draft finds out what the file is to say.
func (i *initial) draft(ctx context.Context, conn *pgx.Conn, cat *catalog.Catalog) (*draft, error) {
	d := &draft{database: conn.Config().Database, odoo: cat.Odoo, slot: "walhook", url: i.url, role: i.role, dsn: i.dsn}
	const look = `SELECT current_setting('server_version'), current_setting('wal_level'), r.rolreplication AND NOT r.rolsuper, r.rolsuper, current_user::text, pg_catalog.pg_get_userbyid(d.datdba)::text,
			coalesce((SELECT rolsuper FROM pg_catalog.pg_roles WHERE oid = d.datdba), false),
			EXISTS (SELECT FROM pg_catalog.pg_replication_slots WHERE slot_name = 'walhook' AND database IS DISTINCT FROM d.datname)
		FROM pg_catalog.pg_roles r, pg_catalog.pg_database d WHERE r.rolname = current_user AND d.datname = pg_catalog.current_database()`
	var own, super, ownerSuper, taken bool
	var login, owner string
	if err := conn.QueryRow(ctx, look).Scan(&d.server, &d.walLevel, &own, &super, &login, &owner, &ownerSuper, &taken); err != nil {
		return nil, environmentError(fmt.Errorf("look at the server: %w", err), "")
	}
	if taken {
		d.slot = slotNameOf(d.database)
	}
	switch {
	case i.role == "" && own:
		d.role = login
	case i.role == "":
		d.role = "walhook"
	}
	if owner != d.role && !ownerSuper {
		d.member = owner
	}
	if d.role != login {
		d.dsn, d.ownerDSN = withRole(i.dsn, d.role), i.dsn
	}
	if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = $1)`, d.role).Scan(&d.roleExists); err != nil {
		return nil, environmentError(fmt.Errorf("look at the server: %w", err), "")
	}
	if d.url == "" {
		d.anyURL = true
		d.url = "http://127.0.0.1:9000/odoo"
	}
	key := make([]byte, 24)
	_, _ = rand.Read(key) // never fails
	d.secret = "whsec_" + base64.StdEncoding.EncodeToString(key)
	d.rules = draftRules(cat)
	return d, nil
}

var notInSlotName = regexp.MustCompile(`[^a-z0-9_]+`)

// slotNameOf makes a name that no other database's walhook has: slots are the whole server's.
func slotNameOf(database string) string {
	name := "walhook_" + notInSlotName.ReplaceAllString(strings.ToLower(database), "_")
	return name[:min(len(name), 63)]
}

// withRole replaces the login of a connection string, and leaves its password out.
func withRole(dsn, role string) string {
	if u, err := url.Parse(dsn); err == nil && (u.Scheme == "postgres" || u.Scheme == "postgresql") {
		u.User = url.User(role)
		q := u.Query()
		q.Del("user")
		q.Del("password")
		u.RawQuery = q.Encode()
		return u.String()
	}
	t := targetOf(dsn)
	quote := func(s string) string {
		return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
	}
	text := fmt.Sprintf("host=%s port=%d user=%s dbname=%s", quote(t.host), t.port, quote(role), quote(t.database))
	if mode := regexp.MustCompile(`\bsslmode\s*=\s*'?([a-z-]+)`).FindStringSubmatch(dsn); mode != nil {
		text += " sslmode=" + mode[1]
	}
	return text
}
