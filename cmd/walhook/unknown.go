package main

import (
	"context"
	"fmt"
	"slices"

	"walhook/state"
)

// warnUnknown says, when nothing was selected, that an endpoint or a rule was never heard of: it is neither in the
// configuration nor in the state. Of a model it says so when no rule is about it.
func (f *filterFlags) warnUnknown(ctx context.Context, a *app, db *state.DB) error {
	if f.Endpoint == "" && f.Rule == "" && f.Model == "" {
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
	}{{"endpoint", f.Endpoint, knownEndpoints}, {"rule", f.Rule, knownRules}} {
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
	var models []string
	for _, r := range cfg.Rules {
		models = append(models, max(r.Model, r.Table)) // one of them is empty
	}
	if f.Model != "" && !slices.Contains(models, f.Model) {
		hint := ""
		if s := nearest(f.Model, models); s != "" {
			hint = fmt.Sprintf("; did you mean %q?", s)
		}
		fmt.Fprintf(a.stderr, "warning: no rule of the configuration is about %q%s\n", f.Model, hint)
	}
	return nil
}
