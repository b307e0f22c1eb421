package rules

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"

	"walhook/cdc/catalog"
)

// check looks at what expr's checker cannot know: names, fields, our functions,
// the values of selections. It reports every mistake, notes what the expression reads, and returns a copy
// of the tree for [expression.typecheck], in which our functions are replaced by
// expressions of the same type that use the same values.
func (x *expression) check(n ast.Node) ast.Node {
	if x.visits++; x.visits > maxExprNodes || n == nil {
		return at(n, &ast.NilNode{})
	}
	switch n := n.(type) {
	case *ast.NilNode:
		return at(n, &ast.NilNode{})
	case *ast.IntegerNode:
		return at(n, &ast.IntegerNode{Value: n.Value})
	case *ast.FloatNode:
		return at(n, &ast.FloatNode{Value: n.Value})
	case *ast.BoolNode:
		return at(n, &ast.BoolNode{Value: n.Value})
	case *ast.StringNode:
		return at(n, &ast.StringNode{Value: n.Value})
	case *ast.BytesNode:
		return at(n, &ast.BytesNode{Value: n.Value})
	case *ast.IdentifierNode:
		return x.checkName(n)
	case *ast.UnaryNode:
		return at(n, &ast.UnaryNode{Operator: n.Operator, Node: x.check(n.Node)})
	case *ast.BinaryNode:
		x.checkConstants(n)
		operator := n.Operator
		if operator == "%" {
			operator = "/" // for expr, % is for integers only
		}
		return at(n, &ast.BinaryNode{Operator: operator, Left: x.check(n.Left), Right: x.check(n.Right)})
	case *ast.ChainNode:
		return at(n, &ast.ChainNode{Node: x.check(n.Node)})
	case *ast.MemberNode:
		return x.checkMember(n)
	case *ast.SliceNode:
		s := &ast.SliceNode{Node: x.check(n.Node)}
		if n.From != nil {
			s.From = x.check(n.From)
		}
		if n.To != nil {
			s.To = x.check(n.To)
		}
		return at(n, s)
	case *ast.CallNode:
		return x.checkCall(n)
	case *ast.BuiltinNode:
		return x.checkBuiltin(n)
	case *ast.PredicateNode:
		return at(n, &ast.PredicateNode{Node: x.check(n.Node)})
	case *ast.PointerNode:
		return at(n, &ast.PointerNode{Name: n.Name})
	case *ast.ConditionalNode:
		return at(n, &ast.ConditionalNode{Ternary: n.Ternary, Cond: x.check(n.Cond), Exp1: x.check(n.Exp1), Exp2: x.check(n.Exp2)})
	case *ast.VariableDeclaratorNode:
		return x.checkVariable(n)
	case *ast.SequenceNode:
		return at(n, &ast.SequenceNode{Nodes: x.checkAll(n.Nodes)})
	case *ast.ArrayNode:
		return at(n, &ast.ArrayNode{Nodes: x.checkAll(n.Nodes)})
	case *ast.MapNode:
		return at(n, &ast.MapNode{Pairs: x.checkAll(n.Pairs)})
	case *ast.PairNode:
		return at(n, &ast.PairNode{Key: x.check(n.Key), Value: x.check(n.Value)})
	}
	x.failAt(n, "this cannot be used in rules", "")
	return at(n, &ast.NilNode{})
}

func (x *expression) checkAll(nodes []ast.Node) []ast.Node {
	out := make([]ast.Node, len(nodes))
	for i := range nodes {
		out[i] = x.check(nodes[i])
	}
	return out
}

// at gives a new node the place of an old one.
func at[N ast.Node](old ast.Node, n N) N {
	if old != nil {
		n.SetLocation(old.Location())
	}
	return n
}

// anything stands for a value of unknown type.
func anything(n ast.Node) ast.Node { return at(n, &ast.IdentifierNode{Value: typeAny}) }

