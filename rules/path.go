package rules

import (
	"fmt"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"
)

// namePath is what expand makes of paths: a call with the path's number. parent is the record that an each stands in.
// Only the second is a name that expressions can spell.
const (
	namePath   = "the path"
	nameParent = "parent"
)

// pathName is a part of a path and where it stands in the text.
type pathName struct {
	text   string
	offset int
}

// expand replaces the paths of an expression by calls of namePath, and fields that are named without a row by those of the
// record. What it does not understand it leaves to check to complain about.
func (x *expression) expand(n ast.Node) ast.Node {
	if done, ok := x.expanded[n]; ok { // a chain of comparisons shares its operands
		return done
	}
	out := x.expandNode(n)
	x.expanded[n], x.expanded[out] = out, out
	return out
}

func (x *expression) expandNode(n ast.Node) ast.Node {
	switch n := n.(type) {
	case *ast.IdentifierNode, *ast.MemberNode:
		return x.expandMember(n)
	case *ast.ChainNode:
		return x.expand(n.Node)
	case *ast.UnaryNode:
		n.Node = x.expand(n.Node)
	case *ast.BinaryNode:
		n.Left, n.Right = x.expand(n.Left), x.expand(n.Right)
	case *ast.SliceNode:
		n.Node = x.expand(n.Node)
		if n.From != nil {
			n.From = x.expand(n.From)
		}
		if n.To != nil {
			n.To = x.expand(n.To)
		}
	case *ast.CallNode:
		return x.expandCall(n)
	case *ast.BuiltinNode:
		x.expandAll(n.Arguments)
	case *ast.PredicateNode:
		n.Node = x.expand(n.Node)
	case *ast.ConditionalNode:
		n.Cond, n.Exp1, n.Exp2 = x.expand(n.Cond), x.expand(n.Exp1), x.expand(n.Exp2)
	case *ast.VariableDeclaratorNode:
		n.Value = x.expand(n.Value)
		x.vars = append(x.vars, n.Name)
		n.Expr = x.expand(n.Expr)
		x.vars = x.vars[:len(x.vars)-1]
	case *ast.SequenceNode:
		x.expandAll(n.Nodes)
	case *ast.ArrayNode:
		x.expandAll(n.Nodes)
	case *ast.MapNode:
		x.expandAll(n.Pairs)
	case *ast.PairNode:
		n.Key, n.Value = x.expand(n.Key), x.expand(n.Value)
	}
	return n
}

func (x *expression) expandAll(nodes []ast.Node) {
	for i := range nodes {
		nodes[i] = x.expand(nodes[i])
	}
}

func (x *expression) expandCall(n *ast.CallNode) ast.Node {
	if m, ok := n.Callee.(*ast.MemberNode); ok { // a method: what it is called on may be a path
		m.Node = x.expand(m.Node)
	}
	id, ok := n.Callee.(*ast.IdentifierNode)
	if !ok || id.Value != funcLabel || len(n.Arguments) != 1 {
		if ok && x.scope != nil && slices.Contains([]string{funcChanged, funcBecame, funcEntered}, id.Value) {
			x.failAt(n, fmt.Sprintf("%s is about the record of the rule: the rows of an each are known as they are now only", id.Value), "")
		}
		x.expandAll(n.Arguments)
		return n
	}
	name, ok := n.Arguments[0].(*ast.StringNode)
	if !ok || x.scope == nil && !strings.Contains(name.Value, ".") && !x.inherited(name.Value) {
		return n
	}
	t := x.start(versionRecord)
	if p, used := x.walk(t, x.split(name), false); p != nil && used > 0 {
		if p.options() == nil {
			x.failAt(name, fmt.Sprintf("field %q of %s is no selection: it has no labels", p.column.Name, p.shape.name), "")
		}
		p.label = true
		return x.pathNode(n, p)
	}
	return anything(n)
}

// inherited says that a field of the record is kept in another model's table.
func (x *expression) inherited(name string) bool {
	m, _, _ := x.record.find(x.cat, name)
	return len(m.steps) > 0
}

// split takes the names in a text apart.
func (x *expression) split(s *ast.StringNode) []pathName {
	at := x.byteOffset(s.Location().From)
	if !strings.Contains(s.Value, ".") {
		return []pathName{{s.Value, at}}
	}
	exact := strings.HasPrefix(x.text[min(at+1, len(x.text)):], s.Value)
	var names []pathName
	offset := at + 1
	for part := range strings.SplitSeq(s.Value, ".") {
		names = append(names, pathName{part, offset})
		if !exact {
			names[len(names)-1].offset = at
		}
		offset += len(part) + 1
	}
	return names
}

// start is where paths begin: at a version of the watched record, or in an each at its row.
func (x *expression) start(of version) trail {
	t := trail{cat: x.cat, locale: x.locale, watched: x.watched, shape: x.record, of: of}
	if x.scope != nil && of == versionRecord {
		t.place, t.shape = x.scope, x.shape
	}
	return t
}

// expandMember expands a chain of members with all its names: after.partner_id.name.
func (x *expression) expandMember(n ast.Node) ast.Node {
	var names []pathName
	var nodes []*ast.MemberNode // that each of names is the member of
	head := n
	for {
		head = unchain(head)
		m, ok := head.(*ast.MemberNode)
		if !ok {
			break
		}
		s, ok := m.Property.(*ast.StringNode)
		if !ok {
			break
		}
		names, nodes = append(names, pathName{s.Value, x.byteOffset(s.Location().From)}), append(nodes, m)
		head = m.Node
	}
	slices.Reverse(names)
	slices.Reverse(nodes)
	at, p := x.pathFrom(head, names)
	switch {
	case p != nil && at == len(names):
		return x.pathNode(n, p)
	case p != nil:
		nodes[at].Node = x.pathNode(nodes[at], p)
		return n
	case at < 0: // a mistake, which has been reported
		return anything(n)
	}
	switch h := head.(type) {
	case *ast.MemberNode: // with a computed property
		h.Node, h.Property = x.expand(h.Node), x.expand(h.Property)
	case *ast.IdentifierNode:
		if own := x.ownField(h); own != nil {
			head = own
		}
	default:
		head = x.expand(head)
	}
	if len(nodes) == 0 {
		return head
	}
	nodes[0].Node = head
	return n
}

