package rules

import (
	"slices"
	"strings"
	"time"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/vm"

	"walhook/cdc"
)

// narrowing is the part of a scheduled rule's condition that SQL can tell: columns compared with values that do not depend on the row. Rows for
// which it does not hold are not read. It never leaves out a row for which the condition holds; the condition itself decides on those that are read.
type narrowing struct {
	kind     cdc.FilterKind
	of       []*narrowing
	column   string
	typ      *cdc.Type
	operator string
	is       string      // of FilterIs
	value    *vm.Program // of FilterCompare: what the column is compared with
	exact    bool        // it is the very condition, so that its negation can be told, too
}

// narrow works the narrowing of a rule out.
func (c *ruleCompiler) narrow(r *Rule, s shape) {
	if r.when == nil {
		return
	}
	x := expression{shape: s, cat: c.cat, locale: c.locale, functions: c.functions, watched: r.watched, rollups: c.rollups, text: r.When, occasion: c.occasion(),
		offsets: map[int]bool{}, report: func(int, string, string) {}}
	if tree := x.parse(); tree != nil {
		r.narrowed = x.narrowed(tree.Node)
	}
}

// narrowed translates a condition; nil when nothing of it can be told.
func (x *expression) narrowed(n ast.Node) *narrowing {
	switch n := unchain(n).(type) {
	case *ast.BoolNode:
		if n.Value {
			return &narrowing{kind: cdc.FilterAll, exact: true}
		}
		return &narrowing{kind: cdc.FilterAny, exact: true}
	case *ast.UnaryNode:
		if n.Operator == "!" || n.Operator == "not" {
			if inner := x.narrowed(n.Node); inner != nil && inner.exact {
				return &narrowing{kind: cdc.FilterNot, of: []*narrowing{inner}, exact: true}
			}
		}
	case *ast.BinaryNode:
		return x.narrowedBinary(n)
	case *ast.MemberNode:
		if column, typ := x.narrowColumn(n); typ != nil && typ.Kind == cdc.KindBool {
			return &narrowing{kind: cdc.FilterIs, column: column, is: "TRUE", exact: true}
		}
	}
	return nil
}

