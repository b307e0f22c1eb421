package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"walhook/cdc"
	"walhook/rules"
)

// shownRule is a rule as it is compiled, as --json prints it.
type shownRule struct {
	Rule        string          `json:"rule"`
	Active      bool            `json:"active"`
	Model       string          `json:"model,omitempty"`
	Table       string          `json:"table,omitempty"` // that is watched, or looked through; left out of rules on message
	On          []string        `json:"on"`
	Event       string          `json:"event"`
	When        string          `json:"when,omitempty"`
	Publication string          `json:"publication,omitempty"` // that carries the table; left out where nothing is streamed
	Needs       []shownNeed     `json:"needs,omitempty"`
	Related     []string        `json:"related,omitempty"` // tables that related rows are looked up in
	Payload     []shownMember   `json:"payload,omitempty"` // left out of whole records
	Endpoints   []shownEndpoint `json:"endpoints"`
	Handling    []string        `json:"handling,omitempty"`
	Warnings    []string        `json:"warnings,omitempty"`
}

// shownNeed is what the rule asks of a table whose changes it gets.
type shownNeed struct {
	Table  string   `json:"table"`
	Full   bool     `json:"replica_identity_full"`
	Images bool     `json:"images,omitempty"` // [images] has the old values, in place of the replica identity
	Why    []string `json:"why,omitempty"`
}

// shownMember is a member of the payload: a value, or what its members are.
type shownMember struct {
	Name    string        `json:"name"`
	Kind    string        `json:"kind"` // value, list, object, rows
	Column  string        `json:"column,omitempty"`
	Members []shownMember `json:"members,omitempty"`
}

// shownEndpoint is one that gets the events.
type shownEndpoint struct {
	Name     string `json:"name"`
	Format   string `json:"format"`
	Encoding string `json:"encoding,omitempty"`
	Active   bool   `json:"active"`
}

