package status

import (
	"context"
	"net/http"
	"strconv"
	"strings"
)

// backfillRequest is the body of what makes backfills.
type backfillRequest struct {
	BackfillRequest
	Preview bool `json:"preview"` // only count
	Confirm bool `json:"confirm"` // do it
}

// backfills answers the list of jobs.
func (a *api) backfills(ctx context.Context, c *call) (any, error) {
	ended := c.URL.Query().Get("ended")
	if ended != "" && ended != "true" && ended != "false" {
		return nil, badRequest("invalid_request", "ended: it is true or false", "")
	}
	return listed("backfills", func(ctx context.Context) ([]JobLine, error) { return a.desk.ListJobs(ctx, ended == "true") })(ctx)
}

// backfill answers one job.
func (a *api) backfill(ctx context.Context, c *call) (any, error) {
	id, err := c.job()
	if err != nil {
		return nil, err
	}
	return a.desk.Job(ctx, id)
}

// job is the number in the path.
func (c *call) job() (int64, error) {
	id, err := strconv.ParseInt(c.PathValue("id"), 10, 64)
	if err != nil || id < 1 {
		return 0, &Refusal{http.StatusNotFound, "not_found", "there is no job " + c.PathValue("id"), "GET /api/v1/backfills"}
	}
	return id, nil
}

// setBackfill pauses, resumes or cancels a job.
func (a *api) setBackfill(ctx context.Context, c *call, action string) (any, error) {
	if err := c.decode(&struct{}{}); err != nil {
		return nil, err
	}
	id, err := c.job()
	if err != nil {
		return nil, err
	}
	c.audit.Action, c.audit.What = action+"-backfill", "job "+c.PathValue("id")
	line, err := a.desk.SetJob(ctx, id, action)
	if err != nil {
		return nil, err
	}
	c.audit.Done = 1
	return line, nil
}

// makeBackfill counts what a request comes to, or makes the jobs.
func (a *api) makeBackfill(ctx context.Context, c *call) (any, error) {
	var r backfillRequest
	if err := c.decode(&r); err != nil {
		return nil, err
	}
	switch {
	case r.Preview && r.Confirm:
		return nil, badRequest("invalid_request", "preview and confirm contradict each other", "")
	case !r.Preview && !r.Confirm:
		return nil, &Refusal{http.StatusConflict, "confirmation_required", "records are not sent without confirmation", `"preview": true counts them, "confirm": true does it`}
	case r.Confirm:
		c.audit.Action, c.audit.What = "backfill", "rules "+strings.Join(r.Rules, ", ")
	}
	plans, jobs, err := a.desk.Backfill(ctx, r.BackfillRequest, r.Preview)
	if err != nil {
		return nil, err
	}
	if jobs == nil {
		jobs = []JobLine{}
	}
	c.audit.Done = int64(len(jobs))
	return map[string]any{"plans": plans, "backfills": jobs}, nil
}