// mirrored are the operators with their sides exchanged.
var mirrored = map[string]string{"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}

func (x *expression) narrowedBinary(n *ast.BinaryNode) *narrowing {
	switch n.Operator {
	case "&&", "and":
		a, b := x.narrowed(n.Left), x.narrowed(n.Right)
		switch {
		case a == nil && b == nil:
			return nil
		case a == nil || b == nil:
			one := a
			if one == nil {
				one = b
			}
			return &narrowing{kind: cdc.FilterAll, of: []*narrowing{one}}
		}
		return &narrowing{kind: cdc.FilterAll, of: []*narrowing{a, b}, exact: a.exact && b.exact}
	case "||", "or":
		a, b := x.narrowed(n.Left), x.narrowed(n.Right)
		if a == nil || b == nil {
			return nil
		}
		return &narrowing{kind: cdc.FilterAny, of: []*narrowing{a, b}, exact: a.exact && b.exact}
	case "in":
		list, ok := n.Right.(*ast.ArrayNode)
		if !ok || len(list.Nodes) > 100 {
			return nil
		}
		out := &narrowing{kind: cdc.FilterAny, exact: true}
		for _, e := range list.Nodes {
			one := x.narrowedComparison("==", n.Left, e)
			if one == nil {
				return nil
			}
			out.of, out.exact = append(out.of, one), out.exact && one.exact
		}
		return out
	}
	mirror, ok := mirrored[n.Operator]
	if !ok {
		return nil
	}
	if out := x.narrowedComparison(n.Operator, n.Left, n.Right); out != nil {
		return out
	}
	return x.narrowedComparison(mirror, n.Right, n.Left)
}

// narrowedComparison translates a column compared with a value.
func (x *expression) narrowedComparison(operator string, left, right ast.Node) *narrowing {
	if operator == "!=" {
		same := x.narrowedComparison("==", left, right)
		if same == nil || !same.exact {
			return nil
		}
		return &narrowing{kind: cdc.FilterNot, of: []*narrowing{same}, exact: true}
	}
	column, typ := x.narrowColumn(left)
	if typ == nil {
		return x.narrowedShift(operator, left, right)
	}
	_, null := right.(*ast.NilNode)
	truth, isBool := right.(*ast.BoolNode)
	odoo := x.shape.reading(column, x.locale) == booleans // NULL is false
	switch {
	case null && operator == "==" && !odoo:
		return &narrowing{kind: cdc.FilterIs, column: column, is: "NULL", exact: true}
	case typ.Kind == cdc.KindBool && isBool && operator == "==":
		out := &narrowing{kind: cdc.FilterIs, column: column, is: "TRUE", exact: true}
		if !truth.Value {
			if out.is = "FALSE"; odoo {
				out.is = "NOT TRUE"
			}
		}
		return out
	case null, isBool, typ.Kind == cdc.KindBool, !x.constant(right):
		return nil
	}
	return x.compared(column, typ, operator, right)
}

// compared is a column compared with what an expression without a row yields.
func (x *expression) compared(column string, typ *cdc.Type, operator string, value ast.Node) *narrowing {
	code, err := x.generate(x.lower(value))
	if err != nil {
		return nil
	}
	if operator == "==" {
		operator = "="
	}
	return &narrowing{kind: cdc.FilterCompare, column: column, typ: typ, operator: operator, value: code, exact: true}
}

// narrowedShift translates after.date + duration("7d") < now(), and the like with a minus, into a comparison of the date itself.
func (x *expression) narrowedShift(operator string, left, right ast.Node) *narrowing {
	sum, ok := unchain(left).(*ast.BinaryNode)
	if !ok || operator == "==" {
		return nil
	}
	opposite := map[string]string{"+": "-", "-": "+"}[sum.Operator]
	column, typ := x.narrowColumn(sum.Left)
	if opposite == "" || typ == nil || !x.constant(sum.Right) || !x.constant(right) {
		return nil
	}
	switch typ.Kind {
	case cdc.KindDate, cdc.KindTimestamp, cdc.KindTimestampTZ:
	default:
		return nil
	}
	// Of infinite dates and of those at the ends of time the two differ: what is read is decided on by the condition, what is not is not.
	out := x.compared(column, typ, operator, at(sum, &ast.BinaryNode{Operator: opposite, Left: right, Right: sum.Right}))
	if out != nil {
		out.exact = false
	}
	return out
}

// narrowColumn recognises after.column, of a type that compares alike in SQL, and that is seen as it is stored.
func (x *expression) narrowColumn(n ast.Node) (string, *cdc.Type) {
	m, ok := unchain(n).(*ast.MemberNode)
	if !ok {
		return "", nil
	}
	name, ok := m.Property.(*ast.StringNode)
	if row, isRow := isRow(m.Node); !ok || !isRow || row != nameAfter {
		return "", nil
	}
	c, _, _ := x.shape.field(name.Value)
	if c == nil || c.Type == nil {
		return "", nil
	}
	if as := x.shape.reading(c.Name, x.locale); as != nil && as != booleans {
		return "", nil
	}
	if c.Type.Kind != cdc.KindBool && !cdc.Filterable(c.Type) {
		return "", nil
	}
	return c.Name, c.Type
}

// constantBuiltins are functions whose result depends on their arguments, and on the time, alone; and constantMethods those of dates.
var constantBuiltins = []string{"now", "date", "duration", "timezone", "lower", "upper", "trim", "int", "float", "string", "abs", "round"}

// constant says that an expression reads no row, so that it has one value for a whole run.
func (x *expression) constant(n ast.Node) bool {
	all := func(nodes ...ast.Node) bool {
		return !slices.ContainsFunc(nodes, func(n ast.Node) bool { return !x.constant(n) })
	}
	switch n := n.(type) {
	case *ast.IntegerNode, *ast.FloatNode, *ast.StringNode:
		return true
	case *ast.UnaryNode:
		return all(n.Node)
	case *ast.BinaryNode:
		return arithmetic[n.Operator] != nil && n.Operator != ".." && all(n.Left, n.Right)
	case *ast.BuiltinNode:
		return slices.Contains(constantBuiltins, n.Name) && all(n.Arguments...)
	case *ast.CallNode:
		m, ok := n.Callee.(*ast.MemberNode)
		if !ok {
			return false
		}
		name, ok := m.Property.(*ast.StringNode)
		return ok && methods[name.Value] && all(m.Node) && all(n.Arguments...)
	}
	return false
}

// Filter narrows down what a scheduled rule must look at, at a time; nil means every row.
func (m *Matcher) Filter(r *Rule, at time.Time) *cdc.Filter {
	if r.narrowed == nil {
		return nil
	}
	m.frame.tx, m.frame.now = TxInfo{Time: at}, at.UTC()
	f, _ := m.filter(r.narrowed)
	return f
}

// filter evaluates the values of a narrowing. What has none that a column can be compared with is left out: exact is false then.
func (m *Matcher) filter(n *narrowing) (f *cdc.Filter, exact bool) {
	f = &cdc.Filter{Kind: n.kind, Column: n.column, Type: n.typ, Operator: n.operator, Text: n.is}
	if n.kind == cdc.FilterCompare {
		text, ok := m.comparable(n)
		if f.Text = text; !ok {
			return nil, false
		}
		return f, n.exact
	}
	exact = n.exact
	for _, part := range n.of {
		inner, same := m.filter(part)
		switch {
		case inner == nil && n.kind != cdc.FilterAll, n.kind == cdc.FilterNot && !same:
			return nil, false
		case inner == nil:
			exact = false
			continue
		}
		exact = exact && same
		f.Of = append(f.Of, *inner)
	}
	return f, exact
}

// comparable evaluates the value that a column is compared with, and writes it as PostgreSQL does.
func (m *Matcher) comparable(n *narrowing) (text string, ok bool) {
	defer func() {
		if p := recover(); p != nil {
			_ = raised(p) // every row is evaluated then, and fails in the same way
			text, ok = "", false
		}
	}()
	m.frame.steps = maxSteps
	v, err := m.machine.Run(n.value, &m.frame)
	if err != nil {
		return "", false
	}
	c, v := classify(v)
	switch kind := n.typ.Kind; {
	case c == classNumber && (kind == cdc.KindInt || kind == cdc.KindNumeric):
		return asNum(v).text(), true
	case c == classText && kind == cdc.KindText:
		s := asText(v)
		return s, !strings.ContainsRune(s, 0)
	case c == classTime && (kind == cdc.KindDate || kind == cdc.KindTimestamp || kind == cdc.KindTimestampTZ):
		return sqlMoment(asMoment(v))
	}
	return "", false
}

// sqlMoment writes a time in UTC, if PostgreSQL can hold all of it.
func sqlMoment(m moment) (string, bool) {
	switch {
	case m.inf > 0:
		return "infinity", true
	case m.inf < 0:
		return "-infinity", true
	case m.at.Nanosecond()%1000 != 0 || m.at.UTC().Year() < 1 || m.at.UTC().Year() > 9999:
		return "", false
	}
	return m.at.UTC().Format("2006-01-02 15:04:05.999999Z07:00"), true
}
