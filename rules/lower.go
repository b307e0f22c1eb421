package rules

import (
	"regexp"
	"strings"

	"github.com/expr-lang/expr/ast"
)

// lower rewrites a checked tree into what runs. expr keeps control flow,
// loops and variables; everything that touches a value becomes a call of one
// of our functions, held as a constant in the program. Their signatures are some of those that expr's
// machine calls without reflection and without allocating. Columns become calls that take the environment, a *[frame].
func (x *expression) lower(n ast.Node) ast.Node {
	switch n := n.(type) {
	case *ast.NilNode:
		return at(n, &ast.NilNode{})
	case *ast.IntegerNode:
		return at(n, &ast.IntegerNode{Value: n.Value})
	case *ast.FloatNode:
		return constant(n, number{new(x.literal(n))})
	case *ast.BoolNode:
		return at(n, &ast.BoolNode{Value: n.Value})
	case *ast.StringNode:
		return at(n, &ast.StringNode{Value: n.Value})
	case *ast.BytesNode:
		return at(n, &ast.BytesNode{Value: n.Value})
	case *ast.IdentifierNode:
		return x.lowerName(n)
	case *ast.UnaryNode:
		return x.lowerUnary(n)
	case *ast.BinaryNode:
		return x.lowerBinary(n)
	case *ast.ChainNode:
		return x.lower(n.Node)
	case *ast.MemberNode:
		return x.lowerMember(n)
	case *ast.SliceNode:
		from, to := ast.Node(&ast.NilNode{}), ast.Node(&ast.NilNode{})
		if n.From != nil {
			from = x.lower(n.From)
		}
		if n.To != nil {
			to = x.lower(n.To)
		}
		return call(n, func(a ...any) any { return slice(a[0], a[1], a[2]) }, x.lower(n.Node), from, to)
	case *ast.CallNode:
		return x.lowerCall(n)
	case *ast.BuiltinNode:
		return x.lowerBuiltin(n)
	case *ast.PointerNode:
		return at(n, &ast.PointerNode{Name: n.Name})
	case *ast.ConditionalNode:
		return at(n, &ast.ConditionalNode{Ternary: n.Ternary, Cond: x.condition(n.Cond), Exp1: x.lower(n.Exp1), Exp2: x.lower(n.Exp2)})
	case *ast.VariableDeclaratorNode:
		return x.lowerVariable(n)
	case *ast.SequenceNode:
		return at(n, &ast.SequenceNode{Nodes: x.lowerAll(n.Nodes)})
	case *ast.ArrayNode:
		if list, ok := x.literals(n); ok {
			return constant(n, list)
		}
		return withFrame(n, weighed, at(n, &ast.ArrayNode{Nodes: x.lowerAll(n.Nodes)}))
	case *ast.MapNode:
		return withFrame(n, weighed, at(n, &ast.MapNode{Pairs: x.lowerAll(n.Pairs)}))
	case *ast.PairNode:
		key := x.lower(n.Key)
		if _, written := key.(*ast.StringNode); !written {
			key = call(n, textForm, key)
		}
		return at(n, &ast.PairNode{Key: key, Value: x.lower(n.Value)})
	}
	return n // check has refused everything else
}

func (x *expression) lowerAll(nodes []ast.Node) []ast.Node {
	out := make([]ast.Node, len(nodes))
	for i := range nodes {
		out[i] = x.lower(nodes[i])
	}
	return out
}

func constant(place ast.Node, v any) ast.Node { return at(place, &ast.ConstantNode{Value: v}) }

// call makes a call of a Go function.
func call(place ast.Node, function any, args ...ast.Node) ast.Node {
	return at(place, &ast.CallNode{Callee: constant(place, function), Arguments: args})
}

// withFrame makes a call of a function whose first argument is the frame.
func withFrame(place ast.Node, function any, args ...ast.Node) ast.Node {
	return call(place, function, append([]ast.Node{at(place, &ast.IdentifierNode{Value: nameEnv})}, args...)...)
}

