package main

import (
	"context"
	"fmt"

	"walhook/cdc"
	"walhook/delivery"
	"walhook/state"
)

// images finds tables whose images are not filled.
func (k *checker) images(ctx context.Context, db *state.DB) {
	s, err := db.ImageStates(ctx)
	if err != nil || s == nil {
		return // what keeps the state from being read has been told
	}
	for i := range s.Tables {
		text := s.Tables[i].Progress()
		switch {
		case text == "":
		case s.Tables[i].Job == string(delivery.JobFailed), s.Tables[i].Job == string(delivery.JobCancelled), s.Tables[i].Job == string(delivery.JobPaused):
			k.report.add(cdc.SeverityWarning, "images_filling", fmt.Sprintf("the images of some rows are missing, and the job that makes them is %s: %s", s.Tables[i].Job, text),
				"walhook backfill list names the job: mend what it says, and walhook backfill resume; without an image, what was before the first change of a row is not known")
		default:
			k.report.add(cdc.SeverityInfo, "images_filling", "the images of some rows are missing: "+text, "let walhook run: it makes them beside the stream; until then, what was before the first change of a row is not known")
		}
	}
}
