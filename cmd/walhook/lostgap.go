package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"walhook/cdc"
	"walhook/state"
)

// gapText words, for the message of a slot that is missing or lost, since when changes were missed and what they concern; resync --dry-run says all of it.
func (c *Config) gapText(ctx context.Context, db *state.DB, position cdc.LSN) string {
	if l, err := db.Landmark(ctx, position); err == nil { // else others say that the state is away
		return c.missedText(l.At)
	}
	return c.missedText(time.Time{})
}

// missedText is gapText with the time since when; zero when that is not known.
func (c *Config) missedText(since time.Time) string {
	var names, on []string
	for i := range c.Rules {
		r := &c.Rules[i]
		if r.Active != nil && !*r.Active {
			continue
		}
		names = append(names, r.Name)
		if of := orElse(r.Model, r.Table); of != "" && !slices.Contains(on, of) {
			on = append(on, of)
		}
	}
	if since.IsZero() && len(names) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("; changes are missed")
	if !since.IsZero() {
		fmt.Fprintf(&b, " since %s or later", instant(since))
	}
	if len(names) > 0 {
		if !since.IsZero() {
			b.WriteString(",")
		}
		fmt.Fprintf(&b, " by %s (%s)", plural(len(names), "rule"), shortList(names, 4))
	}
	if len(on) > 0 {
		fmt.Fprintf(&b, " on %s", shortList(on, 4))
	}
	return b.String()
}

// missedError is an error with since when changes are missed and what they concern.
type missedError struct {
	err error
	gap string
}

func (e *missedError) Error() string { return e.err.Error() + e.gap }
func (e *missedError) Unwrap() error { return e.err }

// tellGap completes the errors that say that changes are missed: a slot that is missing or lost, or that was confirmed past the position.
func tellGap(err error, gap func() string) error {
	var all []error
	for _, e := range flatten(err) {
		if missesChanges(e) {
			e = &missedError{e, gap()}
		}
		all = append(all, e)
	}
	return errors.Join(all...)
}

func missesChanges(err error) bool {
	var told *missedError
	var slot *cdc.SlotError
	var guard *cdc.GuardError
	var position *cdc.PositionError
	switch {
	case errors.As(err, &told):
		return false
	case errors.As(err, &guard):
		return guard.Dropped
	case errors.As(err, &slot):
		return (slot.Problem == cdc.SlotMissing || slot.Problem == cdc.SlotLost) && slot.Position != 0
	case errors.As(err, &position):
		return position.Problem == cdc.PositionBehind
	}
	return false
}

// tellStoredGap is tellGap by the position that the state holds.
func (c *Config) tellStoredGap(ctx context.Context, db *state.DB, err error) error {
	return tellGap(err, func() string {
		if position, err := db.StoredPosition(ctx); err == nil {
			return c.gapText(ctx, db, position.LSN)
		}
		return c.missedText(time.Time{})
	})
}

// gapPatience bounds how long the state is asked since when changes are missed: it may be what is away.
const gapPatience = 3 * time.Second

// gap is gapText of a running process, by the configuration in force. Where the state does not answer, it goes by what was seen of the slot last.
func (p *pipeline) gap() string {
	ctx, cancel := context.WithTimeout(context.Background(), gapPatience)
	defer cancel()
	cfg := p.current().cfg
	if position, err := p.db.StoredPosition(ctx); err == nil {
		if l, err := p.db.Landmark(ctx, position.LSN); err == nil {
			return cfg.missedText(l.At)
		}
	}
	return cfg.missedText(p.slot.confirmedAt())
}
