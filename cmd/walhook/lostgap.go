package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"walhook/cdc"
	"walhook/state"
)

// gapText words, for the message of a slot that is missing or lost, since when changes were missed and what they concern; resync --dry-run says all of it.
func (c *Config) gapText(ctx context.Context, db *state.DB, position cdc.LSN) string {
	var b strings.Builder
	if l, err := db.Landmark(ctx, position); err == nil { // else others say that the state is away
		fmt.Fprintf(&b, "; changes are missed since %s or later", instant(l.At))
	}
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
	if len(names) > 0 {
		fmt.Fprintf(&b, ", by %s (%s)", plural(len(names), "rule"), shortList(names, 4))
	}
	if len(on) > 0 {
		fmt.Fprintf(&b, " on %s", shortList(on, 4))
	}
	return b.String()
}
