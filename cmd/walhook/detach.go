package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"walhook/cdc"
	"walhook/delivery"
	"walhook/state"
	"walhook/status"
)

func (a *app) detachCommand() *cobra.Command {
	d := &detach{app: a, long: defaultDetach}
	c := &cobra.Command{
		Use:   "detach",
		Short: "Free the database for a duplicate, a rename or a drop",
		Long: `detach asks every running walhook to close all its sessions in the source's database and to stay away for a while: a
database cannot be duplicated (CREATE DATABASE … TEMPLATE), renamed or dropped while anybody is connected. The processes go within
a second or two and come back by themselves; what happens meanwhile is kept by the slot. When the state lies in a
database of its own, deliveries that are queued go on.

Odoo ends all sessions itself before it duplicates, renames or drops a database, and walhook then stays away for
10 to 30 seconds without being asked. detach is for whatever takes longer, and for other tools.

With --wait it returns when the last session is gone. --end takes the wish back; processes that keep their state in the
source's database cannot see that before their time is over, or they are started again.`,
		Example: `  walhook detach --for 2m --wait && createdb -T odoo odoo_staging
  walhook detach --for 1h
  walhook detach --end`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if d.cfg, err = a.load(); err != nil {
				return err
			}
			return d.run(cmd.Context())
		},
	}
	f := c.Flags()
	f.Var(&d.long, "for", "how long to stay away")
	f.BoolVar(&d.wait, "wait", false, "return when no session is left, or fail after a minute")
	f.BoolVar(&d.end, "end", false, "come back before the time is over")
	f.BoolVar(&d.json, "json", false, "print JSON")
	c.MarkFlagsMutuallyExclusive("end", "for")
	c.MarkFlagsMutuallyExclusive("end", "wait")
	return c
}

// detach is one run of the command.
type detach struct {
	app             *app
	cfg             *Config
	long            durationFlag
	wait, end, json bool
}

// Bounds of --for, and how long --wait waits.
const (
	defaultDetach  = durationFlag(10 * time.Minute)
	shortestDetach = 5 * time.Second
	longestDetach  = 24 * time.Hour
	detachPatience = time.Minute
)

// detached is what the command tells programs.
type detached struct {
	Until    time.Time      `json:"until,omitzero"` // by this machine's clock
	Ended    bool           `json:"ended,omitempty"`
	Sessions []cdc.Attached `json:"sessions"` // that are left in the source's database
}

func (d *detach) run(ctx context.Context) error {
	long := time.Duration(d.long)
	if long < shortestDetach || long > longestDetach {
		return usagef("walhook detach --for 10m", "--for %s: between %s and %s", long, shortestDetach, longestDetach)
	}
	out := detached{Sessions: []cdc.Attached{}}
	if err := d.ask(ctx, long, &out); err != nil {
		return err
	}
	// Its own connections are closed by now.
	var err error
	if !d.end {
		out.Sessions, err = d.left(ctx)
	}
	if d.json {
		if e := d.app.printJSON(out); e != nil {
			return e
		}
		return err
	}
	switch {
	case err != nil:
		return err
	case d.end && !out.Ended:
		fmt.Fprintln(d.app.stdout, "nothing to take back: walhook was not asked to stay away")
	case d.end && d.cfg.stateInSource():
		fmt.Fprintln(d.app.stdout, "taken back: processes that are away come back when their time is over, or when they are started again")
	case d.end:
		fmt.Fprintln(d.app.stdout, "taken back: walhook comes back within seconds")
	default:
		fmt.Fprintf(d.app.stdout, "walhook stays away from the database until %s\n", out.Until.Format(time.RFC3339))
		if g := d.cfg.Source.Guard.config(); !g.Off() {
			fmt.Fprintf(d.app.stderr, "warning: the slot guard sees nothing until then: the slot may keep more than %s of WAL meanwhile\n", status.Bytes(g.MaxRetained))
		}
		for _, s := range out.Sessions {
			fmt.Fprintf(d.app.stdout, "  still there: %s\n", s)
		}
	}
	return nil
}

// ask writes the wish into the state.
func (d *detach) ask(ctx context.Context, long time.Duration, out *detached) error {
	db, err := state.Open(ctx, d.cfg.state(currentBuild().Version))
	if err != nil {
		return environmentError(err, "")
	}
	defer closeState(db)
	if err := db.Check(ctx); err != nil {
		return environmentError(err, "")
	}
	if d.end {
		out.Ended, err = db.Attach(ctx)
		return environmentError(err, "")
	}
	out.Until = time.Now().Add(long)
	return environmentError(db.Detach(ctx, state.Detachment{For: long, Why: "`walhook detach` was run"}), "")
}

// left lists the sessions that are in the database, once or, with --wait, until there are none. Each look is a short session by itself,
// which is closed when left returns.
func (d *detach) left(ctx context.Context) ([]cdc.Attached, error) {
	for end := time.Now().Add(detachPatience); ; {
		sessions, err := d.look(ctx)
		if err != nil || !d.wait || len(sessions) == 0 {
			return sessions, err
		}
		if time.Now().After(end) {
			return sessions, environmentError(fmt.Errorf("%s of walhook still in the database after %s: %s", plural(len(sessions), "session"), detachPatience, sessions[0]),
				fmt.Sprintf("is it a walhook with another configuration or state? To end it: SELECT pg_terminate_backend(%d)", sessions[0].PID))
		}
		select {
		case <-ctx.Done():
			return sessions, context.Cause(ctx)
		case <-time.After(250 * time.Millisecond):
		}
	}
}

func (d *detach) look(ctx context.Context) ([]cdc.Attached, error) {
	conn, err := connect(ctx, "source.dsn", d.cfg.Source.DSN.reveal())
	if err != nil {
		return nil, err
	}
	defer closeConn(conn)
	sessions, err := cdc.Sessions(ctx, conn)
	return sessions, environmentError(err, "")
}

// durationFlag is a duration as the configuration writes them: "90s", "10m", "1d".
type durationFlag delivery.Duration

// Set implements pflag.Value.
func (d *durationFlag) Set(text string) error {
	return (*delivery.Duration)(d).UnmarshalText([]byte(text))
}

// String implements pflag.Value.
func (d *durationFlag) String() string { return delivery.Duration(*d).Std().String() }

// Type implements pflag.Value.
func (d *durationFlag) Type() string { return "duration" }
