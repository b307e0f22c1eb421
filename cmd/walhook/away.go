package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/rs/zerolog"

	"walhook/cdc"
	"walhook/internal/periodic"
)

// noteAway logs, once for all sessions, that they leave the source's database and for how long. A process that stood still comes
// back at once: it was its successor who ended its sessions, and needs nothing but the slot.
func (p *pipeline) noteAway(away *cdc.AwayError) {
	if away.Kicked() && p.pulse.beat() {
		p.gate.Open()
		p.log.Warn().Msg("this process stood still: its sessions were ended meanwhile")
		return
	}
	p.log.Warn().Time("until", away.Until).Str("reason", away.Why).Str("hint", away.Hint()).Msg("staying away from the database")
}

// warn begins the line of a failure. While walhook stays away, which it has said, everything fails for that
// one reason.
func (p *pipeline) warn(err error) *zerolog.Event {
	var away *cdc.AwayError
	if errors.As(err, &away) {
		return p.log.Debug()
	}
	return p.log.Warn()
}

// notAway leaves out what went wrong only because walhook was stopped while it stayed away: its lanes are given back when the lease
// ends, or when the next one starts on this machine.
func notAway(err error) error {
	var all []error
	for _, e := range flatten(err) {
		var away *cdc.AwayError
		if !errors.As(e, &away) {
			all = append(all, e)
		}
	}
	return errors.Join(all...)
}

// Bounds of the pause after our sessions were ended while walhook was starting: as [cdc.NewGate]'s.
const kickedMin, kickedMax = 10 * time.Second, 30 * time.Second

// comeBack opens a pipeline, and again when the database was wanted by somebody else meanwhile: an administrator has
// ended the sessions, as Odoo does before it duplicates the database, or `walhook detach` was run. All sessions are closed while it waits.
func comeBack(ctx context.Context, log zerolog.Logger, open func() (*pipeline, error)) (*pipeline, error) {
	for {
		p, err := open()
		var ended *pgconn.PgError
		var away *cdc.AwayError
		var until time.Time
		switch {
		case err == nil:
			return p, nil
		case errors.As(err, &away):
			until = away.Until
		case errors.As(err, &ended) && ended.Code == "57P01":
			until = time.Now().Add(kickedMin + rand.N(kickedMax-kickedMin))
		default:
			return nil, err
		}
		withHint(log.Warn().Time("until", until), err).Msg("not started yet: staying away from the database")
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(time.Until(until)):
		}
	}
}

// detachEvery is how often a running process looks whether it is asked to leave the database.
const detachEvery = time.Second

// watchDetachment leaves the source's database when `walhook detach` asks for it, and comes back when the time is over by this
// machine's clock, or when the wish is taken back where that can be seen from outside.
func (p *pipeline) watchDetachment(ctx context.Context) error {
	asked := ""
	return periodic.Run(ctx, detachEvery, func() error {
		d, err := p.db.Detached(ctx)
		away := p.gate.Away()
		switch {
		case err != nil: // the state is away, or left with the source: there is nothing to see
		case d != nil:
			asked = d.Why
			p.gate.StayAway(d.For, d.Why)
		case asked != "" && away != nil && away.Why == asked:
			p.log.Info().Msg("coming back: the wish to stay away was taken back")
			p.gate.Open()
		}
		return nil
	})
}

// detached refuses to start while `walhook detach` is in force.
func (p *pipeline) detached(ctx context.Context) error {
	d, err := p.db.Detached(ctx)
	if err != nil || d == nil {
		return environmentError(err, "")
	}
	return environmentError(&cdc.AwayError{Until: time.Now().Add(d.For), Why: d.Why}, "")
}
