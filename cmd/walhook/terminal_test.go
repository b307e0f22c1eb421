package main

import (
	"strings"
	"testing"
)

func TestTablesAlignWideLetters(t *testing.T) {
	var out strings.Builder
	term := &terminal{w: &out}
	if err := term.table([]string{"NAME", "N", "LAST"}, [][]string{{"日本", "1", "a"}, {"Müller", "22", "b"}, {"e\u0301", "3", ""}}); err != nil {
		t.Fatal(err)
	}
	want := "NAME    N   LAST\n日本    1   a\nMüller  22  b\ne\u0301       3\n"
	if out.String() != want {
		t.Errorf("the table is\n%s\nwant\n%s", out.String(), want)
	}
}

func TestColoursAreForTerminalsAlone(t *testing.T) {
	var out strings.Builder
	a := &app{stdout: &out, env: func(string) (string, bool) { return "", false }}
	if got := a.terminal().paint(red, "x"); got != "x" {
		t.Errorf("a pipe gets %q", got)
	}
	on := &terminal{w: &out, colours: true, columns: 20}
	if got := on.paint(red, "x"); got != "\x1b[31mx\x1b[0m" {
		t.Errorf("a terminal gets %q", got)
	}
	if n := displayWidth(on.paint(bold, "日本")); n != 4 {
		t.Errorf("the width is %d", n)
	}
	if got := fit("日本語です", 5); got != "日本…" {
		t.Errorf("cut to five columns it is %q", got)
	}
	if got := plainLine("a\x1b[31mb\nc"); strings.ContainsAny(got, "\x1b\n") {
		t.Errorf("a text steers the terminal: %q", got)
	}
	if got := on.pretty([]byte(`{"a":1.50,"b":["x"]}`)); got != "{\n  \x1b[36m\"a\"\x1b[0m: 1.50,\n  \x1b[36m\"b\"\x1b[0m: [\n    \"x\"\n  ]\n}" {
		t.Errorf("JSON is %q", got)
	}
}
