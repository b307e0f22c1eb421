package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"walhook/cdc"
	"walhook/delivery"
	"walhook/state"
)

// membershipLost says that a membership ended by nothing but another process's having taken over.
func membershipLost(err error) bool {
	var away *cdc.AwayError // it left the database, and with it perhaps its right to read
	lost := errors.Is(err, delivery.ErrSuperseded) || errors.Is(err, state.ErrLeaseLost) || errors.As(err, &away)
	return lost && exitCode(classify(err)) != exitEnvironment
}

// rejoin begins a new membership as soon as source and state let it; nil without an error when ctx ends before that.
func (p *pipeline) rejoin(ctx context.Context) (*member, error) {
	for pause := time.Second; p.gate.Wait(ctx, nil); pause = min(2*pause, 10*time.Second) {
		before := p.survey.unfit
		s, err := p.inspect(ctx, p.cfg, true)
		if err == nil {
			p.survey = s
			p.noteUnfit(before, s)
			p.metadata.later(len(s.kept) > 0)
			limitMemoryAnew(p.cfg)
			var m *member
			if m, err = p.join(ctx, p.terms, false); err == nil {
				return m, nil
			}
		}
		if ctx.Err() != nil {
			break
		}
		if !passes(err) {
			return nil, fmt.Errorf("join again: %w", err)
		}
		withHint(p.warn(err), err).Dur("retry_in_ms", pause).Msg("cannot join yet")
		select {
		case <-ctx.Done():
			return nil, nil
		case <-time.After(pause):
		}
	}
	return nil, nil
}

// passingClasses are classes of SQLSTATE: connection, rollback, resources, object state, operator, system.
var passingClasses = []string{"08", "40", "53", "55", "57", "58"}

// passes says whether all that is wrong heals by itself: a server that is away, busy or restarting, a slot in use.
func passes(err error) bool {
	for _, e := range flatten(err) {
		var named interface{ Temporary() bool }
		var pg *pgconn.PgError
		var network net.Error
		var connect *pgconn.ConnectError
		var slot *cdc.SlotError
		switch {
		case errors.As(e, &slot):
			if !slot.Temporary() {
				return false
			}
		case errors.As(e, &named) && named.Temporary():
		case errors.As(e, &pg):
			if !slices.ContainsFunc(passingClasses, func(class string) bool { return strings.HasPrefix(pg.Code, class) }) {
				return false
			}
		case errors.As(e, &network), errors.As(e, &connect), errors.Is(e, io.ErrUnexpectedEOF), errors.Is(e, io.EOF):
		default:
			return false
		}
	}
	return true
}

// slotPatience is how long a slot in use is waited for: the server needs a moment to notice that
// a walhook that was killed is gone.
const slotPatience = 5 * time.Second

// awaitSlot waits for a slot that somebody else streams from. A process of the same state may: then this one stands by.
func (p *pipeline) awaitSlot(ctx context.Context, facts *cdc.Facts) error {
	live, err := cdc.NewLive(p.cfg.Source.DSN.reveal(), "command", p.gate)
	if err != nil {
		return environmentError(err, "")
	}
	defer live.Close()
	for end := time.Now().Add(slotPatience); facts.Slot != nil && facts.Slot.PID != 0; {
		ours, err := live.HeldBy(ctx, p.cfg.Source.Slot, p.group)
		if err != nil {
			return environmentError(err, "")
		}
		if ours {
			return nil
		}
		pid := facts.Slot.PID
		if time.Now().After(end) {
			return environmentError(&cdc.SlotError{Slot: p.cfg.Source.Slot, Problem: cdc.SlotInUse,
				Detail: fmt.Sprintf("process %d of the server streams from it", pid),
				Remedy: fmt.Sprintf("stop the other walhook, which has another state; if it is gone and its connection lingers: SELECT pg_terminate_backend(%d)", pid)}, "")
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(250 * time.Millisecond):
		}
		health, err := live.Health(ctx, p.cfg.Source.Slot)
		if err != nil {
			return environmentError(err, "")
		}
		facts.Slot = health.Slot
	}
	return nil
}
