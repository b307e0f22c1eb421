package main

import (
	"context"
	"fmt"
	"slices"

	"walhook/state"
)

// warnUnknown says, when nothing was selected, that an endpoint or a rule was never heard of: it is neither in the
// configuration nor in the state.
func (f *filterFlags) warnUnknown(ctx context.Context, a *app, db *state.DB) error {
	if f.endpoint == "" && f.rule == "" {
		return nil
	}
	cfg, err := a.load()
	if err != nil {
		return err
	}
	endpoints, err := db.Endpoints(ctx)
	if err != nil {
		return environmentError(err, "")
	}
	rules, err := db.Rules(ctx)
	if err != nil {
		return environmentError(err, "")
	}
	knownEndpoints, knownRules := []string{}, []string{}
	for name := range cfg.Endpoints {
		knownEndpoints = append(knownEndpoints, name)
	}
	for _, e := range endpoints {
		knownEndpoints = append(knownEndpoints, e.Name)
	}
	for _, r := range cfg.Rules {
		knownRules = append(knownRules, r.Name)
	}
	for _, r := range rules {
		knownRules = append(knownRules, r.Name)
	}
	for _, asked := range []struct {
		what, name string
		known      []string
	}{{"endpoint", f.endpoint, knownEndpoints}, {"rule", f.rule, knownRules}} {
		if asked.name == "" || slices.Contains(asked.known, asked.name) {
			continue
		}
		slices.Sort(asked.known)
		hint := ""
		if s := nearest(asked.name, asked.known); s != "" {
			hint = fmt.Sprintf("; did you mean %q?", s)
		}
		fmt.Fprintf(a.stderr, "warning: there is no %s %q, neither in the configuration nor in the state%s\n", asked.what, asked.name, hint)
	}
	return nil
}
