package rules

import (
	"fmt"
	"slices"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/types"

	"walhook/cdc"
)

// What expressions see of the other rows' changes that belong to an event.
const (
	nameCascade = "cascade" // whose deletion has deleted the record; nil when nothing else's has
	funcRolled  = "rolled"  // lines of a field were added, changed or removed
	funcLines   = "lines"   // how many

	typeLines = "counts of lines"
)

// lineCounts are the members of lines("order_line").
var lineCounts = []string{"added", "changed", "removed"}

// gatheredTypes are the types of these names.
func gatheredTypes(env types.Map) {
	env[nameCascade] = types.Map{"model": types.String, "id": types.Any}
	counts := types.Map{}
	for _, name := range lineCounts {
		counts[name] = types.Int
	}
	env[typeLines] = counts
}

// checkLines checks rolled("order_line") and lines("order_line").
func (x *expression) checkLines(n *ast.CallNode, function string) ast.Node {
	var typed ast.Node = at(n, &ast.BoolNode{Value: true})
	if function == funcLines {
		typed = at(n, &ast.IdentifierNode{Value: typeLines})
	}
	if !x.arguments(n, function, 1) {
		return typed
	}
	name, ok := n.Arguments[0].(*ast.StringNode)
	if !ok {
		x.failAt(n.Arguments[0], fmt.Sprintf("%s takes the name of a field in quotes", function), "write "+signatures[function])
		return typed
	}
	if !x.rolls(name.Value) {
		remedy := didYouMean(name.Value, x.rolled())
		if remedy == "" {
			remedy = fmt.Sprintf("add it to the rule: rollup = [%q]", name.Value)
		}
		x.failAt(name, fmt.Sprintf("the rule does not roll up a field %q", name.Value), remedy)
	}
	return typed
}

func (x *expression) rolls(field string) bool { return slices.Contains(x.rolled(), field) }

func (x *expression) rolled() (fields []string) {
	for _, u := range x.rollups {
		fields = append(fields, u.Field)
	}
	return fields
}

// checkCascade checks the name cascade.
func (x *expression) checkCascade(n *ast.IdentifierNode) ast.Node {
	keys := cascadesInto(x.shape.table, x.cat)
	if len(keys) == 0 {
		x.failAt(n, fmt.Sprintf("no record of %s is deleted because another one is: it has no foreign key ON DELETE CASCADE", x.shape.name), "remove it: it would always be nil")
	}
	for _, k := range keys {
		x.reads.note(&x.reads.before, k.column)
	}
	return at(n, &ast.IdentifierNode{Value: nameCascade})
}

func (x *expression) lowerCascade(n ast.Node) ast.Node {
	keys := cascadesInto(x.shape.table, x.cat)
	return withFrame(n, func(env any) any { return env.(*frame).cascade(keys) })
}

// cascade is nil unless the record was deleted because another one was. It raises where that can't be told.
func (f *frame) cascade(keys []cascade) any {
	c := f.change
	if c.Op != cdc.Unlink {
		return nil
	}
	if k := c.Cascade; k != nil {
		model := k.Table
		if i := slices.IndexFunc(keys, func(o cascade) bool { return o.to.Schema == k.Schema && o.to.Name == k.Table }); i >= 0 {
			model = keys[i].model
		}
		return map[string]any{"model": model, "id": keyOf(k.Key)}
	}
	for _, k := range keys {
		if valueOf(c.Before, c.Rel, c.Rel.Column(k.column)).State == cdc.Unknown {
			panic(&MissingError{Name: nameCascade, Rel: c.Rel, Err: ErrNoOldRow})
		}
	}
	return nil
}

// keyOf is a key as a number where it is one.
func keyOf(key string) any {
	if v, ok := parseNum(key); ok {
		if id, whole := v.whole(); whole {
			return int(id)
		}
	}
	return key
}

func (x *expression) lowerLines(n *ast.CallNode, function string) ast.Node {
	field := n.Arguments[0].(*ast.StringNode).Value
	if function == funcRolled {
		return withFrame(n, func(env any) bool { return env.(*frame).rolled(field) })
	}
	return withFrame(n, func(env any) any { return env.(*frame).lineCounts(field) })
}

// rolled says that lines of a field were added, changed or removed.
func (f *frame) rolled(field string) bool {
	g := f.change.Gathered
	return g != nil && slices.ContainsFunc(g.Lines, func(l cdc.Line) bool { return l.Of == field })
}

func (f *frame) lineCounts(field string) any {
	counts := map[string]any{}
	for i, op := range []cdc.Op{cdc.Create, cdc.Write, cdc.Unlink} {
		n := 0
		if g := f.change.Gathered; g != nil {
			for j := range g.Lines {
				if g.Lines[j].Of == field && g.Lines[j].Op == op {
					n++
				}
			}
		}
		counts[lineCounts[i]] = n
	}
	return counts
}
