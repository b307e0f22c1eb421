package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"walhook/delivery"
	"walhook/state"
)

// verifiedAtOnce is how many endpoints are looked at at the same time.
const verifiedAtOnce = 8

func (a *app) endpointsVerify() *cobra.Command {
	var address string
	var send, asJSON bool
	c := &cobra.Command{
		Use:   "verify [NAME…]",
		Short: "Find out step by step whether endpoints would take deliveries",
		Long: `verify looks at endpoints, all of the configuration or those that are named, and says what is wrong and what to do about it: DNS, port,
http and https mixed up, certificate, TLS version, path or the slash at its end, credentials, slow answer, proxy.

It sends no event: it connects, and asks with OPTIONS, without a body, with the endpoint's credentials and the header
Webhook-Test: true. With --send it sends a test event instead, as send-test does. It works before setup and while the databases are away, but for
--send; of a copy of the database it asks nobody.

With --url it looks at an address that is no endpoint's. Addresses that are not public are refused then: only the configuration
may lead there. The status is 1 when an endpoint would not take deliveries.`,
		Example: "  walhook endpoints verify\n  walhook endpoints verify erp --send\n  walhook endpoints verify --url https://erp.example.com/hooks/odoo --json",
		RunE: func(cmd *cobra.Command, names []string) error {
			if address != "" && (len(names) > 0 || send) {
				return usagef("add the endpoint to the configuration to send it something", "--url goes with neither names nor --send")
			}
			cfg, err := a.load()
			if err != nil {
				return err
			}
			if !send {
				d, done := cfg.deskIfThere(cmd.Context(), address)
				defer done()
				return a.verifyEndpoints(cmd.Context(), d, names, address, false, asJSON)
			}
			return a.withState(cmd.Context(), func(cfg *Config, db *state.DB) error {
				return a.verifyEndpoints(cmd.Context(), cfg.desk(db), names, "", true, asJSON)
			})
		},
	}
	c.Flags().StringVar(&address, "url", "", "look at this address, which is no endpoint's")
	c.Flags().BoolVar(&send, "send", false, "send a signed test event")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// deskIfThere has the state where it can be had, and is needed: an address is no endpoint's.
func (c *Config) deskIfThere(ctx context.Context, address string) (d *desk, done func()) {
	d, done = &desk{cfg: c}, func() {}
	if address != "" {
		return d, done
	}
	db, err := state.Open(ctx, c.state(currentBuild().Version))
	if err != nil {
		return d, done
	}
	if db.Check(ctx) == nil {
		d = c.desk(db)
	}
	return d, func() { closeState(db) }
}

// verifyEndpoints looks at several endpoints at once and prints in their order what it finds.
func (a *app) verifyEndpoints(ctx context.Context, d *desk, names []string, address string, send, asJSON bool) error {
	switch {
	case address != "":
		names = []string{""}
	case len(names) == 0:
		names = slices.Sorted(maps.Keys(d.cfg.Endpoints))
	}
	if len(names) == 0 {
		return usagef("add [endpoints.NAME] with a url, or name an address with --url", "there is no endpoint to verify")
	}
	if own := d.own; own != nil { // once for all of them
		once := sync.OnceValue(func() error { return own(ctx) })
		d.own = func(context.Context) error { return once() }
	}
	probes, failures := make([]*delivery.Probe, len(names)), make([]error, len(names))
	turn := make(chan struct{}, verifiedAtOnce)
	var all sync.WaitGroup
	for i, name := range names {
		all.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			probes[i], failures[i] = d.Verify(ctx, name, address, send)
		})
	}
	all.Wait()
	if err := errors.Join(failures...); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	code := exitOK
	for _, p := range probes {
		if !p.OK() {
			code = exitFailed
		}
	}
	var err error
	if asJSON {
		err = a.printJSON(probes)
	} else {
		err = a.printProbes(probes)
	}
	if err == nil && code != exitOK {
		return errQuiet(code) // the findings say why
	}
	return err
}

func (a *app) printProbes(probes []*delivery.Probe) error {
	for i, p := range probes {
		if i > 0 {
			fmt.Fprintln(a.stdout)
		}
		name := p.Endpoint
		if name != "" {
			name += "  "
		}
		fmt.Fprintf(a.stdout, "%s%s\n", name, p.URL)
		table := tabwriter.NewWriter(a.stdout, 0, 4, 2, ' ', 0)
		for _, f := range p.Findings {
			fmt.Fprintf(table, "  %s\t%s\t%s\n", f.Severity, f.Check, f.Message)
			if f.Remedy != "" {
				fmt.Fprintf(table, "\t\thint: %s\n", f.Remedy)
			}
		}
		fmt.Fprintf(table, "  sent\t\t%s\n", p.Sent)
		if err := table.Flush(); err != nil {
			return err
		}
	}
	return nil
}
