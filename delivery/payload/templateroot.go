package payload

import (
	"fmt"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"

	"walhook/cdc/catalog"
)

// rootMembers are what a template can find at the top: see templateData, and what bodies in the format standard have in data, those of
// tests and notices too. The first 14 are those that every event has.
var rootMembers = []string{"id", "event", "timestamp", "model", "op", "record_id", "record", "changes", "rule", "endpoint", "lsn", "xid", "omitted", "data",
	"lines", "lines_truncated", "cascade", "split", "truncated",
	"test", "message", "reason", "since", "failures", "pending", "pending_bytes", "dead_letters", "remedy"}

// checkRoot refuses a member of the top that no event has: `{{.recod.name}}` would fail on each of them. Templates that others call get
// another dot, and are not looked at.
func checkRoot(t *template.Template) error {
	if t.Tree == nil {
		return nil
	}
	w := rootWalk{tree: t.Tree}
	w.list(t.Root, true)
	return w.err
}

// rootWalk goes through a template with the question whether the dot is still the top.
type rootWalk struct {
	tree *parse.Tree
	err  error // the first one
}

func (w *rootWalk) list(l *parse.ListNode, top bool) {
	if l == nil {
		return
	}
	for _, n := range l.Nodes {
		w.node(n, top)
	}
}

func (w *rootWalk) node(n parse.Node, top bool) {
	switch n := n.(type) {
	case *parse.ActionNode:
		w.pipe(n.Pipe, top)
	case *parse.TemplateNode:
		w.pipe(n.Pipe, top)
	case *parse.IfNode:
		w.branch(&n.BranchNode, top, top)
	case *parse.RangeNode:
		w.branch(&n.BranchNode, top, false)
	case *parse.WithNode:
		w.branch(&n.BranchNode, top, false)
	case *parse.PipeNode:
		w.pipe(n, top)
	case *parse.ChainNode:
		w.node(n.Node, top)
	case *parse.FieldNode:
		if top {
			w.member(n, n.Ident[0])
		}
	case *parse.VariableNode:
		if n.Ident[0] == "$" && len(n.Ident) > 1 {
			w.member(n, n.Ident[1])
		}
	}
}

func (w *rootWalk) branch(b *parse.BranchNode, top, inside bool) {
	w.pipe(b.Pipe, top)
	w.list(b.List, inside)
	w.list(b.ElseList, top)
}

func (w *rootWalk) pipe(p *parse.PipeNode, top bool) {
	if p == nil {
		return
	}
	for _, c := range p.Cmds {
		for _, arg := range c.Args {
			w.node(arg, top)
		}
	}
}

func (w *rootWalk) member(n parse.Node, name string) {
	if w.err != nil || slices.Contains(rootMembers, name) {
		return
	}
	place, _ := w.tree.ErrorContext(n)
	remedy := "the members are ." + strings.Join(rootMembers[:14], ", .")
	if near := catalog.Suggest(name, rootMembers); near != "" {
		remedy = fmt.Sprintf("did you mean .%s?", near)
	}
	w.err = fmt.Errorf("%s: no event has a member %q: %s", place, name, remedy)
}
