package archtest

import (
	"bytes"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// allowed is docs/architecture.md's table: for each package the packages of walhook and the
// third-party modules that it may import outside tests. "*" is everything.
var allowed = map[string]struct{ own, third []string }{
	"delivery/signature": {},
	"cdc":                {own: []string{"internal/failpoint"}, third: []string{"github.com/jackc/pglogrepl", "github.com/jackc/pgx/v5"}},
	"cdc/catalog":        {own: []string{"cdc"}, third: []string{"github.com/jackc/pgx/v5"}},
	"rules":              {own: []string{"cdc", "cdc/catalog"}, third: []string{"github.com/expr-lang/expr"}},
	"rules/recipes":      {},
	"delivery/payload":   {own: []string{"cdc", "cdc/catalog", "rules"}},
	"delivery": {own: []string{"cdc", "cdc/catalog", "rules", "delivery/payload", "delivery/signature", "internal/failpoint", "internal/periodic"},
		third: []string{"golang.org/x/time", "golang.org/x/oauth2", "golang.org/x/net"}},
	"state":               {own: []string{"cdc", "delivery", "status", "internal/failpoint", "internal/periodic"}, third: []string{"github.com/jackc/pgx/v5"}},
	"status":              {own: []string{"cdc", "delivery"}, third: []string{"github.com/prometheus/client_golang", "github.com/prometheus/client_model"}},
	"cmd/walhook":         {own: []string{"*"}, third: []string{"*"}},
	"internal/pgserver":   {third: []string{"github.com/fergusstrange/embedded-postgres"}},
	"internal/pgtest":     {own: []string{"internal/pgserver"}, third: []string{"github.com/jackc/pgx/v5"}},
	"internal/archtest":   {},
	"internal/failpoint":  {},
	"internal/periodic":   {},
	"internal/harness":    {own: []string{"internal/pgserver", "internal/pgtest"}},
	"internal/acceptance": {own: []string{"internal/harness", "internal/pgtest"}, third: []string{"github.com/jackc/pgx/v5"}},
	"internal/torture":    {},
	"internal/storm":      {},
	"internal/fencing":    {},
	"internal/survival":   {},
	"internal/receivers":  {},
	"internal/bench":      {},
	"internal/matrix":     {own: []string{"internal/pgserver"}},
}

// testOnly are packages that nothing but tests may import.
var testOnly = []string{"internal/pgtest", "internal/archtest", "internal/harness", "internal/acceptance", "internal/torture", "internal/storm", "internal/fencing", "internal/survival", "internal/receivers", "internal/bench"}

const maxLines = 400

type file struct {
	path, pkg string
	test      bool
	imports   []string
	lines     int
	doc       bool
}

func files(t *testing.T) []file {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	var out []file
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), path, src, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		f := file{path: rel, pkg: filepath.ToSlash(filepath.Dir(rel)), test: strings.HasSuffix(path, "_test.go"),
			lines: bytes.Count(src, []byte("\n")), doc: parsed.Doc != nil}
		for _, spec := range parsed.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			f.imports = append(f.imports, name)
		}
		out = append(out, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 20 {
		t.Fatalf("found only %d files below %s", len(out), root)
	}
	return out
}

func TestImportsFollowTheArchitecture(t *testing.T) {
	for _, f := range files(t) {
		if f.test {
			continue
		}
		rule, listed := allowed[f.pkg]
		if !listed {
			t.Errorf("%s: package %s is not in the table of allowed imports", f.path, f.pkg)
			continue
		}
		for _, name := range f.imports {
			if own, ok := strings.CutPrefix(name, "walhook/"); ok {
				if slices.Contains(testOnly, own) && !slices.Contains(testOnly, f.pkg) || !slices.Contains(rule.own, own) && !slices.Contains(rule.own, "*") {
					t.Errorf("%s imports %s, which %s may not", f.path, name, f.pkg)
				}
				continue
			}
			if first, _, _ := strings.Cut(name, "/"); !strings.Contains(first, ".") {
				continue // the standard library
			}
			if !slices.ContainsFunc(rule.third, func(m string) bool { return m == "*" || name == m || strings.HasPrefix(name, m+"/") }) {
				t.Errorf("%s imports %s, which %s may not", f.path, name, f.pkg)
			}
		}
	}
}

func TestPackagesAreDocumentedAndFilesSmall(t *testing.T) {
	documented := map[string]bool{}
	for _, f := range files(t) {
		if !f.test {
			documented[f.pkg] = documented[f.pkg] || f.doc
			if f.lines > maxLines {
				t.Errorf("%s has %d lines: one idea each, %d at most", f.path, f.lines, maxLines)
			}
		}
	}
	for pkg, ok := range documented {
		if !ok {
			t.Errorf("package %s has no comment", pkg)
		}
	}
}
