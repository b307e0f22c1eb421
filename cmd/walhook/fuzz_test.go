package main

import (
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Whatever is in the file, it is read or complained about; nothing panics, and places lie inside the text.
func FuzzParseConfig(f *testing.F) {
	example, err := os.ReadFile(exampleFile)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(example))
	for _, seed := range []string{"", "a", "[a", "[[rules]]\non=[\"x\",1,{a=2}]\n", "[endpoints.\"x.y\"]\nurl='''\nx'''\n", "[source]\ndsn=\"${A}${B\"\n", "a.b.c=1\n[a.b]\n", "x=\"\"\"\\\n  \\u00e9${A}\"\"\"", "[endpoints.a]\nsecrets_file=[[\"x\"]]\n", "rules=[{name='a'}]\r\n"} {
		f.Add(seed)
	}
	env := variables("A", "value\nwith \"quotes\"", "ERP_SECRET", "0123456789abcdef")
	f.Fuzz(func(t *testing.T, text string) {
		cfg, err := parseConfig("w.toml", []byte(text), env)
		for _, e := range flatten(err) {
			if p, ok := e.(*problem); ok && (p.line < 0 || p.line > strings.Count(text, "\n")+1 || p.line > 0 && p.column < 1) {
				t.Errorf("a place outside of the text: %d:%d: %s", p.line, p.column, p.message)
			}
		}
		if err == nil && cfg == nil {
			t.Error("neither a configuration nor a complaint")
		}
	})
}

// The place of a character inside a string value is found through quotes and escapes.
func TestInsideFindsTheCharacter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pieces := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "é", `"`, `\`, "\t", " ", "日", "=="}), 0, 12).Draw(t, "text")
		text := strings.Join(pieces, "") + "X" + strings.Join(pieces, "")
		offset := len(strings.Join(pieces, ""))
		doc, err := parseDocument("w.toml", []byte("before = 1\nwhen = "+quoteTOML(text)+"\n"))
		if err != nil {
			t.Fatal(err)
		}
		e := doc.find("when")
		if e.text != text {
			t.Fatalf("quoted and read %q, not %q", e.text, text)
		}
		if at := e.inside(doc.text, offset); doc.text[at] != 'X' {
			t.Fatalf("in %s, byte %d of %q is at %q", doc.text, offset, text, doc.text[at:])
		}
	})
}
