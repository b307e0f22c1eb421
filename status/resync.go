package status

import (
	"fmt"
	"time"
)

// ResyncState is how far a resync has come that is not over.
type ResyncState struct {
	N           int64     `json:"resync"` // its number; walhook resync show tells more
	Begun       time.Time `json:"begun_at"`
	Since       time.Time `json:"since"`        // changes from then on were missed
	JobsLeft    int64     `json:"jobs_left"`    // rules whose rows are still looked through
	JobsStuck   int64     `json:"jobs_stuck"`   // of these, failed or paused
	RowsLeft    int64     `json:"rows_left"`    // of these, about; 0 also when that is not known
	UnlinksLeft int64     `json:"unlinks_left"` // deletions to be queued
}

// ResyncLines tell how a resync under way stands, in columns for people.
func (d *Document) ResyncLines() []string {
	r := d.Resync
	if r == nil {
		return nil
	}
	text := fmt.Sprintf("resync\tresync %d is under way: about %d rows of %d rules and %d deletions left", r.N, r.RowsLeft, r.JobsLeft, r.UnlinksLeft)
	if r.JobsStuck > 0 {
		text += fmt.Sprintf("; %d rules failed or paused: walhook backfill list", r.JobsStuck)
	}
	return []string{text}
}

var (
	resyncRows    = gauge("resync_rows_left", "Rows that a resync under way has still to look at, about; 0 when there is none.")
	resyncUnlinks = gauge("resync_unlinks_left", "Deletions that a resync has found and not queued yet.")
)

// resyncFamilies are the metrics of a resync.
var resyncFamilies = []family{resyncRows, resyncUnlinks}

// collectResync sends its figures.
func (d *Document) collectResync(send func(f family, v float64, labels ...string)) {
	r := d.Resync
	if r == nil {
		r = &ResyncState{}
	}
	send(resyncRows, float64(r.RowsLeft))
	send(resyncUnlinks, float64(r.UnlinksLeft))
}
