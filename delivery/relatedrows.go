package delivery

import (
	"errors"
	"slices"

	"walhook/cdc"
	"walhook/rules"
)

// relatedRows are rows that were fetched, up to a number of bytes.
type relatedRows struct {
	rows    map[rules.Ref][]cdc.Row
	bytes   int
	max     int
	failed  map[*rules.Link]error // links whose rows could not be fetched, and why
	failure error                 // why some rows of the one change are not here
}

var _ rules.Related = (*relatedRows)(nil)

// errFull says that the rows that are being fetched take more memory than they may.
var errFull = errors.New("related rows take too much memory")

// refCost is what a Ref takes besides its rows, in bytes, roughly.
const refCost = 96

// keptRefs is the size up to which the map is cleared and used again: clearing takes time by its capacity.
const keptRefs = 8192

// Rows implements [rules.Related].
func (r *relatedRows) Rows(l *rules.Link, id int64) ([]cdc.Row, bool) {
	rows, fetched := r.rows[rules.Ref{Link: l, ID: id}]
	return rows, fetched
}

// reset forgets all rows.
func (r *relatedRows) reset() {
	if len(r.rows) > keptRefs {
		r.rows = nil
	}
	clear(r.rows)
	r.bytes, r.failed, r.failure = 0, nil, nil
}

// add takes the rows of a Ref.
func (r *relatedRows) add(ref rules.Ref, rows []cdc.Row) error {
	r.bytes += refCost
	for _, row := range rows {
		r.bytes += row.Size()
	}
	if r.bytes > r.max {
		return errFull
	}
	if r.rows == nil {
		r.rows = make(map[rules.Ref][]cdc.Row)
	}
	r.rows[ref] = rows
	return nil
}

func (r *relatedRows) fail(l *rules.Link, err error) {
	if r.failed == nil {
		r.failed = make(map[*rules.Link]error)
	}
	r.failed[l] = err
}

// compacted sorts ids and takes out repetitions, in place.
func compacted(ids []int64) []int64 {
	slices.Sort(ids)
	return slices.Compact(ids)
}
