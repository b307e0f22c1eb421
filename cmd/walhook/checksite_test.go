package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/cdc"
	"walhook/internal/pgserver"
	"walhook/internal/pgtest"
)

// site is a database with its roles and a configuration, on which something is about to go wrong.
type site struct {
	*testing.T
	server *pgserver.Server
	env    map[string]string // what provide has made: SUPER_DSN, OWNER_DSN, WALHOOK_DSN, SLOT …
	config string            // path
	now    func() time.Time
	isSet  bool // setup has been run in this phase
}

// newSite makes one. config is TOML, in which $NAME stands for env.
func newSite(t *testing.T, server *pgserver.Server, config string) *site {
	t.Helper()
	s := &site{T: t, server: server, env: map[string]string{}, config: filepath.Join(t.TempDir(), "walhook.toml"), now: time.Now}
	super := server.DSN("odoo")
	if server == pgtest.Server(t) {
		super = pgtest.Database(t)
	} else {
		pgtest.Exec(t, server.DSN("postgres"), "CREATE DATABASE odoo")
	}
	if err := provide(t, func(k, v string) { s.env[k] = v }, super, server); err != nil {
		t.Fatal(err)
	}
	s.configure(config)
	return s
}

// configure writes the configuration.
func (s *site) configure(config string) {
	s.Helper()
	if err := os.WriteFile(s.config, []byte(s.expand(config)), 0o600); err != nil {
		s.Fatal(err)
	}
}

func (s *site) expand(text string) string {
	return os.Expand(text, func(k string) string { return s.env[k] })
}

// amend replaces a text in the configuration.
func (s *site) amend(old, with string) {
	s.Helper()
	text, err := os.ReadFile(s.config)
	if err != nil {
		s.Fatal(err)
	}
	if old, with = s.expand(old), s.expand(with); !strings.Contains(string(text), old) {
		s.Fatalf("the configuration does not hold %q:\n%s", old, text)
	} else if err := os.WriteFile(s.config, []byte(strings.Replace(string(text), old, with, 1)), 0o600); err != nil {
		s.Fatal(err)
	}
}

// super, owner and role run SQL as one of the logins.
func (s *site) super(sql string) { s.Helper(); pgtest.Exec(s.T, s.env["SUPER_DSN"], s.expand(sql)) }
func (s *site) owner(sql string) { s.Helper(); pgtest.Exec(s.T, s.env["OWNER_DSN"], s.expand(sql)) }
func (s *site) role(sql string)  { s.Helper(); pgtest.Exec(s.T, s.env["WALHOOK_DSN"], s.expand(sql)) }

// text is one value, as the superuser sees it.
func (s *site) text(sql string) (value string) {
	s.Helper()
	conn := pgtest.Connect(s.T, s.env["SUPER_DSN"])
	defer conn.Close(context.Background())
	if err := conn.QueryRow(context.Background(), s.expand(sql)).Scan(&value); err != nil {
		s.Fatalf("%s: %v", sql, err)
	}
	return value
}

// await asks until the answer is true.
func (s *site) await(sql string) {
	s.Helper()
	for end := time.Now().Add(30 * time.Second); s.text("SELECT ("+sql+")::text") != "true"; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			s.Fatalf("not true after 30 s: %s", sql)
		}
	}
}

// walhook runs a command that must succeed.
func (s *site) walhook(args ...string) {
	s.Helper()
	var out, errs strings.Builder
	for i, a := range args {
		args[i] = s.expand(a)
	}
	if code := run(context.Background(), append(args, "--config", s.config), &out, &errs); code != exitOK {
		s.Fatalf("walhook %s: status %d\n%s%s", strings.Join(args, " "), code, out.String(), errs.String())
	}
}

func (s *site) setup() { s.Helper(); s.walhook("setup", "--dsn", "$OWNER_DSN") }

// setupUntilAdopted runs setup where it does everything and ends with the advice to adopt.
func (s *site) setupUntilAdopted() {
	s.Helper()
	var out, errs strings.Builder
	if code := run(context.Background(), []string{"setup", "--dsn", s.env["OWNER_DSN"], "--config", s.config}, &out, &errs); code != exitEnvironment || !strings.HasSuffix(strings.TrimSpace(errs.String()), "walhook run --adopt") {
		s.Fatalf("status %d\n%s%s", code, out.String(), errs.String())
	}
}

// restart restarts a server of the site's own.
func (s *site) restart() {
	s.Helper()
	if err := s.server.Restart(context.Background(), "fast"); err != nil {
		s.Fatal(err)
	}
}

