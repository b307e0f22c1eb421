package rules

import (
	"fmt"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"

	"walhook/cdc/catalog"
)

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
			if s, ok := v.(*ast.StringNode); ok && opByName(s.Value) == 0 && occasions[s.Value].op == 0 && s.Value != opArchive && s.Value != opUnarchive {
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
		if s.Value == "" {
			remedy = "an empty selection is nil"
		}
		if remedy == "" {
			remedy = "its values are " + oneOf(known)
		}
		x.failAt(s, fmt.Sprintf("%q is no value of %s.%s", s.Value, x.shape.name, column), remedy)
	}
}
