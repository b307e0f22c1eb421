package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"walhook/cdc"
	"walhook/state"
)

func (a *app) runCommand() *cobra.Command {
	var adopt bool
	c := &cobra.Command{
		Use:   "run",
		Short: "Stream changes and deliver webhooks",
		Long: `run checks everything that check does, makes sure that the state belongs to this very database, and
then streams and delivers until it is told to stop. The first SIGINT or SIGTERM stops it in order: it
finishes the batch and the requests that are under way, confirms, and ends with status 0. A second
one ends it at once with status 130; nothing is lost then, but requests may be sent again.

SIGHUP, or walhook reload, reads the configuration anew: see walhook reload --help.

Several processes may run on one state: one reads the slot, the others stand by and take over when it ends or hangs. All
deliver. Each needs an address of its own for its status pages (http.listen).

A copy of the database never fires production's webhooks, and changes that can no longer be read are not passed over in
silence: both are refused. After a deliberate move, or when the slot no longer goes on where the state ends, --adopt accepts
it: what is pending is kept and sent, the gap is logged and noted in the state's table adoption, and a new epoch of the
endpoints' sequences begins. After a mere rename of the same database nothing is lost, and the numbers go on.`,
		Example: "  walhook run\n  walhook run --config /etc/walhook.toml --log-format json\n  walhook run --adopt",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			hangups, quiet := onHangup()
			defer quiet()
			cfg, err := a.load()
			if err != nil {
				return err
			}
			log, flush, err := a.logger(cfg.Log)
			if err != nil {
				return err
			}
			defer flush()
			defer beforeAbort(cmd.Context(), func() {
				log.Error().Str("hint", "give it the time of its grace period to stop (TimeoutStopSec)").Msg("ended at once by a second signal: what was under way is not finished, and begins again with the next start")
			})()
			limitMemory(cfg, a.env)
			return a.stream(cmd.Context(), func(ctx context.Context) (*pipeline, error) {
				p, err := comeBack(ctx, log, func() (*pipeline, error) { return openPipeline(ctx, cfg, log, adopt) })
				if err == nil {
					p.reload.asked, p.reload.load = hangups, a.load
				}
				return p, err
			})
		},
	}
	c.Flags().BoolVar(&adopt, "adopt", false, "accept another source after a deliberate move, or a gap between the state and the slot")
	return c
}

// stream opens a pipeline, runs it and gives it back.
func (a *app) stream(ctx context.Context, open func(context.Context) (*pipeline, error)) error {
	p, err := open(ctx)
	if err != nil {
		if ctx.Err() != nil && errors.Is(context.Cause(ctx), errInterrupted) {
			return nil // told to stop while starting
		}
		return err
	}
	err = errors.Join(p.Run(ctx), p.Close())
	if ctx.Err() != nil {
		err = notAway(err)
	}
	return classify(err)
}

// classify gives errors of a running pipeline the status for what surrounds walhook, where they are of that kind.
func classify(err error) error {
	var all []error
	for _, e := range flatten(err) {
		var slot *cdc.SlotError
		var position *cdc.PositionError
		var identity *cdc.IdentityError
		var refused *cdc.RefusedError
		var mismatch *state.MismatchError
		var guard *cdc.GuardError
		if errors.As(e, &guard) || errors.As(e, &slot) || errors.As(e, &position) || errors.As(e, &identity) || errors.As(e, &refused) || errors.As(e, &mismatch) {
			e = environmentError(e, "")
		}
		all = append(all, e)
	}
	return errors.Join(all...)
}
