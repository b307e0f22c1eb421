package rules

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/expr-lang/expr/ast"

	"walhook/cdc"
	"walhook/cdc/catalog"
)

// calls says whether n calls a function by name.
func calls(n *ast.CallNode, name string) bool {
	id, ok := n.Callee.(*ast.IdentifierNode)
	return ok && id.Value == name
}

func (x *expression) checkCall(n *ast.CallNode) ast.Node {
	if m, ok := n.Callee.(*ast.MemberNode); ok {
		return x.checkMethod(n, m)
	}
	id, ok := n.Callee.(*ast.IdentifierNode)
	if !ok {
		x.failAt(n, "this cannot be called", "")
		return anything(n)
	}
	if x.refusePure(id, id.Value) {
		return anything(n)
	}
	if f := x.functions[id.Value]; f != nil {
		return x.checkUserCall(n, f)
	}
	if t, ok := transforms[id.Value]; ok {
		return x.checkTransform(n, id.Value, t)
	}
	switch id.Value {
	case funcChanged:
		return x.checkChanged(n)
	case funcBecame:
		return x.checkBecame(n)
	case funcEntered:
		return x.checkEntered(n)
	case funcRolled, funcLines:
		return x.checkLines(n, id.Value)
	case funcLabel:
		return x.checkLabel(n)
	case funcRef:
		x.checkRef(n, false)
		return anything(n)
	case namePath:
		_, i := x.pathOf(n)
		return at(n, &ast.MemberNode{Node: at(n, &ast.IdentifierNode{Value: fmt.Sprint(typePath, i)}), Property: at(n, &ast.StringNode{Value: typePath})})
	}
	x.checkAll(n.Arguments)
	if remedy, ok := refused[id.Value]; ok {
		x.failAt(n, fmt.Sprintf("function %s cannot be used in rules", id.Value), remedy)
		return anything(n)
	}
	remedy := didYouMean(id.Value, x.callable())
	if ours := otherwords[strings.ToLower(id.Value)]; ours != "" {
		remedy = "write " + ours
	}
	if x.shape.table.Column(id.Value) != nil {
		remedy = "write after." + id.Value
	}
	x.failAt(n, fmt.Sprintf("unknown function %q", id.Value), remedy)
	return anything(n)
}

// fieldArgument checks an argument that must be the name of a field in quotes.
func (x *expression) fieldArgument(call *ast.CallNode, function string, arg ast.Node) *catalog.Column {
	name, ok := arg.(*ast.StringNode)
	if !ok {
		remedy := "write " + signatures[function]
		if m, isMember := unchain(arg).(*ast.MemberNode); isMember {
			if _, row := isRow(m.Node); row {
				if s, ok := m.Property.(*ast.StringNode); ok {
					remedy = fmt.Sprintf("write %s(%q)", function, s.Value)
				}
			}
		}
		x.failAt(arg, fmt.Sprintf("%s takes the name of a field in quotes", function), remedy)
		return nil
	}
	c, message, remedy := x.shape.field(name.Value)
	if c != nil {
		return c
	}
	if m, _, _ := x.shape.find(x.cat, name.Value); len(m.steps) > 0 {
		message = fmt.Sprintf("field %q of %s is one of %s: a change of it is a write of that record", name.Value, x.shape.name, m.shape.name)
		remedy = fmt.Sprintf("make a rule on model = %q", m.shape.name)
	}
	x.failAt(name, message, remedy)
	return nil
}

func (x *expression) arguments(n *ast.CallNode, function string, want int) bool {
	if len(n.Arguments) == want {
		return true
	}
	x.failAt(n, fmt.Sprintf("%s takes %s, not %d", function, count(want, "argument"), len(n.Arguments)), "write "+signatures[function])
	return false
}

