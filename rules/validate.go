package rules

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"walhook/cdc"
	"walhook/cdc/catalog"
)

var (
	saneName  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.:-]*$`)
	saneEvent = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.:/-]*$`)
)

// reservedName is in the place of a rule's name in deliveries that no rule made.
const reservedName = "walhook"

const (
	maxNameBytes  = 100
	maxEventBytes = 200
)

func (c *ruleCompiler) checkName() {
	name := c.config.Name
	switch first, again := c.taken[name]; {
	case name == "":
		c.fail("name", "a rule needs a name", `write name = "sale_order_confirmed"; it is part of every delivery's id`)
	case len(name) > maxNameBytes:
		c.fail("name", fmt.Sprintf("the name has %d bytes; the limit is %d", len(name), maxNameBytes), "")
	case !saneName.MatchString(name):
		c.fail("name", fmt.Sprintf("%q is no good name for a rule", name), "use letters, digits and _ . : -, starting with a letter or a digit")
	case name == reservedName:
		c.fail("name", fmt.Sprintf("%q stands for walhook's own notices", name), "choose another name")
	case again:
		c.fail("name", fmt.Sprintf("rule number %d has the name %q already", first+1, name), "names must be unique: they are part of every delivery's id")
	default:
		c.taken[name] = c.index
	}
}

// operations reads on.
func (c *ruleCompiler) operations() []cdc.Op {
	var ops []cdc.Op
	if len(c.config.On) == 0 {
		c.fail("on", "a rule needs operations", `write on = ["create", "write"]`)
	}
	for i, name := range c.config.On {
		path, op := fmt.Sprintf("on[%d]", i), opByName(name)
		switch {
		case slices.Contains(ops, op):
			c.fail(path, fmt.Sprintf("%q is listed twice", name), "")
		case op != 0:
			ops = append(ops, op)
		case name == opArchive, name == opUnarchive:
			if slices.Index(c.config.On, name) < i {
				c.fail(path, fmt.Sprintf("%q is listed twice", name), "")
			}
		case occasions[name].op != 0:
			ops = append(ops, occasions[name].op)
		default:
			c.fail(path, fmt.Sprintf("unknown operation %q", name), opRemedy(name))
		}
	}
	if !slices.Contains(ops, cdc.Write) && (slices.Contains(c.config.On, opArchive) || slices.Contains(c.config.On, opUnarchive)) {
		ops = append(ops, cdc.Write) // of which archiving picks those that it is
	}
	return ops
}

// endpoints reads endpoint and endpoints. Whether they exist is not known here.
func (c *ruleCompiler) endpoints() []string {
	one, many := c.config.Endpoint, c.config.Endpoints
	switch {
	case one != "" && many != nil:
		c.fail("endpoints", "a rule has endpoint or endpoints, not both", "")
	case one != "":
		return []string{one}
	case many == nil && c.config.Split.covered():
		return c.config.EndpointNames()
	case many == nil && c.config.Split != nil && c.config.Split.Endpoints != nil:
		return nil // which is a problem of split
	case len(many) == 0:
		c.fail("endpoint", "a rule needs an endpoint", `write endpoint = "…" with the name of an [endpoints.…] table`)
	}
	for i, name := range many {
		path := fmt.Sprintf("endpoints[%d]", i)
		switch {
		case name == "":
			c.fail(path, "the name is empty", "")
		case slices.Index(many, name) < i:
			c.fail(path, fmt.Sprintf("endpoint %q is listed twice", name), "")
		}
	}
	return slices.Clone(many)
}

func (c *ruleCompiler) checkEvent() {
	switch e := c.config.Event; {
	case e == "":
	case len(e) > maxEventBytes:
		c.fail("event", fmt.Sprintf("the event has %d bytes; the limit is %d", len(e), maxEventBytes), "")
	case !saneEvent.MatchString(e):
		c.fail("event", fmt.Sprintf("%q is no good name for an event", e), "use letters, digits and _ . : / -, as in sale.order.confirmed")
	}
}

