package main

import (
	"errors"
	"strings"
	"testing"
)

func TestSlotNameOf(t *testing.T) {
	for database, want := range map[string]string{"odoo": "walhook_odoo", "My Shop-2": "walhook_my_shop_2", strings.Repeat("x", 70): "walhook_" + strings.Repeat("x", 55)} {
		if got := slotNameOf(database); got != want {
			t.Errorf("%s: %s, want %s", database, got, want)
		}
	}
}

// The password of another login never goes into the file.
func TestWithRole(t *testing.T) {
	for dsn, want := range map[string]string{
		"postgres://odoo:secret@db:5433/shop?sslmode=require":              "postgres://walhook@db:5433/shop?sslmode=require",
		"postgresql:///shop?host=/run/pg&user=odoo&password=secret":        "postgresql://walhook@/shop?host=%2Frun%2Fpg",
		"host=db port=5433 user=odoo password='it\\'s secret' dbname=shop": "host='db' port=5433 user='walhook' dbname='shop'",
	} {
		if got := withRole(dsn, "walhook"); got != want {
			t.Errorf("%s: %s, want %s", dsn, got, want)
		}
	}
}

// Questions are asked on a terminal only, and a wrong answer changes nothing.
func TestQuestions(t *testing.T) {
	var out strings.Builder
	for answer, want := range map[string]bool{"yes\n": true, "y\n": false, "\n": false, "": false, "yes": true} {
		down := &teardown{app: &app{stdout: &out}}
		if err := down.confirm(strings.NewReader(answer)); (err == nil) != want {
			t.Errorf("teardown: answer %q gives %v", answer, err)
		}
	}
	i := &initial{app: &app{stdout: &out}}
	if err := i.askDSN(strings.NewReader("postgres://odoo@localhost/odoo\n")); err != nil || i.dsn != "postgres://odoo@localhost/odoo" {
		t.Errorf("init: %q %v", i.dsn, err)
	}
	var wrong *failure
	if err := (&initial{app: &app{stdout: &out}}).askDSN(strings.NewReader("")); !errors.As(err, &wrong) || wrong.code != exitUsage {
		t.Errorf("init without an answer: %v", err)
	}
}
