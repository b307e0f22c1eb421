package harness

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"walhook/internal/pgserver"
	"walhook/internal/pgtest"
)

// Installation is a database with its owner, a role for walhook that has nothing but what the README says, and
// a configuration file.
type Installation struct {
	Super  string // DSN of the superuser
	Owner  string // DSN of the database's owner
	Role   string // DSN of walhook's role
	Config string // path of the configuration file
	Listen string // address of the status pages
	Slot   string // slots are the whole cluster's, so each installation has one of its own name

	t    *testing.T
	tags string
}

// Options of [Install]. The zero value installs the program that is shipped.
type Options struct {
	Tags   string // build tags of the program, separated by commas
	Source string // further lines of the section [source]; default: idle_advance = "1s"
	Config string // the rest of the configuration: endpoints and rules

	Server *pgserver.Server    // that the database is on; default the test binary's shared one
	Dial   func(string) string // changes the DSN that walhook connects with, as to a proxy; default none
}

// Install makes roles, hands the database to the owner, and writes the configuration.
func Install(t *testing.T, super string, o Options) *Installation {
	t.Helper()
	u, err := url.Parse(super)
	if err != nil {
		t.Fatal(err)
	}
	db := strings.TrimPrefix(u.Path, "/")
	owner, role := "owner_"+db, "walhook_"+db
	pgtest.Exec(t, super, fmt.Sprintf("CREATE ROLE %s LOGIN; CREATE ROLE %s LOGIN REPLICATION; ALTER DATABASE %s OWNER TO %s; ALTER SCHEMA public OWNER TO %s",
		owner, role, db, owner, owner))
	pgtest.Exec(t, super, fmt.Sprintf(`DO $$ DECLARE r record; BEGIN
		FOR r IN SELECT c.oid::regclass AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p', 'v', 'm', 'f') LOOP
			EXECUTE 'ALTER TABLE ' || r.name || ' OWNER TO %s';
		END LOOP; END $$`, owner))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := o.Server
	if server == nil {
		server = pgtest.Server(t)
	}
	if o.Source == "" {
		o.Source = `idle_advance = "1s"`
	}
	in := &Installation{t: t, tags: o.Tags, Slot: "walhook_" + db, Super: super, Owner: server.DSNFor(owner, "", db), Role: server.DSNFor(role, "", db),
		Config: filepath.Join(t.TempDir(), "walhook.toml"), Listen: l.Addr().String()}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if o.Dial != nil {
		in.Role = o.Dial(in.Role)
	}
	text := fmt.Sprintf("[source]\ndsn = %q\nslot = %q\n%s\n[http]\nlisten = %q\n%s", in.Role, in.Slot, o.Source, in.Listen, o.Config)
	if err := os.WriteFile(in.Config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if o.Server != nil {
		return in // its owner removes it whole
	}
	t.Cleanup(func() { // after the database is gone
		pgtest.Exec(t, pgtest.Server(t).DSN("postgres"), fmt.Sprintf("REASSIGN OWNED BY %s TO postgres; DROP OWNED BY %s; REASSIGN OWNED BY %s TO postgres; DROP OWNED BY %s", owner, owner, role, role))
	})
	return in
}

// Command prepares a command of walhook with this installation's configuration.
func (in *Installation) Command(args ...string) *exec.Cmd {
	return exec.Command(Binary(in.t, in.tags), append(args, "--config", in.Config)...)
}

// Walhook runs a command and returns what it printed.
func (in *Installation) Walhook(args ...string) (string, error) {
	out, err := in.Command(args...).CombinedOutput()
	return string(out), err
}

// Must is Walhook for a command that has to succeed.
func (in *Installation) Must(args ...string) string {
	in.t.Helper()
	out, err := in.Walhook(args...)
	if err != nil {
		in.t.Fatalf("walhook %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}
