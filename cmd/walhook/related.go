package main

import (
	"context"

	"walhook/cdc"
	"walhook/delivery"
	"walhook/rules"
)

// relatedRows looks up what rules refer to, in the source as it is now. It translates between rules, which may not
// know how rows are fetched, and cdc, which may not know rules.
type relatedRows struct{ live *cdc.Live }

// Load fetches the rows: one query for each table.
func (r relatedRows) Load(ctx context.Context, refs []rules.Ref) (rules.Related, error) {
	wanted := make([]cdc.Ref, len(refs))
	for i, ref := range refs {
		wanted[i] = cdc.Ref(ref)
	}
	return r.live.Load(ctx, wanted)
}

func (r relatedRows) loader() delivery.Loader {
	l, _ := any(r).(delivery.Loader)
	return l
}
