package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"walhook/delivery"
	"walhook/state"
)

// filterFlags are the flags that select deliveries, dead letters and parked events.
type filterFlags struct {
	state, endpoint, rule, model, record string
	message, class                       string // of the last failure
	status                               int    // of the last answer
	since, until                         string
	limit                                int
	before, after                        int64
}

// register adds the flags that fit everything, events that were never enqueued too.
func (f *filterFlags) register(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.endpoint, "endpoint", "", "only this endpoint")
	flags.StringVar(&f.rule, "rule", "", "only this rule")
	flags.StringVar(&f.model, "model", "", "only this model, such as sale.order")
	flags.StringVar(&f.record, "record", "", "only this record, by its id")
	flags.StringVar(&f.since, "since", "", "only those queued since: 2h, 3d, 2026-03-01 or 2026-03-01T12:00:00Z")
	flags.StringVar(&f.until, "until", "", "only those queued before: as --since")
}

// registerFailure adds the flags that tell failures apart.
func (f *filterFlags) registerFailure(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.message, "error", "", "only those whose error holds this text")
	flags.StringVar(&f.class, "class", "", "only failures of this class: "+strings.Join(failureClasses, ", "))
	flags.IntVar(&f.status, "status", 0, "only those whose last answer had this HTTP status")
}

var failureClasses = []string{
	delivery.ClassDNS, delivery.ClassConnect, delivery.ClassTLS, delivery.ClassTimeout, delivery.ClassReset, delivery.ClassEOF, delivery.ClassProtocol, delivery.ClassNetwork,
	delivery.ClassRedirect, delivery.ClassClientError, delivery.ClassServerError, delivery.ClassStatus, delivery.ClassTooLarge, delivery.ClassConfig, delivery.ClassExpired,
}

// empty says that nothing was asked for: everything would be selected.
func (f *filterFlags) empty() bool {
	return f.endpoint+f.rule+f.model+f.record+f.message+f.class+f.since+f.until == "" && f.status == 0
}

// validate refuses what would select nothing, or something else than was meant.
func (f *filterFlags) validate() error {
	if f.class != "" && !slices.Contains(failureClasses, f.class) {
		hint := "classes: " + strings.Join(failureClasses, ", ")
		if s := nearest(f.class, failureClasses); s != "" {
			hint = fmt.Sprintf("did you mean %q?", s)
		}
		return usagef(hint, "unknown class %q", f.class)
	}
	if f.limit < 0 || f.status < 0 || f.before < 0 || f.after < 0 {
		return usagef("", "--limit, --status, --before and --after are not negative")
	}
	return nil
}

func (f *filterFlags) filter(ids []string, now time.Time) (state.Filter, error) {
	out := state.Filter{
		State: state.State(f.state), IDs: ids, Endpoint: f.endpoint, Rule: f.rule, Model: f.model, Record: f.record,
		Error: f.message, Class: f.class, Status: f.status, Limit: f.limit, Before: f.before, After: f.after,
	}
	err := f.validate()
	if err != nil {
		return out, err
	}
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