func (x *expression) checkChanged(n *ast.CallNode) ast.Node {
	if len(n.Arguments) == 0 {
		x.failAt(n, "changed needs at least one field", "write "+signatures[funcChanged])
	}
	for _, arg := range n.Arguments {
		if s, ok := arg.(*ast.StringNode); ok && x.rolls(s.Value) {
			continue
		}
		if c := x.fieldArgument(n, funcChanged, arg); c != nil {
			x.reads.note(&x.reads.before, c.Name)
			x.reads.note(&x.reads.after, c.Name)
		}
	}
	return at(n, &ast.BoolNode{Value: true})
}

func (x *expression) checkBecame(n *ast.CallNode) ast.Node {
	if !x.arguments(n, funcBecame, 2) {
		return at(n, &ast.BoolNode{Value: true})
	}
	value := n.Arguments[1]
	if _, list := value.(*ast.ArrayNode); list {
		x.failAt(value, "became takes one value", "write "+signatures[funcEntered])
		return at(n, &ast.BoolNode{Value: true})
	}
	return x.checkTransition(n, funcBecame, "==", value, []ast.Node{value})
}

func (x *expression) checkEntered(n *ast.CallNode) ast.Node {
	if !x.arguments(n, funcEntered, 2) {
		return at(n, &ast.BoolNode{Value: true})
	}
	list, ok := n.Arguments[1].(*ast.ArrayNode)
	if !ok || len(list.Nodes) == 0 {
		x.failAt(n.Arguments[1], "entered takes a list of values in brackets", "write "+signatures[funcEntered])
		return at(n, &ast.BoolNode{Value: true})
	}
	return x.checkTransition(n, funcEntered, "in", list, list.Nodes)
}

// checkTransition checks became and entered: they compare a field with values as operator does.
func (x *expression) checkTransition(n *ast.CallNode, function, operator string, operand ast.Node, values []ast.Node) ast.Node {
	c := x.fieldArgument(n, function, n.Arguments[0])
	typed := x.check(operand)
	if c == nil {
		return at(n, &ast.BoolNode{Value: true})
	}
	x.reads.note(&x.reads.before, c.Name)
	x.reads.note(&x.reads.after, c.Name)
	x.checkSelection(c.Name, values)
	return at(operand, &ast.BinaryNode{Operator: operator, Left: x.typedField(operand, c.Name), Right: typed})
}

func (x *expression) checkLabel(n *ast.CallNode) ast.Node {
	if !x.arguments(n, funcLabel, 1) {
		return at(n, &ast.StringNode{})
	}
	if c := x.fieldArgument(n, funcLabel, n.Arguments[0]); c != nil {
		x.reads.note(&x.reads.record, c.Name)
		if len(x.shape.options(c.Name)) == 0 {
			x.failAt(n.Arguments[0], fmt.Sprintf("field %q of %s is no selection: it has no labels", c.Name, x.shape.name), didYouMean(c.Name, x.selections()))
		}
	}
	return at(n, &ast.StringNode{})
}

func (x *expression) selections() []string {
	var out []string
	for i := range x.shape.table.Columns {
		if name := x.shape.table.Columns[i].Name; len(x.shape.options(name)) > 0 {
			out = append(out, name)
		}
	}
	return out
}

// checkMethod checks after.date_order.Year().
func (x *expression) checkMethod(n *ast.CallNode, m *ast.MemberNode) ast.Node {
	name, ok := m.Property.(*ast.StringNode)
	args := x.checkAll(n.Arguments)
	if !ok || !methods[name.Value] {
		what := "this"
		if ok {
			what = fmt.Sprintf("%q", name.Value)
		}
		remedy := "functions are called as lower(after.name); dates have Year() Month() Day() Hour() Minute() Second() Weekday() Format(…)"
		if ok && builtinNames[name.Value] {
			remedy = fmt.Sprintf("write %s(…)", name.Value)
		}
		x.check(m.Node)
		x.failAt(m.Property, what+" is no method that can be called", remedy)
		return anything(n)
	}
	call := at(n, &ast.CallNode{Callee: at(m, &ast.MemberNode{Node: x.check(m.Node), Property: at(name, &ast.StringNode{Value: name.Value}), Method: true}), Arguments: args})
	switch name.Value {
	case "Month", "Weekday": // plain numbers here
		return at(n, &ast.BuiltinNode{Name: "int", Arguments: []ast.Node{call}})
	}
	return call
}

