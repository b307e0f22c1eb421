package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"walhook/internal/pgtest"
	"walhook/rules"
)

// Every example of docs/rules.md holds: rules compile against a real Odoo 18, and the cases after them come out as they say.
func TestRulesDocument(t *testing.T) {
	dsn := pgtest.Odoo(t, "18")
	text, err := os.ReadFile("../../docs/rules.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?ms)^```toml\n(.*?)^```$").FindAllStringSubmatchIndex(string(text), -1)
	rule, tried, compiled := "", 0, 0
	for _, at := range blocks {
		block, line := string(text[at[2]:at[3]]), 1+bytes.Count(text[:at[2]], []byte("\n"))
		if !strings.HasPrefix(block, "[[cases]]") {
			rule = block
		}
		t.Run(fmt.Sprintf("line_%d", line), func(t *testing.T) {
			dir := t.TempDir()
			config, cases := filepath.Join(dir, "walhook.toml"), filepath.Join(dir, "cases.toml")
			write := func(path, text string) {
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			write(config, fmt.Sprintf("[source]\ndsn = %q\n[endpoints.erp]\nurl = \"http://localhost:1/\"\n[endpoints.shop]\nurl = \"http://localhost:1/\"\n%s", dsn, rule))
			args := []string{"rules", "list", "--config", config}
			if block != rule {
				write(cases, block)
				args = []string{"rules", "test", cases, "--config", config}
				tried += strings.Count(block, "[[cases]]")
			} else {
				cfg, err := loadConfig(config, os.LookupEnv)
				if err != nil {
					t.Fatalf("%v\n%s", err, block)
				}
				if err := cfg.compilesOn(t, dsn); err != nil {
					t.Fatalf("%v\n%s", err, block)
				}
				compiled++
			}
			var out, problems bytes.Buffer
			if code := run(t.Context(), args, &out, &problems); code != exitOK {
				t.Errorf("exit status %d\n%s%s", code, &out, &problems)
			}
		})
	}
	statement := regexp.MustCompile(`env\.cr\.execute\("(.*)",`).FindSubmatch(text)
	if statement == nil {
		t.Fatal("there is no server action")
	}
	// As Odoo's driver fills in an id and a text.
	pgtest.Exec(t, dsn, strings.Replace(strings.Replace(string(statement[1]), "%s", "7", 1), "%s", "'DESK'", 1))
	if compiled < 15 || tried < 12 {
		t.Errorf("%d rules were compiled and %d cases tried", compiled, tried)
	}
}

// compilesOn compiles the rules against a database.
func (c *Config) compilesOn(t *testing.T, dsn string) error {
	t.Helper()
	conn := pgtest.Connect(t, dsn)
	cat, err := c.loadCatalog(t.Context(), conn)
	if err != nil {
		return err
	}
	if cat, err = cat.WithUsers(t.Context(), conn, rules.Logins(c.Rules)); err != nil {
		return err
	}
	_, err = c.compile(cat)
	return err
}
