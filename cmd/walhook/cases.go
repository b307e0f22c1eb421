package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"walhook/cdc"
	"walhook/delivery"
	"walhook/rules"
)

// caseFile is what `walhook rules test` reads.
type caseFile struct {
	Cases []ruleCase `toml:"cases"`
}

// ruleCase is one change that somebody made up, and what should become of it.
type ruleCase struct {
	Name    string         `toml:"name"`    // default: the rule and the line
	Rule    string         `toml:"rule"`    // required
	Op      string         `toml:"op"`      // default what before and after say: create, write, unlink; or the rule: schedule, message
	ID      int64          `toml:"id"`      // of the record; default 1
	Before  map[string]any `toml:"before"`  // of a write, the fields that were different; of an unlink, the record
	After   map[string]any `toml:"after"`   // the record; what is not named is NULL
	Message map[string]any `toml:"message"` // of a rule on message, instead of before and after: event, model, id, data
	Related map[string]any `toml:"related"` // rows by field, dotted path or model
	User    int64          `toml:"user"`    // who wrote it: write_uid
	Now     time.Time      `toml:"now"`     // of the commit; default the present

	Expect    *bool          `toml:"expect"`    // that the rule matches; default true
	Payload   map[string]any `toml:"payload"`   // members that the record in the body must have
	Exact     bool           `toml:"exact"`     // and no others
	Null      []string       `toml:"null"`      // members that must be null, for which TOML has no word
	Event     string         `toml:"event"`     // the event's name
	Endpoints []string       `toml:"endpoints"` // who gets it
	Error     string         `toml:"error"`     // that the rule fails, with a text that holds this

	file string
	line int
}

// caseResult is what came of a case, as --json prints it.
type caseResult struct {
	File     string   `json:"file"`
	Line     int      `json:"line"`
	Name     string   `json:"name"`
	Rule     string   `json:"rule"`
	OK       bool     `json:"ok"`
	Problems []string `json:"problems,omitempty"`
}

// readCases reads a file of cases, strictly.
func readCases(path string) ([]ruleCase, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, &failure{err: fmt.Errorf("read cases: %w", err), code: exitUsage, hint: "write [[cases]] into it, with rule, before and after: docs/rules.md has examples"}
	}
	doc, err := parseDocument(path, text)
	if err != nil {
		return nil, err
	}
	doc.public = true
	tree := treeOf(reflect.TypeFor[caseFile]())
	anything := &keyTree{shape: aThing}
	anything.any, anything.elem = anything, anything
	for _, key := range []string{"before", "after", "message", "related", "payload"} {
		tree.keys["cases"].keys[key] = &keyTree{shape: aTable, any: anything}
	}
	tree.keys["cases"].keys["now"] = &keyTree{shape: aTime}
	if problems := checkTree(doc, tree); len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	var file caseFile
	if err := toml.Unmarshal(text, &file); err != nil {
		return nil, decodeProblem(doc, &expansion{text: text}, err)
	}
	if len(file.Cases) == 0 {
		return nil, usagef("write [[cases]] with rule, after and expect", "%s has no cases", path)
	}
	for i := range file.Cases {
		c := &file.Cases[i]
		c.file = path
		if e := doc.find(fmt.Sprintf("cases[%d]", i)); e != nil {
			c.line, _ = doc.position(e.key.from)
		}
		if c.Name == "" {
			c.Name = fmt.Sprintf("%s, line %d", c.Rule, c.line)
		}
	}
	return file.Cases, nil
}

// caseRunner runs cases. Each rule is compiled once.
type caseRunner struct {
	*workbench
	sets map[string]*rules.Set
}

// run runs one case. An error is a mistake in the case or the configuration, not a result.
func (t *caseRunner) run(ctx context.Context, c *ruleCase) (*caseResult, error) {
	result := &caseResult{File: c.file, Line: c.line, Name: c.Name, Rule: c.Rule}
	set := t.sets[c.Rule]
	if set == nil {
		at, err := t.cfg.ruleIndex(c.Rule)
		if err != nil {
			return nil, c.at(err)
		}
		if set, err = t.compile([]int{at}, func(r *rules.Config) { r.Traced, r.Sample = true, nil }); err != nil {
			return nil, err
		}
		t.sets[c.Rule] = set
	}
	r := set.Rules()[0]
	change, related, err := c.change(t.workbench, r)
	if err != nil {
		return nil, c.at(err)
	}
	now := c.Now
	if now.IsZero() {
		now = time.Now()
	}
	tx := t.tx(now.UTC(), change)
	plain := map[string]delivery.EndpointConfig{} // whatever the endpoints' formats: the record is compared
	for name, endpoint := range t.cfg.Endpoints {
		plain[name] = delivery.EndpointConfig{URL: endpoint.URL}
	}
	got, err := t.planFor(ctx, set, plain, related, tx)
	if err != nil {
		return nil, c.at(err)
	}
	if len(related.missing) > 0 {
		return nil, c.at(usagef(fmt.Sprintf("give it in the case: related.%q = [{ id = %s }]", strings.Fields(related.missing[0])[0], strings.Fields(related.missing[0])[1]),
			"the rule reads %s, which the case does not give", strings.Join(related.missing, " and ")))
	}
	result.Problems = c.judge(got)
	if want := c.Expect == nil || *c.Expect; want && c.Error == "" && (len(got.matched) == 0 || got.onlyEchoes()) && len(got.parked) == 0 {
		e := (&explainer{workbench: t.workbench, loader: related}).reasons(ctx, set, r, tx, change, got)
		result.Problems = append(result.Problems, e.Verdict)
	}
	result.OK = len(result.Problems) == 0
	return result, nil
}

