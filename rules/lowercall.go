package rules

import (
	"fmt"
	"slices"

	"github.com/expr-lang/expr/ast"

	"walhook/cdc/catalog"
)

func (x *expression) lowerCall(n *ast.CallNode) ast.Node {
	if m, ok := n.Callee.(*ast.MemberNode); ok {
		name := m.Property.(*ast.StringNode).Value
		return call(n, method(name), append([]ast.Node{x.lower(m.Node)}, x.lowerAll(n.Arguments)...)...)
	}
	column := func(i int) string { return n.Arguments[i].(*ast.StringNode).Value }
	name := n.Callee.(*ast.IdentifierNode).Value
	if p, _ := x.pathOf(n); p != nil {
		return x.lowerPath(n, p)
	}
	if f := x.functions[name]; f != nil {
		return x.lowerUserCall(n, f)
	}
	if t, ok := transforms[name]; ok {
		if x.loops > 0 {
			return withFrame(n, written, x.lowerTransform(n, name, t))
		}
		return x.lowerTransform(n, name, t)
	}
	switch name {
	case funcChanged:
		var fields []watchedField
		var lines []string
		for i := range n.Arguments {
			if x.rolls(column(i)) {
				lines = append(lines, column(i))
				continue
			}
			fields = append(fields, watchedField{x.slot(column(i)), x.shape.table.Content(column(i))})
		}
		if len(lines) > 0 {
			return withFrame(n, func(env any) bool {
				f := env.(*frame)
				return slices.ContainsFunc(lines, f.rolled) || f.changed(fields)
			})
		}
		return withFrame(n, func(env any) bool { return env.(*frame).changed(fields) })
	case funcRolled, funcLines:
		return x.lowerLines(n, name)
	case funcBecame:
		slot := x.slot(column(0))
		return withFrame(n, func(env, value any) bool {
			return env.(*frame).entered(slot, func(v any) bool { return equal(v, value) })
		}, x.lower(n.Arguments[1]))
	case funcEntered:
		slot := x.slot(column(0))
		return withFrame(n, func(env, list any) bool {
			return env.(*frame).entered(slot, func(v any) bool { return contained(v, list) })
		}, x.lower(n.Arguments[1]))
	}
	return x.lowerLabel(n, column(0)) // check has refused everything else
}

func (x *expression) lowerLabel(n *ast.CallNode, column string) ast.Node {
	slot, options := x.slot(column), x.labels(x.shape.options(column))
	return withFrame(n, func(env any) any {
		f := env.(*frame)
		return labelOf(f.value(f.record, slot), options)
	})
}

// labels are a selection's values with their labels in the language of the expression.
func (x *expression) labels(options []catalog.Option) []catalog.Option {
	out := make([]catalog.Option, 0, len(options))
	for _, o := range options {
		if label := o.In(x.locale.lang); label != "" {
			out = append(out, catalog.Option{Value: o.Value, Label: label})
		}
	}
	return out
}

// labelOf is the label of a selection's value; a value without one, which Odoo may have given up since, shows itself.
func labelOf(v any, options []catalog.Option) any {
	for i := range options {
		if equal(v, options[i].Value) {
			return options[i].Label
		}
	}
	return v
}

func (x *expression) lowerBuiltin(n *ast.BuiltinNode) ast.Node {
	literal := func(i int) (string, bool) {
		if s, ok := n.Arguments[i].(*ast.StringNode); ok && len(n.Arguments) == 1 {
			return s.Value, true
		}
		return "", false
	}
	switch n.Name {
	case "now":
		if len(n.Arguments) == 1 {
			return call(n, method("In"), commitTime(n), x.lower(n.Arguments[0]))
		}
		return commitTime(n)
	case "date":
		if s, ok := literal(0); ok {
			m, _ := parseDate(s)
			return constant(n, m)
		}
		return call(n, dateOf, x.lower(n.Arguments[0]))
	case "duration":
		if s, ok := literal(0); ok {
			d, _ := parseDuration(s)
			return constant(n, d)
		}
		return call(n, durationOf, x.lower(n.Arguments[0]))
	case "timezone":
		s, _ := literal(0)
		z, _ := zone(s) // check has reported unknown ones
		return constant(n, z)
	}
	if f := functions[n.Name]; f != nil {
		result := lowerFunction(n, f, x.lowerAll(n.Arguments))
		if makesList[n.Name] {
			return withFrame(n, weighed, result)
		}
		if x.loops > 0 {
			return withFrame(n, written, result)
		}
		return result
	}
	return x.lowerLoop(n)
}