func (x *expression) checkName(n *ast.IdentifierNode) ast.Node {
	name := n.Value
	if name == typeAny {
		return anything(n) // a mistake that expand has reported
	}
	if x.refusePure(n, name) {
		return anything(n)
	}
	switch {
	case name == typeAny: // in the place of a mistake that has been reported
	case slices.Contains(x.vars, name), name == nameOp, name == nameModel, name == nameID:
		return at(n, &ast.IdentifierNode{Value: name})
	case name == nameCascade:
		return x.checkCascade(n)
	case name == nameBefore, name == nameAfter:
		x.failAt(n, fmt.Sprintf("%q is a whole row: only single fields of it can be used", name), fmt.Sprintf("write %s.%s", name, x.exampleField()))
	case name == nameUser, name == nameTx:
		x.failAt(n, fmt.Sprintf("%q cannot be used as a whole", name), fmt.Sprintf("write %s.%s", name, strings.Join(members[name], " or "+name+".")))
	case name == nameEnv:
		x.failAt(n, "$env cannot be used in rules", "name the fields: after."+x.exampleField())
	case signatures[name] != "":
		x.failAt(n, fmt.Sprintf("%s is a function", name), "write "+signatures[name])
	case x.functions[name] != nil:
		x.failAt(n, fmt.Sprintf("%s is a function", name), "write "+x.functions[name].signature())
	case builtinNames[name]:
		x.failAt(n, fmt.Sprintf("%s is a function", name), fmt.Sprintf("write %s(…)", name))
	default:
		x.failAt(n, fmt.Sprintf("unknown name %q", name), x.meantName(name))
	}
	return anything(n)
}

// meantName guesses what an unknown name was meant to be.
func (x *expression) meantName(name string) string {
	if s, ok := synonyms[name]; ok {
		return "write " + s
	}
	if x.shape.table.Column(name) != nil {
		return fmt.Sprintf("write after.%s (or before.%s)", name, name)
	}
	if remedy := didYouMean(name, x.candidates()); remedy != "" {
		return remedy
	}
	fields := x.shape.names()
	if x.bare && x.shape.model != nil {
		fields = x.shape.allNames(x.cat)
	}
	switch field := catalog.Suggest(name, fields); {
	case field == "":
		return ""
	case x.bare:
		return fmt.Sprintf("did you mean %q?", field)
	default:
		return fmt.Sprintf("did you mean after.%s?", field)
	}
}

func (x *expression) exampleField() string {
	for _, name := range []string{"state", "name"} {
		if x.shape.table.Column(name) != nil {
			return name
		}
	}
	if names := x.shape.names(); len(names) > 0 {
		return names[0]
	}
	return "field"
}

func (x *expression) checkVariable(n *ast.VariableDeclaratorNode) ast.Node {
	value := x.check(n.Value)
	switch {
	case reserved(n.Name), x.functions[n.Name] != nil:
		x.failAt(n, fmt.Sprintf("%q has a meaning already, a variable cannot have this name", n.Name), "")
		return anything(n)
	case slices.Contains(x.vars, n.Name):
		x.failAt(n, fmt.Sprintf("variable %q is declared twice", n.Name), "")
		return anything(n)
	}
	x.vars = append(x.vars, n.Name)
	body := x.check(n.Expr)
	x.vars = x.vars[:len(x.vars)-1]
	return at(n, &ast.VariableDeclaratorNode{Name: n.Name, Value: value, Expr: body})
}

// candidates are what an unknown name may have been meant to be.
func (x *expression) candidates() []string {
	if x.pure {
		return slices.Concat(x.vars, x.callable())
	}
	return slices.Concat(names(), x.vars, x.callable())
}

// callable lists all functions.
func (x *expression) callable() []string {
	return append(functionNames(), slices.Collect(maps.Keys(x.functions))...)
}

// refusePure reports a name that an expression of [functions] must not use: it sees nothing of the change.
func (x *expression) refusePure(n ast.Node, name string) bool {
	if !x.pure || slices.Contains(x.vars, name) {
		return false
	}
	switch name {
	case nameBefore, nameAfter, nameOp, nameModel, nameID, nameUser, nameTx, funcChanged, funcBecame, funcEntered, funcLabel, funcRef, nameCascade, funcRolled, funcLines:
		x.failAt(n, fmt.Sprintf("a function sees its arguments only, not %q", name), "give it what it needs as an argument")
		return true
	}
	return false
}

// refusePureHead is [expression.refusePure] for what a member is of: after.name, ref("partner_id").name.
func (x *expression) refusePureHead(n ast.Node) bool {
	if call, ok := n.(*ast.CallNode); ok {
		n = call.Callee
	}
	id, ok := n.(*ast.IdentifierNode)
	return ok && x.refusePure(id, id.Value)
}
