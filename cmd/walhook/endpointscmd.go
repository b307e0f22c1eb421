package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"walhook/state"
	"walhook/status"
)

// endpointLine is one endpoint as `endpoints list --json` prints it.
type endpointLine struct {
	status.EndpointState
	URL        string `json:"url,omitempty"` // without its secrets
	Configured bool   `json:"configured"`
	Active     bool   `json:"active"`
	Signed     bool   `json:"signed"`
}

func (a *app) endpointsCommand() *cobra.Command {
	return group("endpoints", "Look at endpoints, and enable or disable one",
		"  walhook endpoints list\n  walhook endpoints disable erp --reason \"maintenance until noon\"\n  walhook endpoints enable erp",
		a.endpointsList(), a.endpointsEnable(), a.endpointsDisable())
}

func (a *app) endpointsList() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "list",
		Short:   "List endpoints with what waits for them",
		Example: "  walhook endpoints list\n  walhook endpoints list --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withState(cmd.Context(), func(cfg *Config, db *state.DB) error {
				lines, err := cfg.endpointLines(cmd.Context(), db)
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(lines)
				}
				return a.printEndpoints(lines)
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// endpointLines lists the configured endpoints, and then those that only the state knows.
func (c *Config) endpointLines(ctx context.Context, db *state.DB) ([]endpointLine, error) {
	known, err := db.Endpoints(ctx)
	if err != nil {
		return nil, environmentError(err, "")
	}
	byName := map[string]status.EndpointState{}
	for _, e := range known {
		byName[e.Name] = e
	}
	lines := []endpointLine{}
	for _, name := range slices.Sorted(maps.Keys(c.Endpoints)) {
		endpoint := c.Endpoints[name]
		l := endpointLine{EndpointState: byName[name], URL: endpoint.URL.String(), Configured: true, Active: endpoint.IsActive(), Signed: len(endpoint.Secrets) > 0}
		l.Name = name
		lines = append(lines, l)
	}
	for _, e := range known {
		if _, configured := c.Endpoints[e.Name]; !configured {
			lines = append(lines, endpointLine{EndpointState: e})
		}
	}
	return lines, nil
}

func (a *app) printEndpoints(lines []endpointLine) error {
	if len(lines) == 0 {
		_, err := fmt.Fprintln(a.stdout, "no endpoints")
		return err
	}
	now := time.Now()
	table := tabwriter.NewWriter(a.stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(table, "ENDPOINT\tSTATE\tPENDING\tRETRYING\tDELIVERED\tDEAD\tLAST SUCCESS\tURL")
	for _, l := range lines {
		what := "enabled"
		switch {
		case l.Disabled:
			what = "disabled: " + l.DisabledReason
		case !l.Configured:
			what = "not configured"
		case !l.Active:
			what = "not active"
		}
		fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%d\t%d\t%s\t%s\n", l.Name, what, l.Pending, l.Retrying, l.Delivered, l.Dead, orDash(ago("", now, l.LastSuccess)), orDash(l.URL))
	}
	return table.Flush()
}

func (a *app) endpointsEnable() *cobra.Command {
	return &cobra.Command{
		Use:     "enable NAME",
		Short:   "Let deliveries of a disabled endpoint go again",
		Example: "  walhook endpoints enable erp",
		Args:    oneArgument("the name of an endpoint"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withOwnState(cmd.Context(), func(cfg *Config, db *state.DB) error {
				if err := cfg.knownEndpoint(cmd.Context(), db, args[0]); err != nil {
					return err
				}
				was, err := db.EnableEndpoint(cmd.Context(), args[0])
				if err != nil {
					return environmentError(err, "")
				}
				text := "endpoint %s enabled\n"
				if !was {
					text = "endpoint %s was not disabled\n"
				}
				_, err = fmt.Fprintf(a.stdout, text, args[0])
				return err
			})
		},
	}
}

func (a *app) endpointsDisable() *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use:     "disable NAME",
		Short:   "Keep deliveries of an endpoint waiting",
		Long:    "disable stops sending to an endpoint within seconds. Its deliveries wait in the queue until it is enabled again; nothing is lost.",
		Example: "  walhook endpoints disable erp --reason \"maintenance until noon\"",
		Args:    oneArgument("the name of an endpoint"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withState(cmd.Context(), func(cfg *Config, db *state.DB) error {
				if err := cfg.knownEndpoint(cmd.Context(), db, args[0]); err != nil {
					return err
				}
				if err := db.DisableEndpoint(cmd.Context(), args[0], reason); err != nil {
					return environmentError(err, "")
				}
				_, err := fmt.Fprintf(a.stdout, "endpoint %s disabled\n", args[0])
				return err
			})
		},
	}
	c.Flags().StringVar(&reason, "reason", "disabled by hand", "why, for people")
	return c
}

// knownEndpoint refuses a name that neither configuration nor state has heard of.
func (c *Config) knownEndpoint(ctx context.Context, db *state.DB, name string) error {
	lines, err := c.endpointLines(ctx, db)
	if err != nil {
		return err
	}
	var names []string
	for _, l := range lines {
		if l.Name == name {
			return nil
		}
		names = append(names, l.Name)
	}
	hint := "walhook endpoints list"
	if s := nearest(name, names); s != "" {
		hint = fmt.Sprintf("did you mean %q?", s)
	}
	return usagef(hint, "there is no endpoint %q", name)
}