func commitTime(n ast.Node) ast.Node {
	return withFrame(n, func(env any) any { return env.(*frame).now })
}

// lowerFunction calls a function in the way that costs least for its number of arguments.
func lowerFunction(n ast.Node, f func(...any) any, args []ast.Node) ast.Node {
	switch len(args) {
	case 1:
		return call(n, func(a any) any { return f(a) }, args...)
	case 2:
		return call(n, func(a, b any) any { return f(a, b) }, args...)
	}
	return call(n, f, args...)
}

// lowerLoop rewrites the functions that take a predicate. expr runs the loop, over a list
// that is one, with conditions that are booleans; what expr would calculate
// itself (sums, orders, groups) is calculated by us on the list of results.
func (x *expression) lowerLoop(n *ast.BuiltinNode) ast.Node {
	x.loops++
	defer func() { x.loops-- }()
	list := withFrame(n, looped, x.lower(n.Arguments[0]))
	loop := func(name string, list ast.Node, body ast.Node) ast.Node {
		return at(n, &ast.BuiltinNode{Name: name, Arguments: []ast.Node{list, at(n, &ast.PredicateNode{Node: body})}})
	}
	var predicate ast.Node = at(n, &ast.PointerNode{})
	if len(n.Arguments) > 1 {
		predicate = n.Arguments[1].(*ast.PredicateNode).Node
	}
	switch n.Name {
	case "map":
		return withFrame(n, weighed, loop("map", list, x.lower(predicate)))
	case "sum":
		return call(n, sum, loop("map", list, x.lower(predicate)))
	case "groupBy":
		return withFrame(n, weighed, call(n, grouped, loop("groupBy", list, call(n, textForm, x.lower(predicate)))))
	case "sortBy":
		order := ast.Node(at(n, &ast.StringNode{Value: "asc"}))
		if len(n.Arguments) > 2 {
			order = x.lower(n.Arguments[2])
		}
		return x.let(n, list, func(list func() ast.Node) ast.Node {
			return call(n, func(a ...any) any { return sorted(a[0].([]any), a[1].([]any), text("sortBy", a[2])) },
				list(), loop("map", list(), x.lower(predicate)), order)
		})
	case "reduce":
		reduce := func(list ast.Node, initial ...ast.Node) ast.Node {
			body := at(n, &ast.PredicateNode{Node: x.lower(predicate)})
			return at(n, &ast.BuiltinNode{Name: "reduce", Arguments: append([]ast.Node{list, body}, initial...)})
		}
		if len(n.Arguments) > 2 {
			return reduce(list, x.lower(n.Arguments[2]))
		}
		return x.let(n, list, func(list func() ast.Node) ast.Node { // of nothing: NULL
			empty := call(n, func(v any) bool { return len(v.([]any)) == 0 }, list())
			return at(n, &ast.ConditionalNode{Cond: empty, Exp1: at(n, &ast.NilNode{}), Exp2: reduce(list())})
		})
	}
	return loop(n.Name, list, x.condition(predicate)) // all, any, none, one, filter, find…, count
}

// let gives a value a name that no expression can spell, and makes nodes that read it.
func (x *expression) let(n, value ast.Node, body func(read func() ast.Node) ast.Node) ast.Node {
	x.visits++
	name := fmt.Sprintf("$%d", x.visits)
	read := func() ast.Node { return at(n, &ast.IdentifierNode{Value: name}) }
	return at(n, &ast.VariableDeclaratorNode{Name: name, Value: value, Expr: body(read)})
}
