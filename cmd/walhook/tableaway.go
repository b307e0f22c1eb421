package main

import (
	"slices"

	"walhook/cdc/catalog"
	"walhook/rules"
)

// keep lets rules whose table is gone go on as they were: it may have been renamed for a moment only, or made anew, and what was committed before is
// read from WAL after that. Without it they would watch nothing, and nobody would be told of what is written once the table is back.
// They are listed as unfit until then.
func (s *survey) keep(c *Config, before *survey) error {
	if before == nil {
		return nil
	}
	var tables []*catalog.Table
	for _, u := range s.unfit {
		if u.Parks {
			continue
		}
		if i := slices.IndexFunc(before.rules.Rules(), func(r *rules.Rule) bool { return r.Name == u.Name }); i >= 0 && before.rules.Rules()[i].Table != nil {
			tables = append(tables, before.rules.Rules()[i].Table)
		}
	}
	with := s.catalog.Keeping(before.catalog, tables)
	if with == s.catalog {
		return nil
	}
	set, unfit, err := c.settings().CompileFitting(c.Rules, with)
	if err != nil {
		return c.ruleProblems(err)
	}
	s.kept = map[string]bool{}
	for _, u := range s.unfit {
		if !slices.ContainsFunc(unfit, func(o *rules.Unfit) bool { return o.Rule == u.Rule }) {
			s.kept[u.Name] = true
			unfit = append(unfit, u)
		}
	}
	slices.SortFunc(unfit, func(a, b *rules.Unfit) int { return a.Rule - b.Rule })
	s.catalog, s.rules, s.unfit = with, set, unfit
	return nil
}
