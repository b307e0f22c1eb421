package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"walhook/rules"
	"walhook/rules/recipes"
)

// adding says how recipes are added.
type adding struct {
	endpoint, as string
	dryRun, json bool
}

// shownAdding is what recipes add --json prints.
type shownAdding struct {
	File   string       `json:"file"`
	Added  []shownAdded `json:"added"`
	Kept   []string     `json:"kept,omitempty"` // recipes of which there is a rule by that name, which stays as it is
	TOML   string       `json:"toml,omitempty"` // what was added
	DryRun bool         `json:"dry_run,omitempty"`
}

// shownAdded is a rule that was added.
type shownAdded struct {
	Rule     string `json:"rule"`
	Model    string `json:"model"`
	Endpoint string `json:"endpoint"`
}

// addRecipes adds all or none.
func (a *app) addRecipes(w *workbench, names []string, how adding) error {
	var added strings.Builder
	var problems []error
	t := a.terminal()
	shown := shownAdding{File: w.cfg.Doc.name, Added: []shownAdded{}, DryRun: how.dryRun}
	for _, name := range names {
		r, err := findRecipe(name)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		if how.as == "" && slices.ContainsFunc(w.cfg.Rules, func(c rules.Config) bool { return c.Name == name }) {
			shown.Kept = append(shown.Kept, name)
			if how.json {
				continue
			}
			if err := t.say("a rule ", name, " is there already and stays as it is; --as gives the recipe another name"); err != nil {
				return err
			}
			continue
		}
		v, err := w.variant(a, &r, how.endpoint)
		if err != nil {
			problems = append(problems, &failure{err: fmt.Errorf("recipe %s: %w", name, err), code: exitFailed, hint: recipeHint(w.catalog)})
			continue
		}
		if how.as != "" {
			v.rule = (&recipes.Variant{Rule: v.rule}).WithEndpoint("", how.as)
		}
		added.WriteString("\n" + comment(r.Title+". "+r.About) + v.rule)
	}
	if err := errors.Join(problems...); err != nil {
		return err
	}
	if added.Len() == 0 {
		if how.json {
			return a.printJSON(shown)
		}
		return nil
	}
	path := w.cfg.Doc.name
	text, err := os.ReadFile(path)
	if err != nil {
		return &failure{err: fmt.Errorf("read configuration: %w", err), code: exitUsage}
	}
	block := added.String()
	if len(text) > 0 && text[len(text)-1] != '\n' {
		block = "\n" + block
	}
	// Whole, since a name can be taken, or a table open at the end of the file that swallows what follows.
	after, err := parseConfig(path, append(text[:len(text):len(text)], block...), a.env)
	if err != nil {
		return err
	}
	if _, err := after.compile(w.catalog); err != nil {
		return err
	}
	shown.TOML = strings.TrimPrefix(added.String(), "\n")
	for _, r := range after.Rules[len(w.cfg.Rules):] {
		shown.Added = append(shown.Added, shownAdded{Rule: r.Name, Model: r.Model, Endpoint: how.endpoint})
	}
	if how.dryRun {
		if how.json {
			return a.printJSON(shown)
		}
		_, err := fmt.Fprint(a.stdout, shown.TOML)
		return err
	}
	if err := appendFile(path, block); err != nil {
		return &failure{err: fmt.Errorf("write configuration: %w", err), code: exitFailed}
	}
	if how.json {
		return a.printJSON(shown)
	}
	for _, r := range shown.Added {
		if err := t.say("added ", r.Rule, " on ", r.Model, " to ", path); err != nil {
			return err
		}
	}
	return t.say("next: walhook check tells whether the database is ready for it, walhook setup makes it so, walhook reload lets a running walhook use it")
}

// appendFile adds to a file in one write, and takes it back if it was not written whole. The file keeps its owner and its mode.
func appendFile(path, text string) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer func() {
		if end := f.Close(); err == nil {
			err = end
		}
	}()
	before, err := f.Stat()
	if err != nil {
		return err
	}
	if _, err := f.WriteString(text); err != nil {
		return errors.Join(err, f.Truncate(before.Size()))
	}
	return f.Sync()
}
