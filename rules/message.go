package rules

import (
	"fmt"
	glob "path"
	"regexp"

	"github.com/expr-lang/expr/ast"

	"walhook/cdc"
	"walhook/cdc/catalog"
)

// nameMessage is what an expression calls the message, and the model of messages that have none.
const nameMessage = "message"

// Hears says that a message is one that the rule listens to: of one of its names, and of its model if it has one.
func (r *Rule) Hears(c *cdc.Change) bool {
	if r.Odoo != nil && messageText(c, cdc.MessageModel) != r.Odoo.Name {
		return false
	}
	if len(r.Messages) == 0 {
		return true
	}
	event := messageText(c, cdc.MessageEvent)
	for _, pattern := range r.Messages {
		if ok, _ := glob.Match(pattern, event); ok { // compile has tried the pattern
			return true
		}
	}
	return false
}

// messageText reads a column of a message; "" when it is NULL.
func messageText(c *cdc.Change, column string) string {
	rel := c.After.Relation()
	if rel == nil {
		return ""
	}
	return string(c.After.Value(rel.Column(column)).Text)
}

// MessageProblem says why a message is malformed; "" when it is not, or when the change is none.
func MessageProblem(c *cdc.Change) string {
	if c.Op != cdc.Message {
		return ""
	}
	return messageText(c, cdc.MessageProblem)
}

// About returns the model that an event of the rule is about: the rule's own, or for a message what the message says, "" if it says nothing.
func (r *Rule) About(c *cdc.Change) string {
	if c.Op == cdc.Message {
		return messageText(c, cdc.MessageModel)
	}
	return r.Model
}

// messageShape is a message as expressions see it: with model, the record that it names can be looked into.
func (c *ruleCompiler) messageShape() (shape, bool) {
	if c.config.Table != "" {
		c.fail("table", "a message is about a model, or nothing", `write model = "…", or leave both out`)
		return shape{}, false
	}
	rel := cdc.MessageRelation()
	table := &catalog.Table{Schema: rel.Schema, Name: rel.Name, Identity: rel.Identity}
	model := &catalog.Model{Name: nameMessage, Table: table}
	for _, col := range rel.Columns {
		switch col.Name {
		case cdc.MessageProblem, cdc.MessageContent:
			continue // a rule never sees a malformed one
		case cdc.MessageRecord:
			if c.config.Model == "" {
				continue
			}
		}
		table.Columns = append(table.Columns, catalog.Column{Name: col.Name, Type: col.Type})
	}
	for i := range table.Columns {
		col := &table.Columns[i]
		f := &catalog.Field{Name: col.Name, Type: "char", Stored: true, Column: col}
		if col.Name == cdc.MessageRecord {
			f.Type, f.Relation = "many2one", c.config.Model
		}
		model.Fields = append(model.Fields, f)
	}
	catalog.New([]*catalog.Table{table}, []*catalog.Model{model}, nil) // gives both their indexes
	return shape{table: table, model: model, name: nameMessage}, true
}

var messagePattern = regexp.MustCompile(`^[A-Za-z0-9_.:/*?-]{1,200}$`)

// checkMessages reads messages, the names that a rule listens to, and finds the model.
func (c *ruleCompiler) checkMessages() *catalog.Model {
	if c.config.Messages != nil && len(c.config.Messages) == 0 {
		c.fail("messages", "the list is empty", "leave messages out to take all")
	}
	for i, name := range c.config.Messages {
		if !messagePattern.MatchString(name) {
			c.fail(fmt.Sprintf("messages[%d]", i), fmt.Sprintf("%q is no name of a message", name), `write "stock.low", or with * for any characters but a slash: "stock.*"`)
		}
	}
	if c.config.Model == "" {
		return nil
	}
	return c.byModel(c.config.Model).model
}

// messageNames gives parts of a message the names of its columns, and finds what messages do without.
type messageNames struct{ x *expression }

// Visit implements ast.Visitor.
func (v *messageNames) Visit(n *ast.Node) {
	const none = "a message has no row of its own: there is no %s"
	switch at := (*n).(type) {
	case *ast.IdentifierNode:
		switch at.Value {
		case nameMessage:
			at.Value = nameAfter
		case nameBefore, nameAfter:
			v.x.failAt(at, fmt.Sprintf(none, at.Value), "write message.data.…, and the fields of the record that a message names as ref(\"record\").…")
		case nameUser:
			v.x.failAt(at, "a message does not say who has sent it", "let the sender write it into the message's data")
		case nameModel, nameID:
			v.member(n, at.Value)
		}
	case *ast.CallNode:
		for _, name := range transitions {
			if calls(at, name) {
				v.x.failAt(at, fmt.Sprintf("a message has no row before: %s has nothing to compare", name), "write message.data.…")
			}
		}
	}
}

// member makes message.name of a name.
func (v *messageNames) member(n *ast.Node, column string) {
	row := at(*n, &ast.IdentifierNode{Value: nameAfter})
	*n = at(*n, &ast.MemberNode{Node: row, Property: at(*n, &ast.StringNode{Value: column})})
}
