package rules

import (
	"slices"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/vm"

	"walhook/cdc"
)

// Part is a piece of a condition, and how it came out on one change. The parts of a piece are its operands and
// what it reads, in the order of the text.
type Part struct {
	Text   string
	Offset int   // where it is in the condition, in bytes from 0
	Value  any   // as [Matcher.Eval] returns values
	Err    error // it failed, as it would when it is needed; nil otherwise
	Needed bool  // false for what && || and ?: did not have to look at
	Parts  []Part
}

// part is a piece of a condition that was compiled by itself, with the same machinery as the whole.
type part struct {
	text   string
	offset int
	code   *vm.Program
	kind   string // "&&", "||" or "?:", where not all of the parts are needed
	parts  []*part
}

// part compiles a piece of the condition and those below it. Literals are none, nor is what stands inside of a loop or behind a variable: it
// has another value each time, or none by itself. It returns nil for them.
func (x *expression) part(n ast.Node) *part {
	n = unchain(n)
	switch n := n.(type) {
	case *ast.NilNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.StringNode, *ast.BytesNode, *ast.PredicateNode, *ast.PointerNode:
		return nil
	case *ast.ArrayNode:
		if _, literal := x.literals(n); literal {
			return nil
		}
	}
	code, err := x.generate(x.lower(n))
	if err != nil {
		return nil
	}
	p := &part{text: x.textOf(n), offset: x.byteOffset(start(n)), code: code}
	for _, operand := range x.operands(n, p) {
		if o := x.part(operand); o != nil {
			p.parts = append(p.parts, o)
		} else if p.kind != "" {
			p.parts = append(p.parts, nil) // its place tells when it is needed
		}
	}
	return p
}

// textOf writes a piece of the condition: a message by its own name, though it is compiled as a row.
func (x *expression) textOf(n ast.Node) string {
	if x.occasion != onMessage {
		return n.String()
	}
	ast.Walk(&n, &renaming{nameAfter, nameMessage})
	text := n.String()
	ast.Walk(&n, &renaming{nameMessage, nameAfter})
	return text
}

// renaming gives the row of an expression another name.
type renaming struct{ from, to string }

// Visit implements ast.Visitor.
func (v *renaming) Visit(n *ast.Node) {
	if name, ok := (*n).(*ast.IdentifierNode); ok && name.Value == v.from {
		name.Value = v.to
	}
}

// operands are the pieces that a piece is made of.
func (x *expression) operands(n ast.Node, p *part) []ast.Node {
	switch n := n.(type) {
	case *ast.UnaryNode:
		return []ast.Node{n.Node}
	case *ast.BinaryNode:
		switch n.Operator {
		case "and", "&&":
			p.kind = "&&"
		case "or", "||":
			p.kind = "||"
		case "??":
			p.kind = "??"
		}
		return []ast.Node{n.Left, n.Right}
	case *ast.ConditionalNode:
		p.kind = "?:"
		return []ast.Node{n.Cond, n.Exp1, n.Exp2}
	case *ast.BuiltinNode:
		return n.Arguments
	case *ast.ArrayNode:
		return n.Nodes
	case *ast.VariableDeclaratorNode:
		return []ast.Node{n.Value}
	case *ast.CallNode:
		if m, ok := n.Callee.(*ast.MemberNode); ok {
			return append([]ast.Node{m.Node}, n.Arguments...)
		}
		return append(x.readBy(n), n.Arguments...)
	}
	return nil
}

// readBy are the fields that one of our functions reads: both versions of those that it compares.
func (x *expression) readBy(n *ast.CallNode) (fields []ast.Node) {
	name, ok := n.Callee.(*ast.IdentifierNode)
	if !ok {
		return nil
	}
	sides, count := []string{nameBefore, nameAfter}, 1
	switch name.Value {
	case funcChanged:
		count = len(n.Arguments)
	case funcBecame, funcEntered:
	case funcLabel:
		sides = []string{nameAfter}
	default:
		return nil
	}
	for _, a := range n.Arguments[:min(count, len(n.Arguments))] {
		field, ok := a.(*ast.StringNode)
		if !ok || x.shape.table.Column(field.Value) == nil {
			continue
		}
		for _, side := range sides {
			member := &ast.MemberNode{Node: at(n, &ast.IdentifierNode{Value: side}), Property: at(a, &ast.StringNode{Value: field.Value})}
			fields = append(fields, at(a, member))
		}
	}
	return fields
}

// start is where the text of a piece begins: operators have the place of their sign.
func start(n ast.Node) int {
	first := &leftmost{at: n.Location().From}
	ast.Walk(&n, first)
	return first.at
}

type leftmost struct{ at int }

// Visit implements ast.Visitor.
func (l *leftmost) Visit(n *ast.Node) { l.at = min(l.at, (*n).Location().From) }

// Explain says how the condition of a rule came out on a change, piece by piece; nil for a rule without a condition. The rule's Config must
// have been Traced. Pieces that were not needed are evaluated all the same, so tx.Related must have the rows for all of them.
func (m *Matcher) Explain(r *Rule, tx TxInfo, c *cdc.Change) *Part {
	if r.when == nil || r.when.whole == nil {
		return nil
	}
	b := m.bind(c.Rel)
	if b.table != r.watched {
		return nil
	}
	m.move(tx, c, b)
	root := m.explain(r, r.when.whole, true)
	return &root
}

func (m *Matcher) explain(r *Rule, p *part, needed bool) Part {
	out := Part{Text: p.text, Offset: p.offset, Needed: needed}
	out.Value, out.Err = m.evaluate(r, p)
	decided := false
	for i, sub := range p.parts {
		wanted := needed && !decided
		if p.kind == "?:" && i > 0 {
			wanted = needed && truth(p.first(m, r)) == (i == 1)
		}
		if sub == nil {
			continue
		}
		o := m.explain(r, sub, wanted)
		if i == 0 {
			switch p.kind {
			case "&&":
				decided = o.Err != nil || !truth(o.Value)
			case "||":
				decided = o.Err != nil || truth(o.Value)
			case "??":
				decided = o.Err != nil || o.Value != nil
			}
		}
		out.Parts = append(out.Parts, o)
	}
	return out
}

// first is the value of the first part.
func (p *part) first(m *Matcher, r *Rule) any {
	if p.parts[0] == nil {
		return nil
	}
	v, _ := m.evaluate(r, p.parts[0]) // a failure shows where that part is shown
	return v
}

// evaluate runs one piece.
func (m *Matcher) evaluate(r *Rule, p *part) (v any, err error) {
	defer func() {
		if caught := recover(); caught != nil {
			v, err = nil, raised(caught)
		}
	}()
	v, err = m.run(r, &program{text: r.when.text, path: r.when.path, code: p.code})
	if err != nil {
		return nil, err
	}
	return plain(v), nil
}

// Differing returns the columns that make c a write for the rule: those that changed and count. known is false when WAL does not hold the
// old row. Of anything but a net write it returns none.
func (m *Matcher) Differing(r *Rule, tx TxInfo, c *cdc.Change) (columns []string, known bool) {
	b := m.bind(c.Rel)
	if b.table != r.watched || c.Op != cdc.Write || c.Raw {
		return nil, true
	}
	m.move(tx, c, b)
	if _, known = m.frame.written(r); !known {
		return nil, false
	}
	for _, i := range m.frame.differing {
		if name := c.Rel.Columns[i].Name; !r.ignores(name) && !slices.Contains(columns, name) {
			columns = append(columns, name)
		}
	}
	return columns, true
}