func (x *expression) checkBuiltin(n *ast.BuiltinNode) ast.Node {
	literal := func(i int) (*ast.StringNode, bool) {
		if i >= len(n.Arguments) {
			return nil, false
		}
		s, ok := n.Arguments[i].(*ast.StringNode)
		return s, ok
	}
	switch n.Name {
	case "now":
		x.reads.tx = true
	case "date":
		if s, ok := literal(0); ok && len(n.Arguments) == 1 {
			if _, ok := parseDate(s.Value); !ok {
				x.failAt(s, fmt.Sprintf("%q is no date", s.Value), `write date("2024-12-31") or date("2024-12-31 23:59:59")`)
			}
		}
		if len(n.Arguments) == 0 {
			x.failAt(n, `date() needs a text or a date`, "the time of the commit is now(), its day date(now())")
			return anything(n)
		}
		if len(n.Arguments) > 1 {
			x.failAt(n, "date takes one argument", `write date("2024-12-31"), or with a zone date("2024-12-31 08:00:00+02")`)
		}
		x.checkAll(n.Arguments)
		return at(n, &ast.IdentifierNode{Value: typeTime})
	case "duration":
		if s, ok := literal(0); ok {
			if _, err := parseDuration(s.Value); err != nil {
				x.failAt(s, fmt.Sprintf("%q is no duration", s.Value), `write duration("1h30m") or duration("7d")`)
			}
		}
	case "timezone":
		s, ok := literal(0)
		if !ok || len(n.Arguments) != 1 {
			x.failAt(n, "timezone takes the name of one time zone in quotes", `write timezone("Europe/Paris")`)
			return anything(n)
		}
		if _, err := zone(s.Value); err != nil {
			x.failAt(s, fmt.Sprintf("unknown time zone %q", s.Value), `write timezone("Europe/Paris")`)
		}
	case "round":
		if len(n.Arguments) == 2 {
			if d, ok := n.Arguments[1].(*ast.IntegerNode); !ok || d.Value < 0 || d.Value > 100 {
				x.failAt(n.Arguments[1], "round takes a number of decimals from 0 to 100, written out", "write round(after.amount_total, 2)")
			}
			return at(n, &ast.BuiltinNode{Name: n.Name, Arguments: x.checkAll(n.Arguments[:1])})
		}
	}
	args := x.checkAll(n.Arguments)
	if slices.Contains(orderNames, n.Name) && len(args) > 0 {
		if s, ok := literal(len(args) - 1); ok && len(args) > 1 && s.Value != "asc" && s.Value != "desc" {
			x.failAt(s, fmt.Sprintf("unknown order %q", s.Value), `the orders are "asc" and "desc"`)
		}
	}
	return at(n, &ast.BuiltinNode{Name: n.Name, Arguments: args})
}

// orderNames are functions whose last argument may be an order.
var orderNames = []string{"sort", "sortBy"}

// zone finds a time zone. The machine's own is none: results would depend on the machine.
func zone(name string) (*time.Location, error) {
	if name == "" || name == "Local" {
		return nil, fmt.Errorf("unknown time zone %q", name)
	}
	return time.LoadLocation(name)
}

// opByName returns 0 for what is no operation on a row.
func opByName(name string) cdc.Op {
	for _, op := range []cdc.Op{cdc.Create, cdc.Write, cdc.Unlink} {
		if op.String() == name {
			return op
		}
	}
	return 0
}

// opRemedy says what to write instead of an unknown operation.
func opRemedy(name string) string {
	switch name {
	case "insert", "INSERT", "created", "new", "add":
		return `write "create"`
	case "update", "UPDATE", "updated", "edit", "modify", "changed":
		return `write "write"`
	case "delete", "DELETE", "deleted", "remove", "unlinked":
		return `write "unlink"`
	}
	if s := didYouMean(name, []string{"create", "write", "unlink", opArchive, opUnarchive}); s != "" {
		return s
	}
	return "the operations are create, write, unlink, archive and unarchive"
}
