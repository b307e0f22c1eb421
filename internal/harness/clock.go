package harness

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// movableClock writes an overlay for go build in which every package of the program asks internal/failpoint for the time instead of
// package time, so that tests can move the wall clock. The sources know nothing of it, nor does the program that is shipped. It
// returns the overlay's path.
func movableClock(dir string) (string, error) {
	_, here, _, _ := runtime.Caller(0)
	root := filepath.Join(filepath.Dir(here), "..", "..")
	replace := map[string]string{}
	for _, top := range []string{"cdc", "rules", "delivery", "state", "status", "cmd"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			src, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			changed, err := askFailpoint(path, src)
			if err != nil || changed == nil {
				return err
			}
			to := filepath.Join(dir, fmt.Sprintf("clock%d.go", len(replace)))
			replace[path] = to
			return os.WriteFile(to, changed, 0o600)
		})
		if err != nil {
			return "", fmt.Errorf("make the clock movable: %w", err)
		}
	}
	overlay := filepath.Join(dir, "overlay.json")
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	return overlay, os.WriteFile(overlay, text, 0o600)
}

// askFailpoint replaces time.Now, Since and Until in a source; nil when there is none of them.
func askFailpoint(path string, src []byte) ([]byte, error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	if !imports(file, "time") {
		return nil, nil
	}
	const name = "movableclock"
	var out []byte
	at, found := 0, false
	keep := func(to token.Pos) {
		end := set.Position(to).Offset
		out = append(out, src[at:end]...)
		at = end
	}
	keep(file.Name.End())
	out = append(out, "; import "+name+` "walhook/internal/failpoint"`...)
	ast.Inspect(file, func(n ast.Node) bool {
		s, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		x, ok := s.X.(*ast.Ident)
		if !ok || x.Name != "time" || s.Sel.Name != "Now" && s.Sel.Name != "Since" && s.Sel.Name != "Until" {
			return true
		}
		found = true
		keep(x.Pos())
		out = append(out, name...)
		at = set.Position(x.End()).Offset
		return false
	})
	if !found {
		return nil, nil
	}
	out = append(out, src[at:]...)
	return append(out, "\nvar _ = time.Now // the import stays in use\n"...), nil
}

func imports(file *ast.File, path string) bool {
	for _, spec := range file.Imports {
		if name, err := strconv.Unquote(spec.Path.Value); err == nil && name == path && spec.Name == nil {
			return true
		}
	}
	return false
}
