package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Every command and flag that a hint, a help text or a document names is there.
func TestNamedCommandsExist(t *testing.T) {
	root := (&app{stdout: io.Discard, stderr: io.Discard}).root()
	root.InitDefaultHelpFlag()
	root.InitDefaultHelpCmd()
	top := filepath.Join("..", "..")
	seen := 0
	look := func(path, text string) {
		for _, m := range commandNamed.FindAllStringSubmatch(text, -1) {
			cmd, problem := resolveNamed(root, m[1], strings.HasPrefix(m[0], "`"))
			if cmd != nil {
				seen++
			}
			if problem != "" {
				t.Errorf("%s: %q: %s", path, strings.TrimSpace(m[0]), problem)
			}
		}
	}
	err := filepath.WalkDir(top, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		switch {
		case d.IsDir() && path != top && (strings.HasPrefix(name, ".") || name == "testdata"):
			return filepath.SkipDir
		case d.IsDir() || strings.HasSuffix(name, "_test.go"):
			return nil
		case strings.HasSuffix(name, ".go"):
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					text, err := strconv.Unquote(lit.Value)
					if err != nil {
						t.Errorf("%s: %v", path, err)
					}
					look(path, text)
				}
				return true
			})
		case strings.HasSuffix(name, ".md") && name != "CHANGELOG.md":
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			look(path, string(text))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 100 {
		t.Errorf("only %d commands are named: they are not recognised", seen)
	}
	for _, wrong := range []string{"rules previw", "rules preview --recrd 7", "deliveries list --stat parked", "setup --dry-runs", "rules preview x --id 7 --all-endpoint"} {
		if _, problem := resolveNamed(root, wrong, true); problem == "" {
			t.Errorf("%q is no command, and is taken for one", wrong)
		}
	}
	for _, prose := range []string{"reads the log", "run", "rules list names them all", "run, which streams --", "check: --fast is none of it", "deliveries list --state parked; see --nothing"} {
		if _, problem := resolveNamed(root, prose, false); problem != "" {
			t.Errorf("%q: %s", prose, problem)
		}
	}
}

// commandNamed is the name of the program and what may be its arguments: up to the end of the line, of code in backquotes, or of a clause.
var commandNamed = regexp.MustCompile("(?:^|[^-./\\w])walhook ([^\n`;|]*)")

// clauseEnds is where an example ends in prose.
var clauseEnds = regexp.MustCompile(`[:,.)(]( |$)|[)(#";]`)

// resolveNamed follows the words of a command line as far as they are commands, and says what is wrong with them. In prose a word that is no command
// is just a word, "walhook reads"; in code it is not.
func resolveNamed(root *cobra.Command, line string, code bool) (cmd *cobra.Command, problem string) {
	if end := clauseEnds.FindStringIndex(line); end != nil {
		line = line[:end[0]]
	}
	words := strings.Fields(line)
	at := root
	for len(words) > 0 && at.HasSubCommands() {
		i := slices.IndexFunc(at.Commands(), func(c *cobra.Command) bool { return c.Name() == words[0] })
		if i < 0 {
			if plainWord.MatchString(words[0]) && (at != root || code) {
				return at, "there is no command " + words[0]
			}
			break
		}
		at, words = at.Commands()[i], words[1:]
	}
	if at == root {
		return nil, ""
	}
	at.InitDefaultHelpFlag()
	for _, word := range words {
		name, isFlag := strings.CutPrefix(word, "--")
		name, _, _ = strings.Cut(name, "=")
		if isFlag && flagName.MatchString(name) && at.Flags().Lookup(name) == nil && at.InheritedFlags().Lookup(name) == nil {
			return at, at.CommandPath() + " has no flag --" + name
		}
	}
	return at, ""
}

var (
	plainWord = regexp.MustCompile(`^[a-z][a-z-]*$`)
	flagName  = regexp.MustCompile(`^[a-z][a-z-]*$`)
)
