package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"walhook/cdc"
	"walhook/rules"
)

// jobList is a JobStore with one job.
type jobList struct {
	job   Job
	state JobState
	text  string
}

func (s *jobList) Jobs(context.Context) ([]*Job, error) { j := s.job; return []*Job{&j}, nil }
func (s *jobList) NoteJob(_ context.Context, _ int64, state JobState, _, failure string) error {
	s.state, s.text = state, failure
	return nil
}
func (s *jobList) JobRoom(context.Context, []string) (string, error) { return "", nil }

// openError is a JobSink that cannot open jobs.
type openError struct{ err error }

func (e openError) Open(context.Context, *Job) (JobWork, error) { return nil, e.err }

// brief is an error that passes.
type brief struct{ error }

func (brief) Temporary() bool { return true }

// A job that cannot be opened is failed, with what to do, unless that passes by itself.
func TestJobsThatCannotBeOpened(t *testing.T) {
	for name, tc := range map[string]struct {
		kind JobKind
		sink JobSink
		want string // "": it is tried again
	}{
		"mended by a person": {JobBackfill, openError{errors.New("describe t: no primary key")}, "no primary key"},
		"passes":             {JobBackfill, openError{brief{errors.New("the server is away")}}, ""},
		"another version's":  {"other", nil, "walhook backfill cancel 7"},
		"no images any more": {JobImage, NewImageSink(nil, nil), "walhook backfill cancel 7"},
	} {
		t.Run(name, func(t *testing.T) {
			store := &jobList{job: Job{ID: 7, Kind: tc.kind, Schema: "public", Table: "t"}}
			sinks := map[JobKind]JobSink{}
			if tc.sink != nil {
				sinks[tc.kind] = tc.sink
			}
			failed := 0
			r := NewJobRunner(JobRunnerConfig{Store: store, Sinks: sinks, Progress: func() cdc.Progress { return cdc.Progress{Connected: true, CaughtUp: time.Now()} },
				Trace: JobTrace{Failed: func(*Job, error) { failed++ }}}, &Ingest{})
			if _, err := r.Look(t.Context()); err != nil {
				t.Fatal(err)
			}
			if over := store.state == JobFailed; over != (tc.want != "") || over != (failed == 1) || !strings.Contains(store.text, tc.want) {
				t.Errorf("state %q, %q, failed %d times", store.state, store.text, failed)
			}
		})
	}
}

// shapeSource is an ImageSource.
type shapeSource struct {
	rel    *cdc.Relation
	hidden []string
}

func (s *shapeSource) Shape(context.Context, string, string) (*cdc.Relation, []string, error) {
	return s.rel, slices.Clone(s.hidden), nil
}

func (s *shapeSource) MayNotRead(schema, table string, columns []string) error {
	return &cdc.RefusedError{Reason: "may not read " + strings.Join(columns, ", "), Remedy: fmt.Sprintf("GRANT SELECT (%s)", strings.Join(columns, ", "))}
}

// Rows come with all that a rule reads and sends: what walhook's role may not read of it fails the job, and says so; a whole record has columns that came
// after the rules were compiled.
func TestRowsWithColumnsThatMayNotBeRead(t *testing.T) {
	whole := rules.Config{Name: "r", Model: "sale.order", On: []string{"create"}, When: `after.state == "sale"`, Endpoint: "a"}
	one := whole
	one.Fields = []string{"name"}
	relation := func(names ...string) *cdc.Relation {
		var columns []cdc.Column
		for _, n := range names {
			columns = append(columns, cdc.Column{Name: n, Type: cdc.BuiltinType(1043)})
		}
		return cdc.NewRelation(1, "public", "sale_order", 'd', columns, []string{"id"})
	}
	for name, tc := range map[string]struct {
		rule   rules.Config
		hidden []string
		want   string
	}{
		"a secret, whole record":             {whole, []string{"access_token"}, ""},
		"one that came later, whole record":  {whole, []string{"access_token", "x_later"}, "GRANT SELECT (x_later)"},
		"one that came later, one field":     {one, []string{"x_later"}, ""},
		"one of the condition":               {one, []string{"state"}, "GRANT SELECT (state)"},
		"one that is sent, and one that not": {one, []string{"name", "partner_id"}, "GRANT SELECT (name)"},
	} {
		t.Run(name, func(t *testing.T) {
			set := compileRules(t, tc.rule)
			sink := &RowSink{Source: &shapeSource{rel: relation("id", "name", "state", "partner_id", "x_new", "api_password"), hidden: tc.hidden}, Origin: cdc.FromSnapshot,
				Rules:  func(*Job) (*rules.Set, *rules.Rule, error) { return set, set.Rules()[0], nil },
				Loader: func(*rules.Set) Loader { return nil }}
			w, err := sink.Open(t.Context(), &Job{ID: 7, Schema: "public", Table: "sale_order"})
			var refused *cdc.RefusedError
			switch {
			case tc.want != "":
				if !errors.As(err, &refused) || refused.Hint() != tc.want {
					t.Errorf("got %v", err)
				}
			case err != nil:
				t.Error(err)
			default:
				columns := w.Request(&Job{}).Columns
				if slices.Contains(columns, "x_new") != (len(tc.rule.Fields) == 0) || slices.Contains(columns, "api_password") || !slices.Contains(columns, "state") {
					t.Errorf("columns %q", columns)
				}
			}
		})
	}
}
