package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"walhook/rules"
)

// ruleLine is one rule as `rules list --json` prints it.
type ruleLine struct {
	Name      string   `json:"name"`
	Active    bool     `json:"active"`
	Model     string   `json:"model,omitempty"`
	Table     string   `json:"table,omitempty"`
	On        []string `json:"on"`
	When      string   `json:"when,omitempty"`
	Endpoints []string `json:"endpoints"`
	Event     string   `json:"event"` // "<model>.<op>" unless configured
	EachWrite bool     `json:"each_write,omitempty"`
}

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
			lines := []ruleLine{}
			for _, r := range cfg.Rules {
				lines = append(lines, lineOf(r))
			}
			if asJSON {
				return a.printJSON(lines)
			}
			if len(lines) == 0 {
				_, err := fmt.Fprintln(a.stdout, "no rules")
				return err
			}
			table := tabwriter.NewWriter(a.stdout, 0, 4, 2, ' ', 0)
			fmt.Fprintln(table, "RULE\tMODEL\tON\tENDPOINTS\tEVENT\tWHEN")
			for _, l := range lines {
				name, of := l.Name, l.Model
				if !l.Active {
					name += " (inactive)"
				}
				if of == "" {
					of = "table " + l.Table
				}
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", name, of, strings.Join(l.On, ","), strings.Join(l.Endpoints, ","), l.Event, orDash(strings.Join(strings.Fields(l.When), " ")))
			}
			return table.Flush()
		},
	}
	list.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return group("rules", "Look at the rules", "  walhook rules list", list)
}

func lineOf(r rules.Config) ruleLine {
	l := ruleLine{Name: r.Name, Active: r.Active == nil || *r.Active, Model: r.Model, Table: r.Table, On: r.On, When: r.When, Endpoints: r.Endpoints, Event: r.Event, EachWrite: r.EachWrite}
	if r.Endpoint != "" {
		l.Endpoints = []string{r.Endpoint}
	}
	if l.Event == "" {
		of := l.Model
		if of == "" {
			of = l.Table
		}
		l.Event = of + ".<op>"
	}
	return l
}
