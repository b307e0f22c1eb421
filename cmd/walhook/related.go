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

var _ delivery.Loader = relatedRows{}

// Load fetches the rows: one query for each table.
func (r relatedRows) Load(ctx context.Context, refs []rules.Ref) (rules.Related, error) {
	wanted := make([]cdc.Ref, len(refs))
	for i, ref := range refs {
		wanted[i] = cdc.Ref(ref)
	}
	rows, err := r.live.Load(ctx, wanted)
	if err != nil {
		return nil, err
	}
	return rows, nil
}