// pathFrom recognises a path by its head. It returns how many of the names it takes, or -1 after a mistake; p is nil if there is no path.
func (x *expression) pathFrom(head ast.Node, names []pathName) (used int, p *fieldPath) {
	if call, ok := head.(*ast.CallNode); ok && calls(call, funcRef) {
		return x.refPath(call, names)
	}
	id, ok := head.(*ast.IdentifierNode)
	if !ok || slices.Contains(x.vars, id.Value) {
		return 0, nil
	}
	switch id.Value {
	case nameUser:
		return x.userPath(id, names)
	case nameBefore, nameAfter:
		t := x.start(versionAfter)
		if id.Value == nameBefore {
			t.of = versionBefore
		}
		return x.rowPath(t, names, x.scope != nil)
	case nameParent:
		if x.scope == nil {
			return 0, nil
		}
		t, taken := x.start(versionRecord), 0
		for around := x.scope; ; taken++ {
			around = around.around
			if t.place, t.shape = around, x.record; around == nil {
				break
			}
			if t.shape = around.shape; taken >= len(names) || names[taken].text != nameParent {
				break
			}
		}
		used, p = x.rowPath(t, names[taken:], true)
		if used >= 0 {
			used += taken
		}
		return used, p
	}
	if !x.bare || standsAlone(id.Value) && (x.scope == nil || id.Value != nameID) {
		return 0, nil
	}
	t := x.start(versionRecord)
	all := append([]pathName{{id.Value, x.byteOffset(id.Location().From)}}, names...)
	m, message, remedy := t.shape.find(x.cat, id.Value)
	switch {
	case m.shape.table == nil || m.column == nil && m.field == nil:
		if t.shape.has(id.Value) {
			x.fail(all[0].offset, message, remedy)
			return -1, nil
		}
		return 0, nil
	case x.scope == nil && len(m.steps) == 0 && m.column != nil && !m.leads(names):
		return 0, nil // a plain field
	}
	p, used = x.walk(t, all, true)
	return used - 1, p
}

// rowPath is a path that begins with a row which is named: after.partner_id.name. The fields of the record itself are no
// paths, unless all are wanted.
func (x *expression) rowPath(t trail, names []pathName, all bool) (used int, p *fieldPath) {
	if len(names) == 0 {
		return 0, nil
	}
	m, _, _ := t.shape.find(x.cat, names[0].text)
	known := m.column != nil || m.field != nil
	switch {
	case !known && !all:
		return 0, nil
	case known && !all && len(m.steps) == 0 && (len(names) == 1 || m.column != nil && !m.leads(names[1:])):
		return 0, nil
	}
	p, used = x.walk(t, names, len(names) > 1)
	if p == nil {
		return -1, nil
	}
	return used, p
}

// refPath is ref("partner_id.country_id").code.
func (x *expression) refPath(call *ast.CallNode, names []pathName) (used int, p *fieldPath) {
	if len(call.Arguments) != 1 {
		return 0, nil
	}
	s, ok := call.Arguments[0].(*ast.StringNode)
	if !ok || len(names) == 0 {
		return 0, nil
	}
	first := x.split(s)
	t := x.start(versionRecord)
	for i, name := range first {
		m, _, _ := t.shape.find(x.cat, name.text)
		if i == 0 && t.place == nil {
			x.noteOwn(t.of, m)
		}
		if m.column == nil || !m.relation() {
			_, message, remedy := t.shape.many2one(x.cat, name.text)
			x.fail(name.offset, message, remedy)
			return -1, nil
		}
		if message, remedy := t.follow(m, true); message != "" {
			x.fail(name.offset, message, remedy)
			return -1, nil
		}
	}
	if p, used = x.walk(t, names, true); p == nil {
		return -1, nil
	}
	return used, p
}

// pathNode stands for a path in a tree.
func (x *expression) pathNode(n ast.Node, p *fieldPath) ast.Node {
	x.paths = append(x.paths, p)
	return at(n, &ast.CallNode{Callee: at(n, &ast.IdentifierNode{Value: namePath}), Arguments: []ast.Node{at(n, &ast.IntegerNode{Value: len(x.paths) - 1})}})
}

// pathOf recognises what pathNode made.
func (x *expression) pathOf(n ast.Node) (*fieldPath, int) {
	if call, ok := unchain(n).(*ast.CallNode); ok && calls(call, namePath) {
		i := call.Arguments[0].(*ast.IntegerNode).Value
		return x.paths[i], i
	}
	return nil, -1
}

// ownField makes of a plain name what it is short for: a field of the record.
func (x *expression) ownField(id *ast.IdentifierNode) ast.Node {
	if !x.bare || x.scope != nil || slices.Contains(x.vars, id.Value) || standsAlone(id.Value) || x.shape.table.Column(id.Value) == nil {
		return nil
	}
	return at(id, &ast.MemberNode{Node: at(id, &ast.IdentifierNode{Value: nameRecord}), Property: at(id, &ast.StringNode{Value: id.Value})})
}

// standsAlone says whether a name that stands alone has a meaning of its own.
func standsAlone(name string) bool { return slices.Contains(names(), name) || name == nameParent }