// check runs the check. Where walhook's role cannot log in, it looks through the owner's login.
func (s *site) check() *report {
	s.Helper()
	cfg, err := loadConfig(s.config, os.LookupEnv)
	if err != nil {
		s.Fatal(err)
	}
	k := &checker{cfg: cfg, now: s.now}
	if err := k.run(context.Background(), s.env["OWNER_DSN"]); err != nil {
		s.Fatal(err)
	}
	if code := exitCode(k.report.exit()); (code == exitOK) != k.report.OK {
		s.Errorf("exit status %d with %+v", code, k.report)
	}
	for _, f := range k.report.Findings {
		if f.Message == "" || f.Hint == "" || strings.Contains(f.Hint, "%!") || strings.Contains(f.Message, "%!") {
			s.Errorf("message or remedy is missing or broken: %+v", f)
		}
	}
	return k.report
}

// find returns the first finding of a code, nil when there is none.
func (r *report) find(code string) *finding {
	if i := slices.IndexFunc(r.Findings, func(f finding) bool { return f.Code == code }); i >= 0 {
		return &r.Findings[i]
	}
	return nil
}

// streams runs walhook until the slot has caught up with the server.
func (s *site) streams(flags ...string) {
	s.Helper()
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	ended := make(chan string, 1)
	go func() {
		var errs strings.Builder
		code := run(ctx, append([]string{"run", "--config", s.config, "--log-format", "json"}, flags...), io.Discard, &errs)
		ended <- fmt.Sprintf("%d %s", code, errs.String())
	}()
	for end := time.Now().Add(30 * time.Second); s.text("SELECT (active AND pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn) <= 20000000 AND pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) <= 20000000)::text FROM pg_replication_slots WHERE slot_name = '$SLOT'") != "true"; time.Sleep(100 * time.Millisecond) {
		select {
		case out := <-ended:
			s.Fatalf("walhook run ended: %s", out)
		default:
		}
		if time.Now().After(end) {
			s.Fatal("the slot does not catch up")
		}
		s.super("CHECKPOINT") // logs running transactions, which lets restart_lsn move on
	}
	cancel(errInterrupted)
	<-ended
	s.await("SELECT NOT active FROM pg_replication_slots WHERE slot_name = '$SLOT'")
}

// statement finds SQL in a remedy.
var statement = regexp.MustCompile(`(ALTER (?:SYSTEM|ROLE|TABLE|DATABASE|PUBLICATION) |GRANT |DROP PUBLICATION |CREATE ROLE |ROLLBACK PREPARED |SELECT pg_\w+\().*?(?:;|, or |\), |$)`)

// sqlOf returns the statements of a remedy. What a person has to choose ('…') is given.
func sqlOf(t *testing.T, hint, choice string) (list []string) {
	t.Helper()
	for _, sql := range statement.FindAllString(hint, -1) {
		for _, end := range []string{";", ", or ", "), "} {
			sql = strings.TrimSuffix(sql, end)
		}
		list = append(list, strings.ReplaceAll(sql, "'…'", "'"+choice+"'"))
	}
	if len(list) == 0 {
		t.Fatalf("no SQL in %q", hint)
	}
	return list
}

// bySQL follows a remedy by running its SQL as the superuser.
func bySQL(s *site, f finding) { s.Helper(); bySQLWith("")(s, f) }

// bySQLWith is bySQL, with what is to be written in place of '…'.
func bySQLWith(choice string) func(*site, finding) {
	return func(s *site, f finding) {
		s.Helper()
		for _, sql := range sqlOf(s.T, f.Hint, choice) {
			s.super(sql) // one by one: ALTER SYSTEM runs in no transaction block
		}
	}
}

// bySetup follows the remedy `walhook setup`, with the login of the owner.
func bySetup(s *site, f finding) {
	s.Helper()
	if !strings.Contains(f.Hint, "walhook setup") && !f.Setup {
		s.Errorf("%s: the remedy is not setup: %+v", f.Code, f)
	}
	if !s.isSet {
		s.setup()
		s.isSet = true
	}
}

// TestCodesOfFindings keeps the table of codes complete: every code that the source mentions is in it, once, and the other way round.
func TestCodesOfFindings(t *testing.T) {
	inSource := codesInSource(t, "../../cdc", ".")
	known := map[string]int{}
	for _, k := range findingKinds() {
		known[k.Code]++
		if k.Meaning == "" || k.Remedy == "" || known[k.Code] > 1 {
			t.Errorf("%q has no meaning or no remedy, or is there twice", k.Code)
		}
	}
	for code := range inSource {
		if known[code] == 0 {
			t.Errorf("%s reports %q, which findingKinds does not list", inSource[code], code)
		}
	}
	for code := range known {
		if inSource[code] == "" {
			t.Errorf("nothing reports %q", code)
		}
	}
	var out, errs strings.Builder
	if code := run(t.Context(), []string{"check", "--codes", "--json"}, &out, &errs); code != exitOK {
		t.Fatalf("status %d %s", code, errs.String())
	}
	var list []struct{ Code, Severity, Meaning, Remedy string }
	if err := json.Unmarshal([]byte(out.String()), &list); err != nil || len(list) != len(known) || list[0].Remedy == "" {
		t.Errorf("%d codes are listed: %v", len(list), err)
	}
}

