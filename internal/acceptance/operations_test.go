package acceptance

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/internal/pgserver"
	"walhook/internal/pgtest"
)

// guide is docs/operations.md, as a reader would follow it.
type guide struct {
	t    *testing.T
	text string
}

func readGuide(t *testing.T) guide {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	return guide{t, string(text)}
}

// section returns what stands under a heading.
func (g guide) section(heading string) guide {
	g.t.Helper()
	_, text, ok := strings.Cut(g.text, "\n## "+heading+"\n")
	if !ok {
		g.t.Fatalf("docs/operations.md has no section %q", heading)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	return guide{g.t, text}
}

var sqlBlock = regexp.MustCompile("(?s)```sql\n-- as (.*?)\n(.*?)```")

// newerOnly is how the guide says that a statement is for some servers.
var newerOnly = regexp.MustCompile(`PostgreSQL (\d\d) and later`)

// sql returns the statements of the blocks that are for a login, each by itself, in order.
func (g guide) sql(login string) []string {
	g.t.Helper()
	var all []string
	for _, m := range sqlBlock.FindAllStringSubmatch(g.text, -1) {
		if m[1] != login {
			continue
		}
		for line := range strings.Lines(m[2]) {
			statement, remark, _ := strings.Cut(line, "--")
			if since := newerOnly.FindStringSubmatch(remark); since != nil && since[1] > strconv.Itoa(pgtest.Server(g.t).Major()) {
				continue
			}
			if statement = strings.TrimSpace(statement); statement != "" {
				all = append(all, statement)
			}
		}
	}
	if len(all) == 0 {
		g.t.Fatalf("no SQL for %s", login)
	}
	return all
}

// follow runs statements one by one on one connection, as psql would.
func follow(t *testing.T, dsn string, statements []string) {
	t.Helper()
	conn := pgtest.Connect(t, dsn)
	for _, s := range statements {
		if _, err := conn.Exec(t.Context(), s); err != nil {
			t.Fatalf("%s\n%v", s, err)
		}
	}
}

// registry are tables that Odoo describes itself in and the demo does without.
const registry = `
CREATE TABLE ir_model_inherit (id int PRIMARY KEY, model_id int NOT NULL, parent_id int NOT NULL, parent_field_id int);
CREATE TABLE ir_default (id int PRIMARY KEY, field_id int NOT NULL, user_id int, company_id int, condition varchar, json_value varchar NOT NULL);
CREATE TABLE res_lang (id int PRIMARY KEY, name varchar NOT NULL, code varchar NOT NULL, active bool);
CREATE TABLE res_company (id int PRIMARY KEY, name varchar NOT NULL, currency_id int NOT NULL);`

// TestOperationsPrivileges follows docs/operations.md on a new server: its SQL, by the logins that it names, and its line of pg_hba.conf and no other
// that lets walhook's role in.
func TestOperationsPrivileges(t *testing.T) {
	t.Parallel()
	g := readGuide(t)
	privileges, state := g.section("Privileges"), g.section("Where the state lies")
	line := regexp.MustCompile(`(?m)^host +odoo +walhook +\S+ +scram-sha-256$`).FindString(privileges.text)
	if line == "" {
		t.Fatal("docs/operations.md shows no line of pg_hba.conf")
	}
	local := func(line string) string {
		return regexp.MustCompile(`\d+\.\d+\.\d+\.\d+/32`).ReplaceAllString(line, "127.0.0.1/32")
	}
	scram := map[string]string{"password_encryption": "scram-sha-256"} // the default from PostgreSQL 14 on
	s := pgtest.Cluster(t, pgserver.Options{Settings: scram, HBA: []string{local(line), local(strings.Replace(line, "odoo", "walhook", 1)),
		"host all walhook 0.0.0.0/0 reject", "host replication walhook 0.0.0.0/0 reject"}})
	super := s.DSN("postgres")
	follow(t, super, []string{"CREATE ROLE odoo LOGIN PASSWORD 'o'", "CREATE DATABASE odoo OWNER odoo", "ALTER DATABASE odoo SET search_path = public"})
	owner, role := s.DSNFor("odoo", "o", "odoo"), s.DSNFor("walhook", "w", "odoo")
	schema, err := os.ReadFile(filepath.Join("..", "..", "cmd", "walhook", "demo", "schema.sql"))
	if err != nil {
		t.Fatal(err)
	}
	follow(t, s.DSN("odoo"), []string{"ALTER SCHEMA public OWNER TO odoo"})
	pgtest.Exec(t, owner, string(schema))
	pgtest.Exec(t, owner, registry)

	follow(t, super, privileges.sql("a superuser"))
	follow(t, super, []string{"ALTER ROLE walhook PASSWORD 'w'"})
	follow(t, owner, privileges.sql("the owner"))

	r := newReceiver(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	install := func(slot, more string) *installation {
		in := &installation{t: t, super: super, owner: owner, role: role, config: filepath.Join(t.TempDir(), "walhook.toml"), listen: l.Addr().String()}
		text := fmt.Sprintf("[source]\ndsn = %q\nslot = %q\n[http]\nlisten = %q\n%s\n[endpoints.erp]\nurl = %q\nsecrets = [%q]\n", role, slot, in.listen, more, r.URL, secret) +
			"[[rules]]\nname = \"sale_order_confirmed\"\nmodel = \"sale.order\"\non = [\"create\", \"write\"]\nwhen = 'became(\"state\", \"sale\")'\nendpoint = \"erp\"\n"
		if err := os.WriteFile(in.config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return in
	}

	// In a database of its own: walhook's role does the rest alone, and it works.
	follow(t, super, state.sql("a superuser"))
	in := install("walhook", fmt.Sprintf("[state]\ndsn = %q\n", s.DSNFor("walhook", "w", "walhook")))
	in.must("setup")
	in.must("check")
	p := in.run()
	pgtest.Exec(t, owner, "INSERT INTO sale_order (name, state, partner_id, partner_invoice_id, partner_shipping_id, date_order) VALUES ('S1', 'sale', 1, 1, 1, now())")
	in.wait("the webhook", 30*time.Second, func() bool { return len(r.all()) == 1 }, p)
	in.stop(p)

	// In Odoo's database, where the owner has made the schema; Odoo's backup goes on working.
	follow(t, owner, state.sql("the owner"))
	in = install("walhook_2", "")
	in.must("setup")
	follow(t, owner, state.sql("the owner, afterwards"))
	in.must("check")
	dump := exec.CommandContext(t.Context(), pgtest.Client(t, s, "pg_dump"), "-Fc", "-f", filepath.Join(t.TempDir(), "dump"), owner)
	if out, err := dump.CombinedOutput(); err != nil {
		t.Errorf("pg_dump as the owner: %v\n%s", err, out)
	}

	// The role can stream, and cannot copy the cluster.
	backup := exec.CommandContext(t.Context(), pgtest.Client(t, s, "pg_basebackup"), "-D", filepath.Join(t.TempDir(), "copy"), "-d", strings.Replace(role, "/odoo", "/", 1))
	out, err := backup.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "rejects replication connection") {
		t.Errorf("pg_basebackup as walhook's role: %v\n%s", err, out)
	}
	if _, err := try(role, "SELECT password FROM res_users"); err == nil {
		t.Error("walhook's role may read tables that no rule watches")
	}
}

// try runs a statement that may fail.
func try(dsn, sql string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	tag, err := conn.Exec(ctx, sql)
	return tag.String(), err
}
