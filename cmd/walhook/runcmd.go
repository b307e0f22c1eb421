package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"walhook/cdc"
	"walhook/delivery"
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

A copy of the database never fires production's webhooks. After a deliberate move, --adopt takes the source
although it is not the one that the state was bound to.`,
		Example: "  walhook run\n  walhook run --config /etc/walhook.toml --log-format json\n  walhook run --adopt",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			log, err := a.logger(cfg.Log)
			if err != nil {
				return err
			}
			return a.stream(cmd.Context(), func(ctx context.Context) (*pipeline, error) { return openPipeline(ctx, cfg, log, adopt) })
		},
	}
	c.Flags().BoolVar(&adopt, "adopt", false, "take the source although the state belonged to another one: only after a deliberate move")
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
	return classify(errors.Join(p.Run(ctx), p.Close()))
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
		if errors.As(e, &slot) || errors.As(e, &position) || errors.As(e, &identity) || errors.As(e, &refused) || errors.As(e, &mismatch) {
			e = environmentError(e, "")
		}
		if errors.Is(e, delivery.ErrSuperseded) {
			e = &failure{err: e, code: exitFailed, hint: "another walhook reads this slot with the same state; one is enough"}
		}
		if errors.Is(e, state.ErrLeaseLost) {
			e = &failure{err: e, code: exitFailed, hint: "this process stood still for longer than state.lease; start it again"}
		}
		all = append(all, e)
	}
	return errors.Join(all...)
}
