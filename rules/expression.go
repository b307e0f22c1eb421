package rules

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/checker"
	"github.com/expr-lang/expr/compiler"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"

	"walhook/cdc/catalog"
)

// Limits of one expression.
const (
	maxExprBytes = 8 << 10
	maxExprNodes = 2000 // as parsed, with what a comparison chain like 1 < x < 3 shares counted every time it is used
	maxList      = 20_000
	maxText      = 256 << 10
	vmMemory     = 200_000 // expr's unit: elements of lists and maps made by one evaluation
)

// program is a compiled expression and what it reads. It is immutable.
type program struct {
	text  string
	path  string // "when" or "payload.total"
	code  *vm.Program
	test  tested // the same as closures, of a condition; nil where that is not possible, see [direct]
	value valued // the same, of any other expression
	reads reads
	whole *part // the condition in pieces; nil unless it is traced
}

// reads is what an expression looks at. Columns are in order of appearance, each once.
type reads struct {
	before, after, record []string
	places                []*place // related rows
	tx                    bool     // now(), tx.…
	digest                bool     // sha256(), in the expression or in a function that it calls
}

// expression is a program in the making. It is compiled twice from one syntax
// tree: a copy in which every column has its type is checked by expr (typed.go); another, in which
// operators and functions are replaced by ours, which know NULL and exact numbers, is
// what runs (lower.go).
type expression struct {
	shape     shape
	cat       *catalog.Catalog
	locale    locale
	functions map[string]*function // of the configuration
	watched   *watched
	rollups   []*Rollup // of the rule

	pure    bool              // of [functions]: it sees its arguments only
	params  []string          // of a function
	renamed map[string]string // variables of a function whose call is being replaced

	occasion occasion // of the rule

	record shape  // of the watched record; shape is that of the rows which names without a row are fields of
	scope  *place // these rows, in an each; nil: the record
	bare   bool   // fields of them can be named without a row

	expanded map[ast.Node]ast.Node
	paths    []*fieldPath // that expand has found

	text    string
	payload bool // a payload entry: fields can be named without after, and the result can be anything
	traced  bool // see Config.Traced
	report  func(offset int, message, remedy string)
	warn    func(offset int, message, remedy string) // may be nil

	failed  bool
	offsets map[int]bool // where problems have been reported, one each
	visits  int
	loops   int // that what is being lowered stands in
	vars    []string
	reads   reads
}

// compile returns nil when there are problems; all have been reported then.
func (x *expression) compile(path string) *program {
	if node := x.tree(); node != nil {
		return x.program(path, node)
	}
	return nil
}

// tree parses the text and finds the paths in it; nil when it is no expression.
func (x *expression) tree() ast.Node {
	x.offsets, x.expanded = make(map[int]bool), make(map[ast.Node]ast.Node)
	if len(x.text) > maxExprBytes {
		x.fail(0, fmt.Sprintf("the expression has %d bytes; the limit is %d", len(x.text), maxExprBytes), "")
		return nil
	}
	tree := x.parse()
	if tree == nil {
		return nil
	}
	node := tree.Node
	x.adapt(&node)
	if !x.pure {
		node = x.expand(node)
	}
	return node
}

// program compiles what tree has made.
func (x *expression) program(path string, node ast.Node) *program {
	typed := x.check(node)
	if x.visits > maxExprNodes {
		x.fail(0, fmt.Sprintf("the expression has more than %d parts", maxExprNodes), "split it into several rules")
		return nil
	}
	x.typecheck(typed)
	if x.failed {
		return nil
	}
	lowered := x.lower(node)
	test := directTest(lowered)
	value := direct(lowered) // generate changes the tree
	code, err := x.generate(lowered)
	if err != nil {
		x.fail(0, err.Error(), "")
		return nil
	}
	p := &program{text: x.text, path: path, code: code, test: test, reads: x.reads}
	if test == nil {
		p.value = value
	}
	if x.traced {
		p.whole = x.part(node)
	}
	return p
}

// parse returns nil after reporting a syntax error.
func (x *expression) parse() (tree *parser.Tree) {
	config := conf.New(map[string]any{})
	config.MaxNodes = maxExprNodes
	for name := range config.Builtins {
		if !builtinNames[name] {
			config.Disabled[name] = true
		}
	}
	err := guard(func() (err error) {
		tree, err = parser.ParseWithConfig(x.text, config)
		return err
	})
	if err == nil && tree.Node != nil {
		return tree
	}
	var at *file.Error
	if !errors.As(err, &at) {
		x.fail(0, fmt.Sprintf("cannot read the expression: %v", err), "")
		return nil
	}
	message, remedy := syntaxError(at.Message, x.text)
	x.fail(x.byteOffset(at.From), message, remedy)
	return nil
}

var tokenName = regexp.MustCompile(`unexpected token (?:EOF|\w+\("(.*)"\))`)

// syntaxError puts expr's message into the words of someone who has not read its lexer.
func syntaxError(message, text string) (string, string) {
	m := tokenName.FindStringSubmatch(message)
	switch {
	case strings.HasPrefix(message, "invalid") && strings.HasSuffix(message, "value out of range"):
		return "a whole number is too large", "write it with a point, as in 99999999999999999999.0"
	case m == nil:
		return message, ""
	case m[0] == "unexpected token EOF":
		return "the expression ends too early", ""
	}
	remedy := ""
	switch token := m[1]; {
	case token == "=":
		remedy = "== compares"
	case token == "&":
		remedy = `"and" is written &&`
	case token == ">" && strings.Contains(text, "<>"):
		remedy = "different is written !="
	case strings.EqualFold(token, "is"):
		remedy = "write == nil or != nil"
	case strings.EqualFold(token, "and"), strings.EqualFold(token, "or"), strings.EqualFold(token, "in"), strings.EqualFold(token, "not"):
		remedy = fmt.Sprintf("write it in small letters: %s", strings.ToLower(token))
	case strings.EqualFold(token, "like"):
		remedy = "write contains, startsWith or matches"
	}
	return fmt.Sprintf("unexpected %q", m[1]), remedy
}

// generate compiles a lowered tree.
func (x *expression) generate(node ast.Node) (code *vm.Program, err error) {
	err = guard(func() error {
		config := conf.New(map[string]any{})
		config.Optimize = false // it folds floats and knows nothing of NULL
		tree := &parser.Tree{Node: node, Source: file.NewSource(x.text)}
		if _, err := checker.Check(tree, config); err != nil {
			return err
		}
		code, err = compiler.Compile(tree, config)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot compile the expression: %w", err)
	}
	return code, nil
}

// guard calls into expr, whose parser and checker panic on some malformed trees.
func guard(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	return f()
}

// fail reports a problem, the first at its place.
func (x *expression) fail(offset int, message, remedy string) {
	if x.failed = true; !x.offsets[offset] {
		x.offsets[offset] = true
		x.report(offset, message, remedy)
	}
}

func (x *expression) failAt(n ast.Node, message, remedy string) {
	x.fail(x.byteOffset(n.Location().From), message, remedy)
}

// byteOffset turns expr's positions, which count characters, into bytes.
func (x *expression) byteOffset(runes int) int { return byteOffset(x.text, runes) }

func byteOffset(text string, runes int) int {
	at := 0
	for ; runes > 0 && at < len(text); runes-- {
		_, n := utf8.DecodeRuneInString(text[at:])
		at += n
	}
	return at
}

func (r *reads) note(list *[]string, column string) {
	for _, c := range *list {
		if c == column {
			return
		}
	}
	*list = append(*list, column)
}