func (a *app) rulesShow() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "show RULE",
		Short: "Show a rule as it is compiled",
		Long: `show compiles one rule against the database, and tells what comes of it: the operations and the condition, the table whose
changes it gets and whether old values are needed, the tables that it looks related rows up in, the members of its payload, who gets it
in which format, and how its events are handled. No record is read, nothing is sent or written.`,
		Example: "  walhook rules show order_confirmed\n  walhook rules show order_confirmed --json",
		Args:    oneArgument("the name of a rule"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withWorkbench(cmd.Context(), func(w *workbench) error {
				s, err := w.show(args[0])
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(s)
				}
				return a.terminal().rule(s)
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// show compiles the rule.
func (w *workbench) show(name string) (*shownRule, error) {
	at, err := w.cfg.ruleIndex(name)
	if err != nil {
		return nil, err
	}
	set, err := w.compile([]int{at}, nil)
	if err != nil {
		return nil, err
	}
	r, line := set.Rules()[0], lineOf(w.cfg.Rules[at])
	s := &shownRule{Rule: r.Name, Active: line.Active, On: line.On, Event: line.Event, When: strings.TrimSpace(r.When), Payload: shownMembers(r.Outputs())}
	if r.Odoo != nil {
		s.Model = r.Odoo.Name
	}
	if !slices.Contains(r.Ops(), cdc.Message) {
		s.Table = r.Table.String()
	}
	imaged := w.imaged()
	for _, n := range set.Needs() {
		s.Publication = w.cfg.Source.Publication
		need := shownNeed{Table: n.Table.String(), Full: n.Full, Why: n.Why}
		if n.Full && imaged[need.Table] {
			need.Full, need.Images = false, true
		}
		s.Needs = append(s.Needs, need)
	}
	for _, t := range set.Related() {
		s.Related = append(s.Related, t.String())
	}
	for _, endpoint := range r.Endpoints {
		c := w.cfg.Endpoints[endpoint].WithDefaults()
		s.Endpoints = append(s.Endpoints, shownEndpoint{Name: endpoint, Format: c.Format, Encoding: c.Encoding, Active: c.IsActive()})
	}
	s.Handling = handlingOf(r)
	for _, p := range set.Warnings() {
		s.Warnings = append(s.Warnings, p.Message)
	}
	return s, nil
}

// handlingOf says what is done with the rule's events besides sending each at once.
func handlingOf(r *rules.Rule) (all []string) {
	say := func(on bool, format string, args ...any) {
		if on {
			all = append(all, fmt.Sprintf(format, args...))
		}
	}
	h := &r.Handling
	say(h.Test, "test mode: logged, and not sent")
	say(h.Sample < 1, "sample %g of the records", h.Sample)
	say(h.Wait > 0, "waits %s for a later event of the record, %s at most", h.Wait, h.Max)
	say(r.Priority != "", "priority %s", r.Priority)
	say(h.Upgrades != "", "module upgrades: %s", h.Upgrades)
	say(r.EachWrite, "each write by itself, not once for each transaction")
	say(len(r.Ignore) > 0, "ignores changes of %s", strings.Join(r.Ignore, ", "))
	say(len(r.IgnoreUsers) > 0, "ignores changes made by %s", strings.Trim(fmt.Sprint(r.IgnoreUsers), "[]"))
	say(len(r.Rollups()) > 0, "rolls up changes of %d fields' rows", len(r.Rollups()))
	say(r.Splits(), "one delivery for each line or group (split)")
	if r.Schedule != nil {
		say(r.Every != "", "every %s", r.Every)
		say(len(r.At) > 0, "at %s %s", strings.Join(r.At, ", "), r.Timezone)
	}
	return all
}

func shownMembers(outputs []rules.Output) (all []shownMember) {
	kinds := [...]string{rules.OutputValue: "value", rules.OutputList: "list", rules.OutputObject: "object", rules.OutputRows: "rows"}
	for i := range outputs {
		o := &outputs[i]
		all = append(all, shownMember{Name: o.Name, Kind: kinds[o.Kind], Column: o.Column, Members: shownMembers(o.Members)})
	}
	return all
}

// rule prints it, one fact a line.
func (t *terminal) rule(s *shownRule) error {
	var b strings.Builder
	say := func(name, text string) {
		if text != "" {
			fmt.Fprintf(&b, "  %-10s  %s\n", name, text)
		}
	}
	fmt.Fprintln(&b, t.paint(bold, "rule "+s.Rule))
	if !s.Active {
		say("active", "no: run does not look at it")
	}
	of := s.Table
	if s.Model != "" {
		of = strings.TrimSuffix(s.Model+" ("+s.Table+")", " ()")
	}
	say("of", of)
	say("on", strings.Join(s.On, ", "))
	say("event", s.Event)
	say("when", strings.Join(strings.Fields(s.When), " "))
	for _, n := range s.Needs {
		say("streamed", fmt.Sprintf("%s in publication %q", n.Table, s.Publication))
		from := ""
		if n.Images {
			from = "from row images ([images]): "
		}
		for _, why := range n.Why {
			if n.Full || n.Images {
				say("old values", from+why)
			}
		}
	}
	say("looks into", strings.Join(s.Related, ", "))
	if len(s.Payload) == 0 {
		say("payload", "the whole record")
	}
	t.members(s.Payload, 0, say)
	for _, e := range s.Endpoints {
		text := e.Name + ", format " + e.Format
		if e.Encoding != "" {
			text += ", " + e.Encoding
		}
		if !e.Active {
			text += " (not active: it waits)"
		}
		say("to", text)
	}
	for _, text := range s.Handling {
		say("handling", text)
	}
	for _, text := range s.Warnings {
		say("warning", text)
	}
	return t.say(strings.TrimRight(b.String(), "\n"))
}

// members prints the tree of a payload, each level indented.
func (t *terminal) members(list []shownMember, depth int, say func(name, text string)) {
	for i, m := range list {
		name := ""
		if i == 0 && depth == 0 {
			name = "payload"
		}
		text := strings.Repeat("  ", depth) + m.Name
		switch {
		case m.Column != "" && m.Column != m.Name:
			text += " = " + m.Column
		case m.Kind == "list" || m.Kind == "rows":
			text += " [ ]"
		}
		say(name, text)
		t.members(m.Members, depth+1, say)
	}
}
