package status

import (
	"context"
	"strconv"
	"time"

	"walhook/delivery"
)

// JobLine is a walk through the rows of a table: a backfill, a part of a resync, or the taking of images.
type JobLine struct {
	ID        int64     `json:"id"`
	Kind      string    `json:"kind"`                // "backfill", "resync" or "image"
	State     string    `json:"state"`               // "queued", "running", "paused", "done", "cancelled" or "failed"
	Rule      string    `json:"rule,omitempty"`      // "" of images
	Endpoints []string  `json:"endpoints,omitempty"` // of the rule's, those that are sent to; left out for all
	Model     string    `json:"model,omitempty"`
	Table     string    `json:"table"`
	Where     string    `json:"where,omitempty"` // further condition
	Rate      float64   `json:"rate,omitempty"`  // events a second
	Limit     int64     `json:"limit,omitempty"` // events after which it is done
	Rows      int64     `json:"rows"`            // looked at
	Total     int64     `json:"total"`           // rows to look at, as counted or estimated when it was made; 0 when that is not known
	Events    int64     `json:"events"`          // that came of the rows
	Sent      int64     `json:"sent"`            // deliveries that were queued
	Parked    int64     `json:"parked"`          // events whose rule failed
	After     []string  `json:"after,omitempty"` // key up to which it has come
	Waits     string    `json:"waits,omitempty"` // what it waits for
	Error     string    `json:"error,omitempty"` // why it failed
	Made      time.Time `json:"made_at"`
	Begun     time.Time `json:"begun_at,omitzero"`
	Moved     time.Time `json:"moved_at,omitzero"` // when a step was committed last
	Ended     time.Time `json:"ended_at,omitzero"`
}

// LineOfJob shows a job.
func LineOfJob(j *delivery.Job) JobLine {
	return JobLine{ID: j.ID, Kind: string(j.Kind), State: string(j.State), Rule: j.Rule, Endpoints: j.Endpoints, Model: j.Model, Table: j.Schema + "." + j.Table, Where: j.Where,
		Rate: j.Rate, Limit: j.Limit, Rows: j.Rows, Total: j.Total, Events: j.Events, Sent: j.Sent, Parked: j.Parked, After: j.After, Waits: j.Waits, Error: j.Error,
		Made: j.Made, Begun: j.Begun, Moved: j.Moved, Ended: j.Ended}
}

// Percent is how much of the rows has been looked at.
func (l JobLine) Percent() int64 {
	if l.Total == 0 {
		return 0
	}
	return min(100*l.Rows/l.Total, 100)
}

var (
	jobRows   = gauge("job_rows", "Rows that a job (a backfill, a part of a resync, the taking of images) that has not ended has looked at.", "job", "kind", "rule")
	jobTotal  = gauge("job_total_rows", "Rows that the job is to look at, as counted or estimated when it was made.", "job", "kind", "rule")
	jobSent   = gauge("job_sent", "Deliveries that the job has queued.", "job", "kind", "rule")
	jobParked = gauge("job_parked", "Events of the job whose rule failed.", "job", "kind", "rule")
	jobIs     = gauge("job_state", "1 for the job's present state: queued, running, paused or failed.", "job", "kind", "rule", "state")
)

// jobFamilies are the metrics of jobs.
var jobFamilies = []family{jobRows, jobTotal, jobSent, jobParked, jobIs}

// collectJobs sends the figures of jobs that have not ended.
func (d *Document) collectJobs(send func(f family, v float64, labels ...string)) {
	for _, j := range d.Backfills {
		id := strconv.FormatInt(j.ID, 10)
		send(jobRows, float64(j.Rows), id, j.Kind, j.Rule)
		send(jobTotal, float64(j.Total), id, j.Kind, j.Rule)
		send(jobSent, float64(j.Sent), id, j.Kind, j.Rule)
		send(jobParked, float64(j.Parked), id, j.Kind, j.Rule)
		send(jobIs, 1, id, j.Kind, j.Rule, j.State)
	}
}

// BackfillRequest asks for events of the records that there are.
type BackfillRequest struct {
	Rules    []string `json:"rules"`
	Where    string   `json:"where,omitempty"`    // further condition, in the language of rules
	Endpoint string   `json:"endpoint,omitempty"` // of the rules', the one that is sent to; "" for all
	Rate     float64  `json:"rate,omitempty"`     // events a second; 0 for as many as there is room for
	Limit    int64    `json:"limit,omitempty"`    // events; 0 for no limit
}

// BackfillPlan is what a request comes to for one rule.
type BackfillPlan struct {
	Rule      string   `json:"rule"`
	Table     string   `json:"table"`
	Endpoints []string `json:"endpoints"`
	Rows      int64    `json:"rows"`     // of the table
	Selected  int64    `json:"selected"` // of these, those that the condition lets pass as far as SQL can tell
	Exact     bool     `json:"exact"`    // it says all that the condition says, and was counted
}

// JobDesk looks at jobs and acts on them.
type JobDesk interface {
	// ListJobs returns jobs, the newest first; without ended only those that have not.
	ListJobs(ctx context.Context, ended bool) ([]JobLine, error)
	Job(ctx context.Context, id int64) (*JobLine, error)
	// SetJob pauses, resumes or cancels a job.
	SetJob(ctx context.Context, id int64, action string) (*JobLine, error)
	// Backfill says what a request comes to and, unless it is a preview, makes the jobs.
	Backfill(ctx context.Context, r BackfillRequest, preview bool) (plans []BackfillPlan, jobs []JobLine, err error)
}

// The actions on a job.
const (
	JobPause  = "pause"
	JobResume = "resume"
	JobCancel = "cancel"
)
