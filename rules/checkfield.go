package rules

import (
	"fmt"
	"slices"

	"github.com/expr-lang/expr/ast"
)

// isRow says whether n is before, after or the record of a plain field name.
func isRow(n ast.Node) (name string, ok bool) {
	id, ok := unchain(n).(*ast.IdentifierNode)
	if !ok {
		return "", false
	}
	switch id.Value {
	case nameBefore, nameAfter, nameRecord:
		return id.Value, true
	}
	return "", false
}

// unchain removes the marks of optional chaining: access to members is always safe here.
func unchain(n ast.Node) ast.Node {
	for {
		c, ok := n.(*ast.ChainNode)
		if !ok {
			return n
		}
		n = c.Node
	}
}

func (x *expression) checkMember(n *ast.MemberNode) ast.Node {
	base := unchain(n.Node)
	if x.refusePureHead(base) {
		return anything(n)
	}
	if row, ok := isRow(base); ok {
		return x.checkField(n, row)
	}
	if _, _, ok := x.storedField(base); ok {
		return x.checkKeyed(n, base.(*ast.MemberNode))
	}
	if p, _ := x.pathOf(base); p != nil {
		x.checkPathKey(n, p)
	}
	if call, ok := base.(*ast.CallNode); ok && calls(call, funcRef) {
		x.checkRef(call, true)
		return anything(n)
	}
	if id, ok := base.(*ast.IdentifierNode); ok && members[id.Value] != nil {
		name, ok := n.Property.(*ast.StringNode)
		if !ok || !slices.Contains(members[id.Value], name.Value) {
			x.failAt(n.Property, fmt.Sprintf("%s has only %s", id.Value, oneOf(members[id.Value])), "")
			return anything(n)
		}
		x.reads.tx = x.reads.tx || id.Value == nameTx
		return at(n, &ast.MemberNode{Node: at(id, &ast.IdentifierNode{Value: id.Value}), Property: at(name, &ast.StringNode{Value: name.Value})})
	}
	return at(n, &ast.MemberNode{Node: x.check(n.Node), Property: x.check(n.Property), Optional: n.Optional, Method: n.Method})
}

// checkField looks at before.field, after["field"].
func (x *expression) checkField(n *ast.MemberNode, row string) ast.Node {
	name, ok := n.Property.(*ast.StringNode)
	if !ok {
		x.check(n.Property)
		x.failAt(n.Property, "the name of a field must be written out, it cannot be computed", fmt.Sprintf("write %s.%s or %s[%q]", row, x.exampleField(), row, x.exampleField()))
		return anything(n)
	}
	c, message, remedy := x.shape.field(name.Value)
	if c == nil {
		x.failAt(name, message, remedy)
		return anything(n)
	}
	switch row {
	case nameBefore:
		x.reads.note(&x.reads.before, c.Name)
	case nameAfter:
		x.reads.note(&x.reads.after, c.Name)
	default:
		x.reads.note(&x.reads.record, c.Name)
	}
	return at(n, x.typedField(n, c.Name))
}

// typedField stands for a column in the copy that is type checked.
func (x *expression) typedField(place ast.Node, column string) ast.Node {
	return at(place, &ast.MemberNode{Node: at(place, &ast.IdentifierNode{Value: nameAfter}), Property: at(place, &ast.StringNode{Value: column})})
}

// checkRef complains about a ref that expand has made no path of. member says that a field of it is read.
func (x *expression) checkRef(call *ast.CallNode, member bool) {
	if len(call.Arguments) != 1 {
		x.failAt(call, "ref takes the name of one many2one field", "write "+signatures[funcRef])
		return
	}
	name, ok := call.Arguments[0].(*ast.StringNode)
	switch {
	case !ok:
		x.failAt(call.Arguments[0], "ref takes the name of a field in quotes", "write "+signatures[funcRef])
	case member:
		x.failAt(call, "the name of a field must be written out, it cannot be computed", fmt.Sprintf("write ref(%q).name", name.Value))
	default:
		x.failAt(call, "ref(…) is a whole row: only single fields of it can be used", fmt.Sprintf("write ref(%q).name", name.Value))
	}
}