// shape finds the table to watch. It reports false after a problem that leaves none.
func (c *ruleCompiler) shape() (shape, bool) {
	if c.occasion() == onMessage {
		return c.messageShape()
	}
	model, table := c.config.Model, c.config.Table
	var s shape
	switch {
	case model != "" && table != "":
		c.fail("table", "a rule has model or table, not both", "remove one of them")
		return s, false
	case model != "":
		s = c.byModel(model)
	case table != "":
		s = c.byTable(table)
	default:
		c.fail("model", "a rule needs a model or a table", `write model = "sale.order" or table = "my_table"`)
	}
	if s.table == nil {
		return s, false
	}
	path := "model"
	if model == "" {
		path = "table"
	}
	if len(s.table.PrimaryKey) == 0 {
		c.fail(path, fmt.Sprintf("table %s has no primary key: its rows cannot be told apart", s.table),
			fmt.Sprintf("ALTER TABLE %s ADD PRIMARY KEY (…);", quoted(s.table.Schema, s.table.Name)))
	}
	if s.table.Unlogged {
		c.fail(path, fmt.Sprintf("table %s is unlogged: its changes are not in the write-ahead log", s.table),
			fmt.Sprintf("ALTER TABLE %s SET LOGGED;", quoted(s.table.Schema, s.table.Name)))
	}
	return s, true
}

func (c *ruleCompiler) byModel(name string) shape {
	m := c.cat.Model(name)
	switch {
	case m == nil && c.cat.Tableless(name), m != nil && m.Table == nil:
		c.fail("model", fmt.Sprintf("model %q has no table: it is abstract or a report", name), "make a rule on the model that its data comes from")
	case m == nil:
		c.fail("model", fmt.Sprintf("unknown model %q", name), c.meantModel(name))
	case m.Transient:
		c.fail("model", fmt.Sprintf("model %q is transient: a wizard's rows come and go", name), "make a rule on the model that the wizard changes")
	default:
		return shape{table: m.Table, model: m, name: m.Name}
	}
	return shape{}
}

func (c *ruleCompiler) meantModel(name string) string {
	if t := c.table(name); t != nil {
		if m := c.cat.ModelOf(t); m != nil {
			return fmt.Sprintf("write model = %q", m.Name)
		}
		return fmt.Sprintf("write table = %q", name)
	}
	if len(c.cat.Models) == 0 {
		return `the database has no Odoo models that can be read here: write table = "…"`
	}
	candidates := make([]string, len(c.cat.Models))
	for i, m := range c.cat.Models {
		candidates[i] = m.Name
	}
	return didYouMean(name, candidates)
}

func (c *ruleCompiler) byTable(name string) shape {
	if t := c.table(name); t != nil {
		return shape{table: t, model: c.cat.ModelOf(t), name: name}
	}
	remedy := didYouMean(name, c.tableNames())
	if i := slices.IndexFunc(c.cat.Tables, func(t *catalog.Table) bool { return t.Name == name }); i >= 0 {
		remedy = fmt.Sprintf("write table = %q", c.cat.Tables[i].String())
	}
	if c.cat.Model(name) != nil {
		remedy = fmt.Sprintf("write model = %q", name)
	}
	c.fail("table", fmt.Sprintf("unknown table %q", name), remedy)
	return shape{}
}

// table finds a table of schema public by its name, or any by schema.name.
func (c *ruleCompiler) table(name string) *catalog.Table {
	if t := c.cat.Table("public", name); t != nil {
		return t
	}
	for i := range name {
		if name[i] == '.' {
			if t := c.cat.Table(name[:i], name[i+1:]); t != nil {
				return t
			}
		}
	}
	return nil
}

func (c *ruleCompiler) tableNames() []string {
	var out []string
	for _, t := range c.cat.Tables {
		out = append(out, strings.TrimPrefix(t.String(), "public."))
	}
	return out
}
