package rules

import (
	"fmt"
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
		return at(n, &ast.BinaryNode{Operator: n.Operator, Left: x.check(n.Left), Right: x.check(n.Right)})
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
	switch {
	case slices.Contains(x.vars, name), name == nameOp, name == nameModel, name == nameID:
		return at(n, &ast.IdentifierNode{Value: name})
	case name == nameBefore, name == nameAfter:
		x.failAt(n, fmt.Sprintf("%q is a whole row: only single fields of it can be used", name), fmt.Sprintf("write %s.%s", name, x.exampleField()))
	case name == nameUser, name == nameTx:
		x.failAt(n, fmt.Sprintf("%q cannot be used as a whole", name), fmt.Sprintf("write %s.%s", name, strings.Join(members[name], " or "+name+".")))
	case name == nameEnv:
		x.failAt(n, "$env cannot be used in rules", "name the fields: after."+x.exampleField())
	case signatures[name] != "":
		x.failAt(n, fmt.Sprintf("%s is a function", name), "write "+signatures[name])
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
	if remedy := didYouMean(name, append(names(), functionNames()...)); remedy != "" {
		return remedy
	}
	switch field := catalog.Suggest(name, x.shape.names()); {
	case field == "":
		return ""
	case x.payload:
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

func (x *expression) checkVariable(n *ast.VariableDeclaratorNode) ast.Node {
	value := x.check(n.Value)
	switch {
	case reserved(n.Name):
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

// checkConstants looks at literals that are compared with something that has
// few values: selections and op.
func (x *expression) checkConstants(n *ast.BinaryNode) {
	switch n.Operator {
	case "==", "!=":
		x.checkConstant(n.Left, []ast.Node{n.Right})
		x.checkConstant(n.Right, []ast.Node{n.Left})
	case "in":
		if list, ok := n.Right.(*ast.ArrayNode); ok {
			x.checkConstant(n.Left, list.Nodes)
		}
	}
}

func (x *expression) checkConstant(subject ast.Node, values []ast.Node) {
	subject = unchain(subject)
	if id, ok := subject.(*ast.IdentifierNode); ok && id.Value == nameOp && !slices.Contains(x.vars, nameOp) {
		for _, v := range values {
			if s, ok := v.(*ast.StringNode); ok && opByName(s.Value) == 0 {
				x.failAt(s, fmt.Sprintf("op is never %q", s.Value), opRemedy(s.Value))
			}
		}
		return
	}
	if m, ok := subject.(*ast.MemberNode); ok {
		name, ok := m.Property.(*ast.StringNode)
		if _, row := isRow(m.Node); ok && row {
			x.checkSelection(name.Value, values)
		}
	}
}

// checkSelection looks at literal values of a selection field. A list may hold values that this database
// does not know, as the selections of Odoo's versions differ, as long as it
// holds one that it knows and the others are no misspelling.
func (x *expression) checkSelection(column string, values []ast.Node) {
	options := x.shape.options(column)
	if len(options) == 0 {
		return
	}
	known := make([]string, len(options))
	for i, o := range options {
		known[i] = o.Value
	}
	anyKnown := slices.ContainsFunc(values, func(v ast.Node) bool {
		s, ok := v.(*ast.StringNode)
		return !ok || slices.Contains(known, s.Value)
	})
	for _, v := range values {
		s, ok := v.(*ast.StringNode)
		if !ok || slices.Contains(known, s.Value) {
			continue
		}
		remedy := didYouMean(s.Value, known)
		if anyKnown && remedy == "" {
			continue
		}
		if label := slices.IndexFunc(options, func(o catalog.Option) bool { return strings.EqualFold(o.Label, s.Value) }); label >= 0 {
			remedy = fmt.Sprintf("the value of %s is %q", options[label].Label, options[label].Value)
		}
		if remedy == "" {
			remedy = "its values are " + oneOf(known)
		}
		x.failAt(s, fmt.Sprintf("%q is no value of %s.%s", s.Value, x.shape.name, column), remedy)
	}
}