// literal reads the digits of a number from the source text: expr knows only the float64 nearest to them.
func (x *expression) literal(n *ast.FloatNode) num {
	from, to := x.byteOffset(n.Location().From), x.byteOffset(n.Location().To)
	if from < to {
		if v, ok := parseNum(strings.ReplaceAll(x.text[from:to], "_", "")); ok {
			return v
		}
	}
	return floatNum(n.Value)
}

// literals evaluates a list that consists of literals.
func (x *expression) literals(n *ast.ArrayNode) ([]any, bool) {
	list := make([]any, len(n.Nodes))
	for i, e := range n.Nodes {
		switch e := x.lower(e).(type) {
		case *ast.NilNode:
		case *ast.IntegerNode:
			list[i] = e.Value
		case *ast.BoolNode:
			list[i] = e.Value
		case *ast.StringNode:
			list[i] = e.Value
		case *ast.ConstantNode:
			list[i] = e.Value
		default:
			return nil, false
		}
	}
	return list, true
}

// condition lowers an operand of && || and ?:, where NULL is false.
func (x *expression) condition(n ast.Node) ast.Node {
	lowered := x.lower(n)
	if yieldsBool(lowered) {
		return lowered
	}
	return call(n, truth, lowered)
}

// yieldsBool says whether a lowered expression can only be true or false.
func yieldsBool(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.BoolNode:
		return true
	case *ast.BinaryNode:
		return n.Operator != "??" // only the logical operators are left
	case *ast.CallNode:
		if c, ok := n.Callee.(*ast.ConstantNode); ok {
			switch c.Value.(type) {
			case func(any) bool, func(any, any) bool:
				return true
			}
		}
	case *ast.BuiltinNode:
		switch n.Name {
		case "all", "none", "any", "one":
			return true
		}
	}
	return false
}

func (x *expression) lowerName(n *ast.IdentifierNode) ast.Node {
	switch n.Value {
	case nameCascade:
		return x.lowerCascade(n)
	case nameOp:
		return withFrame(n, func(f any) any { return f.(*frame).operation() })
	case nameModel:
		return at(n, &ast.StringNode{Value: x.shape.name})
	case nameID:
		if integerKey(x.shape) {
			return withFrame(n, func(f any) any {
				if id, ok := f.(*frame).change.ID(); ok {
					return int(id)
				}
				return nil
			})
		}
		return withFrame(n, func(f any) any { return f.(*frame).change.Key })
	}
	if name, ok := x.renamed[n.Value]; ok {
		return at(n, &ast.IdentifierNode{Value: name})
	}
	return at(n, &ast.IdentifierNode{Value: n.Value}) // a variable
}

var opNames = [...]any{nil, "create", "write", "unlink", "truncate", "message", "schedule"}

func (x *expression) lowerUnary(n *ast.UnaryNode) ast.Node {
	operand := x.lower(n.Node)
	switch n.Operator {
	case "!", "not":
		return call(n, not, operand)
	case "+":
		return call(n, plus, operand)
	}
	switch o := operand.(type) {
	case *ast.IntegerNode:
		return at(n, &ast.IntegerNode{Value: -o.Value})
	case *ast.ConstantNode:
		if v, ok := o.Value.(number); ok {
			return constant(n, number{new(v.neg())})
		}
	}
	return call(n, negate, operand)
}

func (x *expression) lowerBinary(n *ast.BinaryNode) ast.Node {
	switch n.Operator {
	case "and", "&&", "or", "||":
		return at(n, &ast.BinaryNode{Operator: n.Operator, Left: x.condition(n.Left), Right: x.condition(n.Right)})
	case "??":
		return at(n, &ast.BinaryNode{Operator: n.Operator, Left: x.lower(n.Left), Right: x.lower(n.Right)})
	case "matches":
		if s, ok := n.Right.(*ast.StringNode); ok {
			if re, err := regexp.Compile(s.Value); err == nil { // typecheck has reported the others
				return call(n, matching(re), x.lower(n.Left))
			}
		}
	}
	if fused := x.fuse(n); fused != nil {
		return fused
	}
	if f := comparisons[n.Operator]; f != nil {
		return call(n, f, x.lower(n.Left), x.lower(n.Right))
	}
	if f := textTests[n.Operator]; f != nil {
		return call(n, f, x.lower(n.Left), x.lower(n.Right))
	}
	result := call(n, arithmetic[n.Operator], x.lower(n.Left), x.lower(n.Right))
	if n.Operator == ".." {
		return withFrame(n, weighed, result)
	}
	if n.Operator == "+" && x.loops > 0 {
		return withFrame(n, written, result)
	}
	return result
}

