package rules

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"walhook/cdc"
)

// Split makes of one event a delivery for each line of the record, or for each group of lines. The lines are the rows of a one2many or
// many2many field, as they are when the event is planned.
type Split struct {
	Each      string            `toml:"each"`      // the field whose rows are the lines; required
	By        string            `toml:"by"`        // a field, a path or an expression over a line: lines with the same value go together; default each line by itself
	Where     string            `toml:"where"`     // which lines; default all
	Endpoints map[string]string `toml:"endpoints"` // value of By, as text, to the endpoint of the group; default the rule's
	Other     *string           `toml:"other"`     // endpoint of the values that Endpoints does not name, NULL among them; "" drops them. Default the rule's endpoints
}

// Bounds of what is made of one event (invariant 9). Beyond them it is parked.
const (
	maxSplitLines  = mostRows
	maxSplitGroups = 1000
)

// splitting is a compiled Split.
type splitting struct {
	lines     Output // the rows, with where
	by        Output
	alone     bool // each line is a group
	endpoints map[string]string
	other     []string // endpoints of values without one of their own
}

// EndpointNames are the endpoints that the rule can send to, each once.
func (c *Config) EndpointNames() (names []string) {
	add := func(name string) {
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	add(c.Endpoint)
	for _, name := range c.Endpoints {
		add(name)
	}
	if s := c.Split; s != nil {
		for _, value := range slices.Sorted(maps.Keys(s.Endpoints)) {
			add(s.Endpoints[value])
		}
		if s.Other != nil {
			add(*s.Other)
		}
	}
	return names
}

// covered says that the rule needs no endpoint of its own, since split says where every group goes.
func (s *Split) covered() bool { return s != nil && s.Endpoints != nil && s.Other != nil }

// splitEndpoints checks where groups go.
func (c *ruleCompiler) splitEndpoints() {
	s := c.config.Split
	own := c.config.Endpoint != "" || c.config.Endpoints != nil
	switch {
	case s.Endpoints == nil && s.Other != nil:
		c.fail("split.other", "other is for the values that endpoints does not name, and there is no endpoints", `write split's endpoints too, or the rule's endpoint in place of other`)
		return
	case s.Endpoints == nil:
		return
	case len(s.Endpoints) == 0:
		c.fail("split.endpoints", "the table is empty", `name a value and its endpoint: endpoints = { Office = "…" }`)
	case s.By == "":
		c.fail("split.endpoints", "endpoints goes by the values of by, and there is no by", `write by = "product_id.categ_id.name"`)
	case s.Other == nil && !own:
		c.fail("split.endpoints", "lines with another value have nowhere to go", `write other = "…" with the name of an endpoint, or other = "" to drop them`)
	case s.Other != nil && own:
		c.fail("split.other", "lines with another value go to other or to the rule's endpoint, not to both", "remove one of them")
	}
	for _, value := range slices.Sorted(maps.Keys(s.Endpoints)) {
		if s.Endpoints[value] == "" {
			c.fail("split.endpoints."+value, "the name is empty", "to leave lines out, write where")
		}
	}
}

// split compiles split.
func (c *ruleCompiler) split(r *Rule, s shape) {
	config := c.config.Split
	if config == nil || c.occasion() == onMessage {
		return
	}
	c.splitEndpoints()
	if c.config.Debounce != "" {
		c.fail("debounce", "a split rule can't wait for a later event: a group that has lost its lines meanwhile would be sent with those it had", "remove debounce or split")
	}
	each := strings.TrimSpace(config.Each)
	switch {
	case each == "":
		c.fail("split.each", "split needs the field whose rows are the lines", `write each = "order_line"`)
		return
	case s.model == nil:
		c.fail("split.each", fmt.Sprintf("%s is a plain table: which rows belong to its own is not known", s.name), "split works on one2many and many2many fields of Odoo models")
		return
	case strings.Contains(each, "."):
		c.fail("split.each", fmt.Sprintf("%q is a path: the lines are those of the record itself", each), "make a rule on the model that has the lines")
		return
	case len(r.ops) == 1 && r.ops[0] == cdc.Unlink:
		c.fail("split", "the lines of a deleted record are gone: the rule would never send anything", `add "create" or "write" to on, or remove split`)
	case r.on(cdc.Unlink):
		c.warn("split", "the lines of a deleted record are gone: nothing is sent when one is deleted", `remove "unlink" from on, and make a rule without split for it`)
	}
	if m, _, _ := s.find(c.cat, each); len(m.steps) > 0 {
		c.fail("split.each", fmt.Sprintf("field %q is kept in %s: the lines are those of the record itself", each, m.shape.name), fmt.Sprintf("make a rule on model = %q", m.shape.name))
		return
	}
	p := &splitting{lines: Output{Name: "split", Path: "split", Kind: OutputRows, key: "split.each"}, by: Output{Name: "by", Path: "split.by", key: "split.by"}, alone: config.By == "", endpoints: config.Endpoints}
	inner, ok := c.through(r, &p.lines, spot{key: "split", path: "split", shape: s, record: s}, each, nil, rows{limit: maxSplitLines + 1})
	if !ok {
		return
	}
	if config.Where != "" {
		p.lines.where = c.inside(r, inner, "split.where", config.Where, false).compile("split.where")
	}
	by := config.By
	if p.alone {
		by = byID
	}
	if c.text(r, &p.by, inner, "split.by", by) && p.by.Kind == OutputList {
		c.fail("split.by", fmt.Sprintf("%q has many values, and a line belongs to one group", by), "take a path of many2one fields, or an expression that makes one value of them")
	}
	switch {
	case config.Other == nil:
		p.other = c.ownEndpoints()
	case *config.Other != "":
		p.other = []string{*config.Other}
	}
	r.splitting = p
}

// ownEndpoints are those of the rule itself.
func (c *ruleCompiler) ownEndpoints() []string {
	if c.config.Endpoint != "" {
		return []string{c.config.Endpoint}
	}
	return slices.Clone(c.config.Endpoints)
}

// widen lets what the payload shows of the lines be picked from all of them, not from the first ones.
func (p *splitting) widen(outputs []Output) {
	for _, reads := range appendReads(nil, outputs) {
		for _, place := range reads.places {
			if first := place.way()[0]; first.link.relates(p.lines.place.link) && first.link.Limit != 0 {
				first.link.Limit = max(first.link.Limit, maxSplitLines+1)
			}
		}
	}
}

// relates says that two links lead to the same rows, but for their order and for archived ones.
func (l *Link) relates(other *Link) bool {
	if l == other {
		return true
	}
	if l.Schema != other.Schema || l.Table != other.Table || l.By != other.By || (l.Rel == nil) != (other.Rel == nil) {
		return false
	}
	return l.Rel == nil || *l.Rel == *other.Rel
}

// outputs are what the split reads, as an output.
func (p *splitting) outputs() []Output {
	if p == nil {
		return nil
	}
	return []Output{p.lines, p.by}
}
