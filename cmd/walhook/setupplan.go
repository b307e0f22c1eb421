package main

import (
	"context"
	"strings"
)

// shownPlan is what setup --dry-run --json prints.
type shownPlan struct {
	Database string      `json:"database,omitempty"`
	Slot     string      `json:"slot"`
	Role     string      `json:"role"`             // that streams
	Done     bool        `json:"done"`             // there is nothing to do
	Steps    []shownStep `json:"steps"`            // on the source; the script has the state schema besides
	Script   string      `json:"script,omitempty"` // for psql, in sections by login
}

// shownStep is a statement.
type shownStep struct {
	As  string `json:"as"` // owner: the tables' owner, or a superuser; replication: the role that streams
	SQL string `json:"sql"`
	Why string `json:"why,omitempty"`
}

// plan is a dry run that prints JSON, also when something is in the way: the error says what.
func (s *setup) plan(ctx context.Context, ownerDSN string) error {
	var script strings.Builder
	s.out = &script
	failed := s.run(ctx, ownerDSN)
	if failed != nil && script.Len() == 0 {
		return failed
	}
	p := shownPlan{Slot: s.cfg.Source.Slot, Role: s.role, Steps: []shownStep{}, Script: script.String()}
	if s.survey != nil {
		p.Database = s.survey.facts.Database
	}
	for _, step := range s.planned {
		p.Steps = append(p.Steps, shownStep{As: step.As, SQL: step.SQL, Why: step.Why})
	}
	if p.Done = p.Script == nothingToDo+"\n"; p.Done {
		p.Script = ""
	}
	if err := s.app.printJSON(p); err != nil {
		return err
	}
	return failed
}
