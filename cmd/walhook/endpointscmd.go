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

func (a *app) endpointsCommand() *cobra.Command {
	return group("endpoints", "Look at endpoints, try them out, and pause or resume one",
		"  walhook endpoints list\n  walhook endpoints verify erp\n  walhook endpoints pause erp --reason \"maintenance until noon\"\n  walhook endpoints resume erp",
		a.endpointsList(), a.endpointsShow(), a.endpointsVerify(), a.endpointsSendTest(), a.endpointsPause(), a.endpointsResume(), a.endpointsKeys())
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
func (c *Config) endpointLines(ctx context.Context, db *state.DB) ([]status.EndpointLine, error) {
	known, err := db.Endpoints(ctx)
	if err != nil {
		return nil, environmentError(err, "")
	}
	byName := map[string]status.EndpointState{}
	for _, e := range known {
		byName[e.Name] = e
	}
	lines := []status.EndpointLine{}
	for _, name := range slices.Sorted(maps.Keys(c.Endpoints)) {
		endpoint := c.Endpoints[name]
		l := status.EndpointLine{EndpointState: byName[name], URL: endpoint.URL.String(), Configured: true, Active: endpoint.IsActive(), Signed: len(endpoint.Secrets)+len(endpoint.HMAC.Secrets) > 0,
			Rate: endpoint.Rate.String()}
		l.Name = name
		if l.Breaker == "" {
			l.Breaker = status.BreakerClosed
		}
		lines = append(lines, l)
	}
	for _, e := range known {
		if _, configured := c.Endpoints[e.Name]; !configured {
			lines = append(lines, status.EndpointLine{EndpointState: e})
		}
	}
	return lines, nil
}

func (a *app) printEndpoints(lines []status.EndpointLine) error {
	if len(lines) == 0 {
		_, err := fmt.Fprintln(a.stdout, "no endpoints")
		return err
	}
	now := time.Now()
	table := tabwriter.NewWriter(a.stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(table, "ENDPOINT\tSTATE\tPENDING\tRETRYING\tDELIVERED\tDEAD\tFAILING\tLAST SUCCESS\tRATE\tURL")
	for _, l := range lines {
		fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t%s\n", l.Name, conditionOf(now, &l), l.Pending, l.Retrying, l.Delivered, l.Dead, l.Failures, orDash(ago("", now, l.LastSuccess)),
			orDash(l.Rate), orDash(l.URL))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, l := range lines {
		if text := heldText(&l.EndpointState); text != "" {
			if _, err := fmt.Fprintf(a.stdout, "%s  %s\n", l.Name, text); err != nil {
				return err
			}
		}
	}
	return nil
}

// conditionOf says in words whether deliveries go to an endpoint, and why not.
func conditionOf(now time.Time, l *status.EndpointLine) string {
	what := l.Condition()
	switch {
	case l.Paused || l.Disabled:
	case !l.Configured:
		return "not configured"
	case !l.Active:
		return "not active"
	case l.Breaker == status.BreakerOpen && !l.Resumed():
		return what + probeAt(now, l.NextProbe)
	}
	return what
}

// probeAt says when an endpoint is probed next.
func probeAt(now, at time.Time) string {
	if wait := at.Sub(now); wait > 0 {
		return " (probed in " + status.Age(wait) + ")"
	}
	return " (probed with the next delivery)"
}

func (a *app) endpointsPause() *cobra.Command {
	var reason string
	var asJSON bool
	c := &cobra.Command{
		Use:   "pause NAME",
		Short: "Keep deliveries of an endpoint waiting",
		Long: "pause stops sending to an endpoint within about a second; requests under way go on. Its deliveries wait in the queue until it is resumed; nothing is lost,\n" +
			"as long as they fit into the endpoint's queue (queue.max_rows, queue.max_bytes).",
		Example: "  walhook endpoints pause erp --reason \"maintenance until noon\"",
		Args:    oneArgument("the name of an endpoint"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withState(cmd.Context(), func(cfg *Config, db *state.DB) error {
				if err := cfg.knownEndpoint(cmd.Context(), db, args[0]); err != nil {
					return err
				}
				changed, err := db.PauseEndpoint(cmd.Context(), args[0], reason)
				if err != nil {
					return environmentError(err, "")
				}
				if asJSON {
					return a.printJSON(map[string]any{"endpoint": args[0], "changed": changed})
				}
				text := "endpoint %s paused\n"
				if !changed {
					text = "endpoint %s is paused already\n"
				}
				_, err = fmt.Fprintf(a.stdout, text, args[0])
				return err
			})
		},
	}
	c.Flags().StringVar(&reason, "reason", "by hand", "why, for people")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (a *app) endpointsResume() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "resume NAME",
		Short: "Let deliveries of an endpoint go again",
		Long: "resume ends what keeps deliveries of an endpoint waiting: that a person has paused it, that it is disabled as the receiver answered 410 or failed for too long, or\n" +
			"that its breaker is open. After one of the latter two, one delivery probes the receiver at once; deliveries then go by and by.",
		Example: "  walhook endpoints resume erp",
		Args:    oneArgument("the name of an endpoint"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withOwnState(cmd.Context(), func(cfg *Config, db *state.DB) error {
				if err := cfg.knownEndpoint(cmd.Context(), db, args[0]); err != nil {
					return err
				}
				was, err := db.ResumeEndpoint(cmd.Context(), args[0])
				if err != nil {
					return environmentError(err, "")
				}
				if asJSON {
					return a.printJSON(map[string]any{"endpoint": args[0], "changed": was.Any(), "was_paused": was.Paused, "was_disabled": was.Disabled, "was_open": was.Open})
				}
				_, err = fmt.Fprintln(a.stdout, resumedLine(args[0], was))
				return err
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// resumedLine says what resume has done.
func resumedLine(name string, was state.Resumed) string {
	switch {
	case was.Disabled:
		return "endpoint " + name + " is enabled again: one delivery probes it first"
	case was.Open:
		return "endpoint " + name + " resumed: one delivery probes it first"
	case was.Paused:
		return "endpoint " + name + " resumed"
	}
	return "endpoint " + name + " is neither paused nor disabled, and its breaker is not open"
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
	return &failure{err: unknownEndpoint(name), code: exitUsage, hint: hint}
}

// unknownEndpoint is a name that neither configuration nor state has heard of.
type unknownEndpoint string

func (e unknownEndpoint) Error() string { return fmt.Sprintf("there is no endpoint %q", string(e)) }
