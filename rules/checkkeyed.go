package rules

import (
	"fmt"
	"strings"

	"github.com/expr-lang/expr/ast"
)

// storedField recognises a field of the record that holds one value per language or company. What follows it in brackets or behind a dot reads
// one of these; the field alone is the value of the rule's language, or of the record's company.
func (x *expression) storedField(n ast.Node) (row, column string, ok bool) {
	m, ok := unchain(n).(*ast.MemberNode)
	if !ok {
		return "", "", false
	}
	name, isName := m.Property.(*ast.StringNode)
	row, of := isRow(m.Node)
	if !isName || !of || !x.shape.keyed(name.Value) {
		return "", "", false
	}
	return row, name.Value, true
}

// checkKeyed looks at after.name.fr_FR and after.standard_price["2"].
func (x *expression) checkKeyed(n, field *ast.MemberNode) ast.Node {
	x.checkMember(field) // notes that it is read, and refuses secrets
	if key, ok := n.Property.(*ast.StringNode); ok {
		x.checkKey(key, x.shape, field.Property.(*ast.StringNode).Value)
	} else {
		x.check(n.Property)
	}
	return anything(n)
}

// checkPathKey looks at partner_id.name.fr_FR, of whose last step n is a member.
func (x *expression) checkPathKey(n *ast.MemberNode, p *fieldPath) {
	if key, ok := n.Property.(*ast.StringNode); ok && p.as == nil && p.shape.keyed(p.column.Name) {
		x.checkKey(key, p.shape, p.column.Name)
	}
}

// checkKey looks at the key of one value of a field that holds several: what cannot be one is an error, a language that is not installed a warning.
func (x *expression) checkKey(key *ast.StringNode, s shape, column string) {
	as := s.reading(column, x.locale)
	switch {
	case as.company && strings.Trim(key.Value, "0123456789") != "":
		x.failAt(key, fmt.Sprintf("field %q of %s holds a value per company: %q is no company's id", column, s.name, key.Value), fmt.Sprintf("%s alone is the value of the record's company; write %s[\"1\"] for that of company 1", column, column))
	case !as.company && !strings.HasPrefix(key.Value, "_") && x.warn != nil:
		if _, remedy := x.locale.unknownLang(key.Value); remedy != "" {
			x.warn(x.byteOffset(key.Location().From), fmt.Sprintf("language %q is not installed in this database: there is no such text", key.Value), remedy)
		}
	}
}