// TestEveryFindingIsProvoked lets nobody add a finding without a test that provokes it.
func TestEveryFindingIsProvoked(t *testing.T) {
	provoked := map[string]bool{}
	for _, c := range checkCases() {
		for _, phase := range c.phases {
			for _, p := range phase {
				provoked[p.code] = true
			}
		}
	}
	for _, k := range findingKinds() {
		why := unprovoked[k.Code]
		switch {
		case !provoked[k.Code] && why == "":
			t.Errorf("no case of checkCases provokes %q", k.Code)
		case provoked[k.Code] && why != "":
			t.Errorf("%q is provoked, and excused all the same", k.Code)
		}
		delete(provoked, k.Code)
	}
	if len(provoked) > 0 {
		t.Errorf("cases of codes that do not exist: %q", slices.Sorted(maps.Keys(provoked)))
	}
}

// TestCheckFinds provokes every finding on a real server, follows its remedy, and sees it gone.
func TestCheckFinds(t *testing.T) {
	for _, c := range checkCases() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := pgtest.Server(t)
			if server.Major() < c.since {
				t.Skipf("what some of these findings are about: needs PostgreSQL %d", c.since)
			}
			if c.options != nil {
				server = pgtest.Cluster(t, *c.options)
			}
			s := newSite(t, server, c.config)
			if c.before != nil {
				c.before(s)
			}
			for i, phase := range c.phases {
				s.phase(i, phase)
			}
		})
	}
}

// phase provokes all findings of a phase, follows all remedies, and looks again.
func (s *site) phase(n int, phase []provocation) {
	s.Helper()
	phase = slices.DeleteFunc(slices.Clone(phase), func(p provocation) bool { return p.unless != nil && p.unless(s) })
	for _, p := range phase {
		if p.provoke != nil {
			p.provoke(s)
		}
	}
	var shared *report
	found := make([]*finding, len(phase))
	for i, p := range phase {
		r := shared
		switch {
		case p.needs != nil:
			r = s.inspect(p.needs(s))
		case r == nil:
			r = s.check()
			shared = r
		}
		if found[i] = r.find(p.code); found[i] == nil {
			s.Fatalf("phase %d: no finding %s:\n%+v", n, p.code, r.Findings)
		}
		s.Logf("%-24s %s\n    %s", p.code, found[i].Message, found[i].Hint)
		if p.says != "" && !strings.Contains(found[i].Message+" "+found[i].Hint, s.expand(p.says)) {
			s.Errorf("%s does not say %q: %+v", p.code, s.expand(p.says), *found[i])
		}
		if k := kindOf(p.code); cdc.Severity(found[i].Severity) != k.Severity && !(k.Severity == cdc.SeverityError && strings.Contains(k.Meaning, "a "+found[i].Severity+" where")) {
			s.Errorf("%s is of severity %s, the table says %s: %s", p.code, found[i].Severity, k.Severity, k.Meaning)
		}
	}
	for i, p := range phase {
		if p.follow == nil {
			s.Fatalf("%s: nobody follows its remedy", p.code)
		}
		p.follow(s, *found[i])
	}
	shared, s.isSet = nil, false
	for _, p := range phase {
		r := shared
		switch {
		case p.instead != nil:
			r = s.inspect(p.instead)
		case p.needs != nil:
			r = s.inspect(p.needs(s))
		case r == nil:
			r = s.check()
			shared = r
		}
		if f := r.find(p.code); f != nil {
			s.Errorf("phase %d: %s is still there after its remedy was followed: %+v", n, p.code, *f)
		}
	}
}

// inspect judges tables that no rule can name: rules refuse them before.
func (s *site) inspect(needs []cdc.TableNeed) *report {
	s.Helper()
	conn := pgtest.Connect(s.T, s.env["OWNER_DSN"])
	defer conn.Close(context.Background())
	facts, err := cdc.InspectAs(context.Background(), conn, s.env["ROLE"], s.env["SLOT"], "walhook", needs)
	if err != nil {
		s.Fatal(err)
	}
	r := &report{}
	r.preflight(cdc.Preflight(facts, needs))
	return r
}

func kindOf(code string) (kind cdc.FindingKind) {
	for _, k := range findingKinds() {
		if k.Code == code {
			kind = k
		}
	}
	return kind
}

// held opens a connection that stays for the rest of the test, with settings of its own.
func (s *site) held(dsn string, settings map[string]string) *pgx.Conn {
	s.Helper()
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		s.Fatal(err)
	}
	maps.Copy(cfg.RuntimeParams, settings)
	conn, err := pgx.ConnectConfig(context.Background(), cfg)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}
