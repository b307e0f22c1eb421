package rules

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"

	"walhook/cdc/catalog"
)

// Function is one entry of [functions]: an expression with a name that conditions and payloads can call. It is pure: it sees its
// arguments, now() and the other functions, and nothing of the change at hand. It cannot call itself, not even by way of others.
type Function struct {
	Args []string `toml:"args"` // names of its arguments; a call gives as many
	Expr string   `toml:"expr"` // what it yields; required
}

// function is a checked [Function]. Calls of it are replaced by its expression, with the arguments as variables.
type function struct {
	name   string
	config Function
	path   string // in the configuration
	calls  []string
	x      *expression // to lower it with
	body   ast.Node    // nil when there are problems
	weight int         // parts of the expression, those of the functions that it calls included
}

func (f *function) signature() string {
	return f.name + "(" + strings.Join(f.config.Args, ", ") + ")"
}

// compileFunctions checks all functions, each after those that it calls.
func (c *ruleCompiler) compileFunctions(configs map[string]Function) map[string]*function {
	all := make(map[string]*function, len(configs))
	for name, config := range configs {
		all[name] = &function{name: name, config: config, path: "functions." + name}
	}
	names := slices.Sorted(maps.Keys(all))
	for _, name := range names {
		c.parseFunction(all[name], all)
	}
	done := make(map[*function]bool)
	for _, name := range names {
		c.compileFunction(all[name], all, done, nil)
	}
	return all
}

// parseFunction checks names and syntax, and finds out which functions are called.
func (c *ruleCompiler) parseFunction(f *function, all map[string]*function) {
	meaning := fmt.Sprintf("%q has a meaning already, a function cannot have this name", f.name)
	switch {
	case !plainName.MatchString(f.name):
		c.fail(f.path, fmt.Sprintf("%q is no name for a function", f.name), "use letters, digits and _, starting with a letter")
	case taken(f.name):
		c.fail(f.path, meaning, "choose another name")
	}
	for i, arg := range f.config.Args {
		path := fmt.Sprintf("%s.args[%d]", f.path, i)
		switch {
		case !plainName.MatchString(arg):
			c.fail(path, fmt.Sprintf("%q is no name for an argument", arg), "use letters, digits and _, starting with a letter")
		case taken(arg), all[arg] != nil:
			c.fail(path, fmt.Sprintf("%q has a meaning already, an argument cannot have this name", arg), "choose another name")
		case slices.Index(f.config.Args, arg) < i:
			c.fail(path, fmt.Sprintf("argument %q is listed twice", arg), "")
		}
	}
	if strings.TrimSpace(f.config.Expr) == "" {
		c.fail(f.path+".expr", "a function needs an expression", `write expr = 'replace(phone, " ", "")'`)
		return
	}
	path := f.path + ".expr"
	f.x = &expression{
		shape: shape{table: &catalog.Table{}}, cat: c.cat, locale: c.locale, functions: all, params: f.config.Args, pure: true, payload: true,
		text: f.config.Expr, offsets: make(map[int]bool),
		report: func(offset int, message, remedy string) { c.failIn(path, f.config.Expr, offset, message, remedy) },
	}
	if len(f.x.text) > maxExprBytes {
		f.x.fail(0, fmt.Sprintf("the expression has %d bytes; the limit is %d", len(f.x.text), maxExprBytes), "")
		return
	}
	if tree := f.x.parse(); tree != nil {
		f.body = tree.Node
		ast.Walk(&f.body, callsOf{f, all})
	}
}

// callsOf notes the functions that a function calls.
type callsOf struct {
	f   *function
	all map[string]*function
}

// Visit implements ast.Visitor.
func (v callsOf) Visit(n *ast.Node) {
	if call, ok := (*n).(*ast.CallNode); ok {
		if id, ok := call.Callee.(*ast.IdentifierNode); ok && v.all[id.Value] != nil {
			v.f.calls = append(v.f.calls, id.Value)
		}
	}
}

// compileFunction checks a function after those that it calls; above are the functions that it is being checked for.
func (c *ruleCompiler) compileFunction(f *function, all map[string]*function, done map[*function]bool, above []string) {
	if done[f] || f.body == nil {
		return
	}
	above = append(above, f.name)
	for _, name := range f.calls {
		if i := slices.Index(above, name); i >= 0 {
			c.fail(f.path+".expr", fmt.Sprintf("the function calls itself: %s", strings.Join(append(above[i:len(above):len(above)], name), " calls ")), "a function cannot be defined by itself")
			all[name].body, f.body = nil, nil
			return
		}
		c.compileFunction(all[name], all, done, above)
	}
	if done[f] = true; f.body == nil {
		return
	}
	x := f.x
	x.vars = slices.Clone(x.params)
	typed := x.check(f.body)
	if x.visits > maxExprNodes {
		x.fail(0, fmt.Sprintf("the expression has more than %d parts", maxExprNodes), "make it smaller")
	} else {
		x.typecheck(typed)
	}
	if f.weight = x.visits; x.failed {
		f.body = nil
	}
}

// taken says whether a name has a meaning that a function or an argument must not hide.
func taken(name string) bool {
	_, old := refused[name]
	return old || reserved(name) || name == "nil" || name == "true" || name == "false" || name == "let" || name == "in" || name == "not" || name == "and" || name == "or" || name == "if" || name == "else"
}

// checkUserCall checks a call of a function of the configuration. What comes out of it can be anything.
func (x *expression) checkUserCall(n *ast.CallNode, f *function) ast.Node {
	args := x.checkAll(n.Arguments)
	if want := len(f.config.Args); len(args) != want {
		x.failAt(n, fmt.Sprintf("%s takes %s, not %d", f.name, count(want, "argument"), len(args)), "write "+f.signature())
		return anything(n)
	}
	if f.body == nil {
		x.failed = true // its own problems have been reported
		return anything(n)
	}
	x.visits += f.weight
	x.reads.tx, x.reads.digest = x.reads.tx || f.x.reads.tx, x.reads.digest || f.x.reads.digest
	return at(n, &ast.CallNode{Callee: at(n, &ast.IdentifierNode{Value: typeCall}), Arguments: args})
}

// lowerUserCall puts the function's expression in the place of a call. Its variables get names that nobody can spell, a new one for each call; where
// it fails while it runs, the caret is under the call.
func (x *expression) lowerUserCall(n *ast.CallNode, f *function) ast.Node {
	args := x.lowerAll(n.Arguments)
	inner := *f.x
	inner.watched, inner.renamed, inner.visits = x.watched, make(map[string]string, len(args)), x.visits
	for _, arg := range f.config.Args {
		inner.rename(arg)
	}
	names := maps.Clone(inner.renamed)
	result := inner.lower(f.body)
	x.visits = inner.visits
	ast.Walk(&result, moveTo{n.Location()})
	for i := len(args) - 1; i >= 0; i-- {
		result = at(n, &ast.VariableDeclaratorNode{Name: names[f.config.Args[i]], Value: args[i], Expr: result})
	}
	return result
}

// rename gives a variable of a function a name that no expression can spell.
func (x *expression) rename(variable string) string {
	x.visits++
	x.renamed[variable] = fmt.Sprintf("$%d %s", x.visits, variable)
	return x.renamed[variable]
}

// moveTo gives all nodes one place.
type moveTo struct{ place file.Location }

// Visit implements ast.Visitor.
func (v moveTo) Visit(n *ast.Node) { (*n).SetLocation(v.place) }

// count writes a number of things.
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