// at puts the place of the case before a complaint.
func (c *ruleCase) at(err error) error {
	return &failure{err: fmt.Errorf("%s:%d: %s: %w", c.file, c.line, c.Name, err), code: exitUsage, hint: hintOf(err)}
}

// change makes the change of a case.
func (c *ruleCase) change(w *workbench, r *rules.Rule) (*cdc.Change, *fixtures, error) {
	if c.Message != nil || slices.Contains(r.Ops(), cdc.Message) {
		return c.messageChange(w, r)
	}
	op, err := c.operation(r)
	if err != nil {
		return nil, nil, err
	}
	id := c.ID
	if id == 0 {
		id = 1
	}
	record := &fixture{rowDraft: emptyDraft(r.Table, r.Odoo, nil), id: id}
	record.ignore = r.Ignore
	if len(r.Table.PrimaryKey) == 1 && record.rel.Column("id") >= 0 {
		if err := record.set("id", id); err != nil {
			return nil, nil, err
		}
	}
	fields := c.After
	if op == cdc.Unlink {
		fields = c.Before
	}
	if err := record.setAll(fields); err != nil {
		return nil, nil, err
	}
	if i := record.rel.Column("write_uid"); c.User != 0 {
		if i < 0 {
			return nil, nil, usagef("leave user out", "%s does not say who wrote a row", r.Table)
		}
		if err := record.set("write_uid", c.User); err != nil {
			return nil, nil, err
		}
	}
	related := newFixtures(w.catalog)
	if err := related.addAll(record, c.Related); err != nil {
		return nil, nil, err
	}
	out := &cdc.Change{Op: op, Rel: record.rel, Key: record.key(), Writes: 1, Raw: r.EachWrite}
	switch op {
	case cdc.Create, cdc.Schedule:
		out.After = record.row()
	case cdc.Unlink:
		out.Before = record.row()
	default:
		before := record.clone()
		if len(r.IgnoreUsers) > 0 {
			before.writeAnew()
		}
		if err := before.setAll(c.Before); err != nil {
			return nil, nil, err
		}
		out.Before, out.After = before.row(), record.row()
	}
	return out, related, nil
}

// operation is what the case says, or what before and after tell.
func (c *ruleCase) operation(r *rules.Rule) (cdc.Op, error) {
	if r.Schedule != nil {
		if c.After == nil || c.Before != nil || c.Op != "" && c.Op != cdc.Schedule.String() {
			return 0, usagef("write after alone, the record as it is", "a rule on schedule looks at records as they are")
		}
		return cdc.Schedule, nil
	}
	var told cdc.Op
	switch {
	case c.Before != nil && c.After != nil:
		told = cdc.Write
	case c.After != nil:
		told = cdc.Create
	case c.Before != nil:
		told = cdc.Unlink
	default:
		return 0, usagef("a create has after, an unlink before, a write both", "the case has neither before nor after")
	}
	if c.Op == "" || c.Op == told.String() {
		return told, nil
	}
	needs := map[string]string{"create": "after alone", "write": "after, and before with the fields that were different", "unlink": "before alone"}[c.Op]
	if needs == "" {
		return 0, usagef("the operations are create, write and unlink", "unknown operation %q", c.Op)
	}
	return 0, usagef("or leave op out", "a case of a %s has %s", c.Op, needs)
}

// judge compares what came of the case with what it says.
func (c *ruleCase) judge(got *planned) (problems []string) {
	want := c.Expect == nil || *c.Expect
	switch {
	case c.Error != "" && len(got.parked) == 0:
		return []string{fmt.Sprintf("the rule should fail with %q, and does not", c.Error)}
	case c.Error != "":
		if !strings.Contains(got.parked[0].Error, c.Error) {
			return []string{fmt.Sprintf("the rule fails with %q, and should with %q", got.parked[0].Error, c.Error)}
		}
		return nil
	case len(got.parked) > 0:
		return []string{"the rule fails: " + got.parked[0].Error}
	case want && len(got.matched) == 0:
		return []string{"the rule should match, and does not"}
	case want && got.onlyEchoes():
		return []string{"the event should be sent, and is not"}
	case !want && len(got.matched) > 0 && !got.onlyEchoes():
		return []string{"the rule matches, and should not"}
	case !want:
		return nil
	}
	var to []string
	for _, d := range got.deliveries {
		to = append(to, d.Endpoint)
	}
	if c.Endpoints != nil && !sameNames(to, c.Endpoints) {
		problems = append(problems, fmt.Sprintf("endpoints: is %s, should be %s", shownJSON(to), shownJSON(c.Endpoints)))
	}
	if len(got.deliveries) == 0 {
		return append(problems, "the rule matches, and nothing is sent")
	}
	d := got.deliveries[0]
	if c.Event != "" && d.Event != c.Event {
		problems = append(problems, fmt.Sprintf("event: is %q, should be %q", d.Event, c.Event))
	}
	if c.Payload == nil && c.Null == nil {
		return problems
	}
	return append(problems, c.compare(got.deliveries)...)
}

// compare looks for the payload among the bodies: a rule that divides a record's lines makes several.
func (c *ruleCase) compare(deliveries []*delivery.Delivery) (best []string) {
	for i, d := range deliveries {
		var body struct {
			Data struct {
				Record map[string]any `json:"record"`
			} `json:"data"`
		}
		dec := json.NewDecoder(strings.NewReader(string(d.Body)))
		dec.UseNumber()
		if err := dec.Decode(&body); err != nil {
			return []string{"the body is no JSON: " + err.Error()}
		}
		k := comparison{exact: c.Exact, null: c.Null}
		k.members("payload", c.Payload, body.Data.Record)
		if i == 0 || len(k.problems) < len(best) {
			best = k.problems
		}
		if len(best) == 0 {
			return nil
		}
	}
	return best
}
