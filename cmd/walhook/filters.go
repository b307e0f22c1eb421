package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"walhook/delivery"
	"walhook/state"
	"walhook/status"
)

// filterFlags are the flags that select deliveries, dead letters and parked events.
type filterFlags struct{ status.Selection }

// register adds the flags that fit everything, events that were never enqueued too.
func (f *filterFlags) register(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.Endpoint, "endpoint", "", "only this endpoint")
	flags.StringVar(&f.Rule, "rule", "", "only this rule")
	flags.StringVar(&f.Model, "model", "", "only this model, such as sale.order")
	flags.StringVar(&f.Record, "record", "", "only this record, by its id")
	flags.StringVar(&f.Since, "since", "", "only those queued since: 2h, 3d, 2026-03-01 or 2026-03-01T12:00:00Z")
	flags.StringVar(&f.Until, "until", "", "only those queued before: as --since")
}

// registerFailure adds the flags that tell failures apart.
func (f *filterFlags) registerFailure(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.Error, "error", "", "only those whose error holds this text")
	flags.StringVar(&f.Class, "class", "", "only failures of this class: "+strings.Join(failureClasses, ", "))
	flags.IntVar(&f.Status, "status", 0, "only those whose last answer had this HTTP status")
}

// failureClasses are what a selection's class may be.
var failureClasses = delivery.Classes()

// selectionError is a mistake in a selection, in the words of commands and of the API.
type selectionError struct {
	flag    string // "--since", "" when the message names it
	message string
	hint    string
}

func (e *selectionError) Error() string {
	if e.flag == "" {
		return e.message
	}
	return e.flag + ": " + e.message
}

// Hint returns the remedy.
func (e *selectionError) Hint() string { return e.hint }

// ExitCode says that what was asked for is at fault.
func (e *selectionError) ExitCode() int { return exitUsage }

// oneOf refuses a value that is not among those known.
func oneOf(what, value string, known []string) error {
	if value == "" || slices.Contains(known, value) {
		return nil
	}
	hint := "one of " + strings.Join(known, ", ")
	if s := nearest(value, known); s != "" {
		hint = fmt.Sprintf("did you mean %q?", s)
	}
	return &selectionError{message: fmt.Sprintf("unknown %s %q", what, value), hint: hint}
}

// filterOf translates a selection for the state. It refuses what would select nothing, or something else than was meant.
func filterOf(s status.Selection, now time.Time) (state.Filter, error) {
	out := state.Filter{
		State: state.State(s.State), IDs: s.IDs, Endpoint: s.Endpoint, Rule: s.Rule, Model: s.Model, Record: s.Record,
		Error: s.Error, Class: s.Class, Status: s.Status, Limit: s.Limit, Before: s.Before, After: s.After,
	}
	if err := oneOf("class", s.Class, failureClasses); err != nil {
		return out, err
	}
	if s.State != parkedState {
		if err := oneOf("state", s.State, loggedStates); err != nil {
			return out, err
		}
	}
	if s.Limit < 0 || s.Status < 0 || s.Before < 0 || s.After < 0 {
		return out, &selectionError{message: "limit, status, before and after are not negative"}
	}
	var err error
	if out.Since, err = moment("--since", s.Since, now); err != nil {
		return out, err
	}
	out.Until, err = moment("--until", s.Until, now)
	return out, err
}

// moment reads a time that people write: how long ago, a day, or an instant.
func moment(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, text, time.UTC); err == nil {
			return t, nil
		}
	}
	var ago delivery.Duration
	if err := ago.UnmarshalText([]byte(strings.TrimSuffix(text, " ago"))); err != nil {
		return time.Time{}, &selectionError{flag: flag, message: fmt.Sprintf("%q is no time", text),
			hint: "write how long ago (2h, 3d), a day (2026-03-01) or an instant (2026-03-01T12:00:00Z); times are UTC"}
	}
	return now.Add(-ago.Std()), nil
}
