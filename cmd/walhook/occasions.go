package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"walhook/cdc"
	"walhook/rules"
)

// imagineMessage takes the message that was given for the one that has just been emitted.
func (f *recordFlags) imagineMessage(r *rules.Rule, hears bool) (*imagined, error) {
	if !hears {
		return nil, usagef("name a record with --id or --last", "rule %q is not on message", r.Name)
	}
	content := []byte(f.message)
	if f.messageFile != "" {
		var err error
		if content, err = os.ReadFile(f.messageFile); err != nil {
			return nil, &failure{err: fmt.Errorf("read the message: %w", err), code: exitUsage}
		}
	}
	if len(content) == 0 {
		return nil, usagef(`--message '{"event": "stock.low", "data": {"qty": 3}}', or --message-file FILE`, "rule %q is on message: give one", r.Name)
	}
	c := cdc.NewMessage(content)
	if problem := rules.MessageProblem(c); problem != "" {
		return nil, usagef("such a message would be parked; write one JSON object with event, and model, id and data if there is something to say", "%s", problem)
	}
	return &imagined{change: c}, nil
}

// scheduled refuses what a rule on schedule has nothing to do with: it sees records as they are.
func (f *recordFlags) scheduled() error {
	switch {
	case f.op != "" && f.op != cdc.Schedule.String():
		return usagef("leave --op out", "a rule on schedule is on no %s", f.op)
	case f.before != "":
		return usagef("leave --before out; --set says what the record would be like", "a rule on schedule looks at records as they are: there is no before")
	}
	return nil
}

// onceNote is what no single look at a record can tell.
const onceNote = "a scheduled run sends it once, when the condition has come to hold since the run before: what earlier runs have seen is not looked at"

// unheard says why a message is none of those that a rule listens to; "" when it is one, or the change is no message.
func unheard(r *rules.Rule, c *cdc.Change) string {
	switch {
	case c.Op != cdc.Message || r.Hears(c):
		return ""
	case r.Odoo != nil && r.About(c) != r.Odoo.Name:
		return fmt.Sprintf("the rule listens to messages of the model %s, and this one's is %s", r.Odoo.Name, shownJSON(r.About(c)))
	}
	return fmt.Sprintf("the rule listens to messages %s, and to none of this name", strings.Join(r.Messages, ", "))
}

// happening is what takes place, in words.
func happening(c *cdc.Change) string {
	switch c.Op {
	case cdc.Message:
		return "this message"
	case cdc.Schedule:
		return "this record as it is now"
	}
	return fmt.Sprintf("a %s of this record as it is now", c.Op)
}

// messageChange makes the change of a case about a message.
func (c *ruleCase) messageChange(w *workbench, r *rules.Rule) (*cdc.Change, *fixtures, error) {
	if !slices.Contains(r.Ops(), cdc.Message) {
		return nil, nil, usagef("write before and after", "rule %q is not on message", r.Name)
	}
	if c.Message == nil {
		return nil, nil, usagef(`write message = { event = "stock.low", data = { qty = 3 } }`, "rule %q is on message, and the case has none", r.Name)
	}
	if c.Before != nil || c.After != nil || c.ID != 0 || c.User != 0 {
		return nil, nil, usagef("say what it holds in message, and what is behind it in related", "a message has no record of its own: before, after, id and user do not go with it")
	}
	if c.Op != "" && c.Op != cdc.Message.String() {
		return nil, nil, usagef("leave op out", "a case with message is about no %s", c.Op)
	}
	content, err := json.Marshal(c.Message)
	if err != nil {
		return nil, nil, usagef("JSON has no word for inf and nan", "the message cannot be written as JSON: %v", err)
	}
	change := cdc.NewMessage(content)
	if problem := rules.MessageProblem(change); problem != "" {
		return nil, nil, usagef(`write message = { event = "stock.low", data = { qty = 3 } }`, "%s", problem)
	}
	related := newFixtures(w.catalog)
	about, below := map[string]any{}, map[string]any{}
	for name, value := range c.Related {
		if path, ok := strings.CutPrefix(name, cdc.MessageRecord+"."); ok {
			below[path] = value
		} else if name != cdc.MessageRecord {
			about[name] = value
		}
	}
	var record *fixture
	if given, ok := c.Related[cdc.MessageRecord]; ok || len(below) > 0 {
		if r.Odoo == nil {
			return nil, nil, usagef("give the rule a model", "rule %q does not say of what model the record of a message is", r.Name)
		}
		fields, _ := given.(map[string]any)
		id, _ := c.Message["id"].(int64)
		if record, err = related.add(r.Odoo, fields, id); err != nil {
			return nil, nil, fmt.Errorf("related %q: %w", cdc.MessageRecord, err)
		}
	}
	if record == nil {
		if i := slices.IndexFunc(slices.Sorted(maps.Keys(about)), func(name string) bool { return w.catalog.Model(name) == nil }); i >= 0 {
			name := slices.Sorted(maps.Keys(about))[i]
			return nil, nil, usagef("rows behind the record of a message go by record, record.field, or a model", "related %q is neither record nor a model", name)
		}
	}
	if err := related.addAll(record, about); err != nil {
		return nil, nil, err
	}
	return change, related, related.addAll(record, below)
}
