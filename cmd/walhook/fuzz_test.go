package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pelletier/go-toml/v2"
	"pgregory.net/rapid"

	"walhook/cdc"
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
		var tree map[string]any
		if wrong := toml.Unmarshal([]byte(text), &tree); wrong != nil && err == nil && !strings.Contains(text, "$") {
			t.Errorf("taken for a configuration, and no TOML: %v", wrong)
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

// A range of LSNs is two numbers of 32 bits, each written whole: what is more, or less, is refused and not read as another place.
func FuzzVerifyRange(f *testing.F) {
	f.Add("0/0", uint64(1))
	f.Add("1/2zzz", uint64(1<<32))
	f.Add("1/FFFFFFFFFFFF", ^uint64(0))
	f.Fuzz(func(t *testing.T, text string, n uint64) {
		lsn := cdc.LSN(max(n, 1))
		if o, err := verifyOptions(lsn.String(), strings.ToLower(lsn.String()), "", "", "", time.Now()); err != nil || o.From != lsn || o.To != lsn {
			t.Errorf("%s is read as %s and %s, %v", lsn, o.From, o.To, err)
		}
		o, err := verifyOptions(text, "", "", "", "", time.Now())
		if err != nil || text == "" {
			return
		}
		if o.From > 1 && !strings.EqualFold(o.From.String(), trimZeros(text)) {
			t.Errorf("%q is read as %s", text, o.From)
		}
	})
}

func trimZeros(lsn string) string {
	high, low, _ := strings.Cut(lsn, "/")
	trim := func(s string) string { return strings.TrimLeft(s[:len(s)-1], "0") + s[len(s)-1:] }
	return trim(high) + "/" + trim(low)
}
