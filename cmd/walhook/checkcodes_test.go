package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// codesInSource lists the codes that folders report, with the place of one mention each: the literal that follows the severity in a
// call of add, mend or fault, what is assigned to a variable named code that stands there, and what functions named …Code return. Any other argument is refused,
// as its values could not be listed.
func codesInSource(t *testing.T, folders ...string) map[string]string {
	t.Helper()
	codes := map[string]string{}
	for _, folder := range folders {
		files := token.NewFileSet()
		var parsed []*ast.File
		for _, prefix := range []string{"preflight", "check"} {
			paths, err := filepath.Glob(filepath.Join(folder, prefix+"*.go"))
			if err != nil {
				t.Fatal(err)
			}
			for _, path := range paths {
				if strings.HasSuffix(path, "_test.go") {
					continue
				}
				file, err := parser.ParseFile(files, path, nil, 0)
				if err != nil {
					t.Fatal(err)
				}
				parsed = append(parsed, file)
			}
		}
		note := func(e ast.Expr) bool {
			l, ok := e.(*ast.BasicLit)
			if !ok || l.Kind != token.STRING {
				return false
			}
			code, err := strconv.Unquote(l.Value)
			if err != nil {
				t.Fatal(err)
			}
			codes[code] = files.Position(l.Pos()).String()
			return true
		}
		for _, p := range parsed {
			ast.Inspect(p, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.CallExpr:
					f, ok := n.Fun.(*ast.SelectorExpr)
					if !ok || len(n.Args) != 4 || f.Sel.Name != "add" && f.Sel.Name != "mend" && f.Sel.Name != "fault" {
						return true
					}
					_, isCall := n.Args[1].(*ast.CallExpr) // of a function that is named …Code
					if name, isName := n.Args[1].(*ast.Ident); !note(n.Args[1]) && !isCall && (!isName || name.Name != "code") {
						t.Errorf("%s: write the code of the finding as a literal", files.Position(n.Args[1].Pos()))
					}
				case *ast.FuncDecl:
					if !strings.HasSuffix(n.Name.Name, "Code") {
						return true
					}
					ast.Inspect(n, func(n ast.Node) bool {
						if r, ok := n.(*ast.ReturnStmt); ok && len(r.Results) == 1 && !note(r.Results[0]) {
							t.Errorf("%s: return the code of the finding as a literal", files.Position(r.Pos()))
						}
						return true
					})
				case *ast.AssignStmt:
					if name, ok := n.Lhs[0].(*ast.Ident); ok && name.Name == "code" && len(n.Rhs) == 1 {
						note(n.Rhs[0])
					}
				case *ast.KeyValueExpr:
					if name, ok := n.Key.(*ast.Ident); ok && name.Name == "Code" {
						note(n.Value)
					}
				}
				return true
			})
		}
	}
	return codes
}