// fieldOf recognises before.name and its like: the row and the column's slot.
func (x *expression) fieldOf(n ast.Node) (row string, slot int, ok bool) {
	m, ok := unchain(n).(*ast.MemberNode)
	if !ok {
		return "", 0, false
	}
	name, ok := m.Property.(*ast.StringNode)
	row, isRow := isRow(m.Node)
	if !ok || !isRow {
		return "", 0, false
	}
	return row, x.slot(name.Value), true
}

// fuse makes one call of the commonest conditions, a column compared with a text, where
// three would do. The meaning is that of [equal].
func (x *expression) fuse(n *ast.BinaryNode) ast.Node {
	if n.Operator != "==" && n.Operator != "!=" {
		return nil
	}
	field, value := n.Left, n.Right
	if _, _, ok := x.fieldOf(field); !ok {
		field, value = value, field
	}
	row, slot, ok := x.fieldOf(field)
	text, isText := value.(*ast.StringNode)
	if !ok || !isText {
		return nil
	}
	var want any = text.Value // in an interface once and for all
	negated, side := n.Operator == "!=", sideOf(row)
	return withFrame(n, func(env any) bool {
		f := env.(*frame)
		return equal(f.value(side(f), slot), want) != negated
	})
}

// sideOf finds a row version in a frame.
func sideOf(row string) func(*frame) *side {
	switch row {
	case nameBefore:
		return func(f *frame) *side { return &f.before }
	case nameAfter:
		return func(f *frame) *side { return &f.after }
	}
	return func(f *frame) *side { return f.record }
}

func (x *expression) lowerMember(n *ast.MemberNode) ast.Node {
	if row, slot, ok := x.fieldOf(n); ok {
		side := sideOf(row)
		return withFrame(n, func(env any) any {
			f := env.(*frame)
			return f.value(side(f), slot)
		})
	}
	base := unchain(n.Node)
	if id, ok := base.(*ast.IdentifierNode); ok && members[id.Value] != nil {
		return x.lowerFixed(n, id.Value, n.Property.(*ast.StringNode).Value)
	}
	if row, column, ok := x.storedField(base); ok {
		slot, side := x.watched.slot(column), sideOf(row)
		stored := withFrame(base, func(env any) any {
			f := env.(*frame)
			return f.value(side(f), slot)
		})
		return call(n, member, stored, x.lower(n.Property))
	}
	return call(n, member, x.lower(base), x.lower(n.Property))
}

// lowerFixed reads tx.… and user.id.
func (x *expression) lowerFixed(n ast.Node, name, property string) ast.Node {
	switch {
	case name == nameUser:
		write, create := x.userSlots()
		return withFrame(n, func(env any) any { return env.(*frame).user(write, create) })
	case property == "xid":
		return withFrame(n, func(env any) any { return int(env.(*frame).tx.XID) })
	case property == "lsn":
		return withFrame(n, func(env any) any { return env.(*frame).tx.LSN.String() })
	}
	return commitTime(n)
}

// userSlots returns the slots of write_uid and create_uid, or -1.
func (x *expression) userSlots() (write, create int) {
	slot := func(name string) int {
		if c := x.shape.table.Column(name); c == nil || x.shape.model == nil {
			return -1
		}
		return x.watched.slot(name)
	}
	return slot("write_uid"), slot("create_uid")
}

func (x *expression) lowerVariable(n *ast.VariableDeclaratorNode) ast.Node {
	value := x.lower(n.Value)
	if x.renamed == nil {
		return at(n, &ast.VariableDeclaratorNode{Name: n.Name, Value: value, Expr: x.lower(n.Expr)})
	}
	outer, hidden := x.renamed[n.Name]
	node := at(n, &ast.VariableDeclaratorNode{Name: x.rename(n.Name), Value: value, Expr: x.lower(n.Expr)})
	if delete(x.renamed, n.Name); hidden {
		x.renamed[n.Name] = outer
	}
	return node
}
