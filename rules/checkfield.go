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
	if row, ok := isRow(base); ok {
		return x.checkField(n, row)
	}
	if call, ok := base.(*ast.CallNode); ok && calls(call, funcRef) {
		return x.checkRelated(n, call)
	}
	if many2one, ok := x.relationOf(base); ok && !n.Method {
		x.checkMember(base.(*ast.MemberNode))
		x.failAt(n.Property, fmt.Sprintf("%q is the id of a record and has no members", many2one), idRemedy(many2one))
		return anything(n)
	}
	if first, second, ok := x.secondRelation(base); ok {
		x.failAt(n.Property, fmt.Sprintf("a path can follow one relation: %s would be the second after %s", second, first), "")
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

// checkRelated looks at ref("partner_id").name.
func (x *expression) checkRelated(n *ast.MemberNode, call *ast.CallNode) ast.Node {
	many2one, to, ok := x.refTarget(call)
	if !ok {
		return anything(n)
	}
	name, ok := n.Property.(*ast.StringNode)
	if !ok {
		x.failAt(n.Property, "the name of a field must be written out, it cannot be computed", fmt.Sprintf("write ref(%q).name", many2one))
		return anything(n)
	}
	c, message, remedy := to.field(name.Value)
	if c == nil {
		x.failAt(name, message, remedy)
		return anything(n)
	}
	x.reads.note(&x.reads.record, many2one)
	if r := (relatedRead{many2one, c.Name, to.table}); !slices.Contains(x.reads.related, r) {
		x.reads.related = append(x.reads.related, r)
	}
	return at(n, &ast.MemberNode{Node: at(n, &ast.IdentifierNode{Value: typeRelated + many2one}), Property: at(name, &ast.StringNode{Value: c.Name})})
}

// relationOf recognises after.partner_id.
func (x *expression) relationOf(n ast.Node) (many2one string, ok bool) {
	m, ok := n.(*ast.MemberNode)
	if !ok {
		return "", false
	}
	name, isName := m.Property.(*ast.StringNode)
	if _, row := isRow(m.Node); !row || !isName || x.shape.model == nil {
		return "", false
	}
	to, _, _ := x.shape.many2one(x.cat, name.Value)
	return name.Value, to.table != nil
}

// secondRelation recognises ref("partner_id").country_id, which has no members: it is an id.
func (x *expression) secondRelation(n ast.Node) (first, second string, ok bool) {
	m, ok := n.(*ast.MemberNode)
	if !ok {
		return "", "", false
	}
	call, isCall := unchain(m.Node).(*ast.CallNode)
	name, isName := m.Property.(*ast.StringNode)
	if !isCall || !isName || !calls(call, funcRef) || len(call.Arguments) != 1 {
		return "", "", false
	}
	many2one, isName := call.Arguments[0].(*ast.StringNode)
	if !isName {
		return "", "", false
	}
	to, _, _ := x.shape.many2one(x.cat, many2one.Value)
	if to.table == nil {
		return "", "", false
	}
	next, _, _ := to.many2one(x.cat, name.Value)
	return many2one.Value, name.Value, next.table != nil
}

// fieldPath makes of a payload's "partner_id.name" what it is short for: ref("partner_id").name. A path
// that starts at another field reads inside of it: "name.en_US".
func (x *expression) fieldPath(n ast.Node) ast.Node {
	switch n := unchain(n).(type) {
	case *ast.IdentifierNode:
		if reserved(n.Value) || x.shape.table.Column(n.Value) == nil {
			return n
		}
		name := at(n, &ast.StringNode{Value: n.Value})
		if to, _, _ := x.shape.many2one(x.cat, n.Value); to.table != nil {
			return at(n, &ast.CallNode{Callee: at(n, &ast.IdentifierNode{Value: funcRef}), Arguments: []ast.Node{name}})
		}
		return at(n, &ast.MemberNode{Node: at(n, &ast.IdentifierNode{Value: nameRecord}), Property: name})
	case *ast.MemberNode:
		switch n.Property.(type) {
		case *ast.StringNode, *ast.IntegerNode:
			return at(n, &ast.MemberNode{Node: x.fieldPath(n.Node), Property: n.Property, Optional: n.Optional})
		}
	}
	return n
}

// refTarget checks the argument of ref.
func (x *expression) refTarget(call *ast.CallNode) (many2one string, to shape, ok bool) {
	if len(call.Arguments) != 1 {
		x.failAt(call, "ref takes the name of one many2one field", "write "+signatures[funcRef])
		return "", shape{}, false
	}
	name, ok := call.Arguments[0].(*ast.StringNode)
	if !ok {
		x.failAt(call.Arguments[0], "ref takes the name of a field in quotes", "write "+signatures[funcRef])
		return "", shape{}, false
	}
	to, message, remedy := x.shape.many2one(x.cat, name.Value)
	if to.table == nil {
		x.failAt(name, message, remedy)
		return "", shape{}, false
	}
	return name.Value, to, true
}
