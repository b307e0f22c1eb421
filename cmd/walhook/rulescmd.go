package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"walhook/rules"
	"walhook/status"
)

func (a *app) rulesCommand() *cobra.Command {
	var asJSON bool
	list := &cobra.Command{
		Use:     "list",
		Short:   "List the rules of the configuration",
		Long:    "list reads the configuration only. Whether rules fit the database is for `walhook check`.",
		Example: "  walhook rules list\n  walhook rules list --json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			lines := cfg.ruleLines()
			if asJSON {
				return a.printJSON(lines)
			}
			if len(lines) == 0 {
				_, err := fmt.Fprintln(a.stdout, "no rules")
				return err
			}
			var rows [][]string
			for _, l := range lines {
				name, of := l.Name, l.Model
				if marks := marksOf(&l); len(marks) > 0 {
					name += " (" + strings.Join(marks, ", ") + ")"
				}
				switch {
				case of == "" && l.Table == "": // on message
					of = "-"
				case of == "":
					of = "table " + l.Table
				}
				rows = append(rows, []string{name, of, strings.Join(l.On, ","), strings.Join(l.Endpoints, ","), l.Event, orDash(strings.Join(strings.Fields(l.When), " "))})
			}
			return a.terminal().table([]string{"RULE", "MODEL", "ON", "ENDPOINTS", "EVENT", "WHEN"}, rows)
		},
	}
	list.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return group("rules", "Look at the rules, and try them out", "  walhook rules list\n  walhook rules preview order_confirmed --last", list, a.rulesShow(), a.rulesPreview(), a.rulesExplain(), a.rulesTest(), a.rulesBacktest())
}

// ruleLines lists the rules in their order.
func (c *Config) ruleLines() []status.RuleLine {
	lines := []status.RuleLine{}
	for _, r := range c.Rules {
		lines = append(lines, lineOf(r))
	}
	return lines
}

// marksOf says in which way a rule is not sent as others are.
func marksOf(l *status.RuleLine) (marks []string) {
	switch {
	case !l.Active:
		marks = append(marks, "inactive")
	case l.Test:
		marks = append(marks, "test mode")
	}
	if l.Sample > 0 && l.Sample < 1 {
		marks = append(marks, fmt.Sprintf("sample %g", l.Sample))
	}
	if l.Debounce != "" {
		marks = append(marks, "debounce "+l.Debounce)
	}
	if l.Priority != "" {
		marks = append(marks, "priority "+l.Priority)
	}
	return marks
}

func lineOf(r rules.Config) status.RuleLine {
	l := status.RuleLine{Name: r.Name, Active: r.Active == nil || *r.Active, Model: r.Model, Table: r.Table, On: r.On, When: r.When, Endpoints: r.EndpointNames(), Event: r.Event, EachWrite: r.EachWrite}
	l.Test, l.Priority, l.Debounce, l.DebounceMax = r.Test, r.Priority, r.Debounce, r.DebounceMax
	if r.Sample != nil {
		l.Sample = *r.Sample
	}
	if l.Event == "" {
		of := l.Model
		if of == "" {
			of = l.Table
		}
		l.Event = of + ".<op>"
		switch {
		case slices.Contains(r.On, "message"):
			l.Event = "<its own>"
		case slices.Contains(r.On, "schedule"):
			l.Event = of + ".schedule"
		}
	}
	return l
}
