package main

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"walhook/delivery"
	"walhook/state"
)

// filterFlags are the flags that select deliveries, dead letters and parked events.
type filterFlags struct {
	state, endpoint, rule, model, record, message string
	since, until                                  string
	limit                                         int
	before                                        int64
}

func (f *filterFlags) register(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.endpoint, "endpoint", "", "only this endpoint")
	flags.StringVar(&f.rule, "rule", "", "only this rule")
	flags.StringVar(&f.model, "model", "", "only this model, such as sale.order")
	flags.StringVar(&f.record, "record", "", "only this record, by its id")
	flags.StringVar(&f.message, "error", "", "only those whose error holds this text")
	flags.StringVar(&f.since, "since", "", "only those queued since: 2h, 3d, 2026-03-01 or 2026-03-01T12:00:00Z")
	flags.StringVar(&f.until, "until", "", "only those queued before: as --since")
}

// empty says that nothing was asked for: everything would be selected.
func (f *filterFlags) empty() bool {
	return f.endpoint+f.rule+f.model+f.record+f.message+f.since+f.until == ""
}

func (f *filterFlags) filter(ids []string, now time.Time) (state.Filter, error) {
	out := state.Filter{
		State: state.State(f.state), IDs: ids, Endpoint: f.endpoint, Rule: f.rule, Model: f.model, Record: f.record, Error: f.message, Limit: f.limit, Before: f.before,
	}
	var err error
	if out.Since, err = moment("--since", f.since, now); err != nil {
		return out, err
	}
	out.Until, err = moment("--until", f.until, now)
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
		return time.Time{}, usagef("write how long ago (2h, 3d), a day (2026-03-01) or an instant (2026-03-01T12:00:00Z); times are UTC", "%s: %q is no time", flag, text)
	}
	return now.Add(-ago.Std()), nil
}
