package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"walhook/state"
	"walhook/status"
)

func (a *app) endpointsShow() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "show NAME",
		Short:   "Show an endpoint: its configuration, how it is doing, and what happened last",
		Example: "  walhook endpoints show erp\n  walhook endpoints show erp --json | jq .recent_attempts",
		Args:    oneArgument("the name of an endpoint"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withState(cmd.Context(), func(cfg *Config, db *state.DB) error {
				detail, err := cfg.desk(db).Endpoint(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(detail)
				}
				return a.printEndpoint(detail)
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (a *app) printEndpoint(d *status.EndpointDetail) error {
	now := time.Now()
	table := tabwriter.NewWriter(a.stdout, 0, 4, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(table, "%s\t%s\n", name, value)
		}
	}
	row("endpoint", d.Name)
	row("state", conditionOf(now, &d.EndpointLine))
	row("url", d.URL)
	if s := d.Configuration; s != nil {
		row("method", s.Method)
		row("headers", strings.Join(s.Headers, ", "))
		row("query", strings.Join(s.Query, ", "))
		row("auth", s.Auth)
		signed := "no"
		if s.Secrets > 0 {
			signed = "with " + plural(s.Secrets, "secret")
		}
		row("signed", signed)
		row("hmac", s.HMAC)
		row("timeout", s.Timeout)
		row("retry", s.Retry)
		row("concurrency", fmt.Sprint(s.Concurrency))
		row("rate", d.Rate)
		row("ordering", s.Ordering+", on_dead "+s.OnDead)
		row("queue", s.Queue)
		row("batch", s.Batch)
		row("breaker", s.Breaker)
		row("disable", s.Disable)
		row("proxy", s.Proxy)
		for _, name := range slices.Sorted(maps.Keys(s.TLS)) {
			row("tls."+name, s.TLS[name])
		}
		for _, w := range s.Warnings {
			row("warning", w)
		}
	}
	for _, key := range d.PublicKeys {
		row("public key", key)
	}
	row("rules", strings.Join(d.Rules, ", "))
	if d.Sequence > 0 {
		row("last number", fmt.Sprintf("%d in epoch %d", d.Sequence, d.Epoch))
	}
	row("pending", fmt.Sprintf("%d, of which %d failed before", d.Pending, d.Retrying))
	if text, ok := strings.CutPrefix(heldText(&d.EndpointState), "held: "); ok {
		row("held", text)
	}
	if !d.OldestPending.IsZero() {
		row("oldest", "of "+since(now, d.OldestPending))
	}
	row("not queued at the limit", notQueued(d.Name, d.Queue))
	row("delivered", fmt.Sprintf("%d, after %d failed attempts", d.Delivered, d.FailedAttempts))
	row("dead", fmt.Sprintf("%d now, %d ever", d.Dead, d.DeadTotal))
	row("last success", ago("", now, d.LastSuccess))
	row("last error", d.LastError+ago(", ", now, d.LastFailure))
	if err := table.Flush(); err != nil {
		return err
	}
	if len(d.Attempts) > 0 {
		fmt.Fprintln(a.stdout)
		table = tabwriter.NewWriter(a.stdout, 0, 4, 2, ' ', 0)
		fmt.Fprintln(table, "LAST ATTEMPTS\tID\tNUMBER\tRESULT\tTOOK")
		for _, t := range d.Attempts {
			fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%.0f ms\n", t.At.Format("2006-01-02 15:04:05"), t.ID, t.Number, shorten(attemptResult(t), 80), t.Milliseconds)
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	if len(d.LastDead) > 0 {
		fmt.Fprintln(a.stdout, "\nlast dead letters")
		return a.printDeliveries(d.LastDead, 0)
	}
	return nil
}
