package delivery

import (
	"context"
	"encoding/json"
	"fmt"

	"walhook/cdc"
)

// ImagesBefore are images of rows as they were before changes were missed.
type ImagesBefore struct {
	Kept      bool     // images are kept of the table
	Comparing bool     // those from before are still there: each row that there was then has one
	Shapes    [][]byte // by number, see [ImageTable]
	Images    []Image
}

// BeforeStore holds images from before changes were missed, until a resync has compared the rows with them (A7). Package state implements it.
type BeforeStore interface {
	// ImagesBefore returns those of some rows of a table.
	ImagesBefore(ctx context.Context, schema, table string, keys []string) (*ImagesBefore, error)
}

// jobSpec is what jobs of resyncs want to know besides, as JSON.
type jobSpec struct {
	Compare bool `json:"compare,omitempty"` // rows are compared with their images from before
}

// CompareSpec is the Spec of a job of a resync that compares rows with their images from before the gap: every row is looked at, and one that differs is
// a write with its row before.
var CompareSpec = json.RawMessage(`{"compare": true}`)

// Compares says that the job has [CompareSpec].
func (j *Job) Compares() bool {
	var s jobSpec
	return j.Kind == JobResync && len(j.Spec) > 0 && json.Unmarshal(j.Spec, &s) == nil && s.Compare
}

// rowsBefore are rows from before, by key.
type rowsBefore map[string]cdc.Row

// read unpacks images onto a relation. A row whose image lacks a column that images hold, as it came since, is not among them, and its key is: how it
// was cannot be told, but that it was there.
func (b *ImagesBefore) read(rel *cdc.Relation, keep func(rel *cdc.Relation, column string) bool) (rowsBefore, error) {
	rows := rowsBefore{}
	shapes, wrong := cdc.DecodeImageShapes(b.Shapes)
	for i := range b.Images {
		im := &b.Images[i]
		if im.Shape < 0 || int(im.Shape) >= len(shapes) {
			return nil, fmt.Errorf("image of %s %s: there is no shape %d", rel, im.Key, im.Shape)
		}
		shape := shapes[im.Shape]
		if shape == nil {
			return nil, fmt.Errorf("image of %s %s: %w", rel, im.Key, wrong)
		}
		row, err := shape.Unpack(rel, im.Data)
		if err != nil {
			return nil, fmt.Errorf("image of %s %s: %w", rel, im.Key, err)
		}
		for c := range rel.Columns {
			if name := rel.Columns[c].Name; row.Value(c).State == cdc.Unknown && (keep == nil || keep(rel, name)) {
				row = cdc.Row{}
				break
			}
		}
		rows[im.Key] = row
	}
	return rows, nil
}

// columns are those that the latest images hold.
func (b *ImagesBefore) columns() ([]string, error) {
	if len(b.Shapes) == 0 {
		return nil, nil
	}
	shape, err := cdc.DecodeImageShape(b.Shapes[len(b.Shapes)-1])
	if err != nil {
		return nil, err
	}
	return shape.Columns(), nil
}

// comparison makes changes of rows for a job that compares them.
type comparison struct {
	store  BeforeStore
	keep   func(rel *cdc.Relation, column string) bool
	writes bool // the rule is on write
}

// columns adds to those that a rule reads what images hold: what counts as a change is what would for the stream.
func (c *comparison) columns(ctx context.Context, job *Job, columns []string) ([]string, error) {
	b, err := c.store.ImagesBefore(ctx, job.Schema, job.Table, nil)
	if err != nil {
		return nil, err
	}
	held, err := b.columns()
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, name := range columns {
		seen[name] = true
	}
	for _, name := range held {
		if !seen[name] {
			columns = append(columns, name)
		}
	}
	return columns, nil
}

// changes are what became of a chunk's rows since: a row that had no image was made meanwhile. One whose image does not tell of all of its columns may
// have been written, and is told as if it was made. done is true when there is nothing to compare any more: the table was emptied since, and the stream tells of what came then.
func (c *comparison) changes(ctx context.Context, job *Job, chunk *cdc.Chunk, from int) (changes []*cdc.Change, done bool, err error) {
	b, err := c.store.ImagesBefore(ctx, job.Schema, job.Table, chunk.Keys[from:])
	switch {
	case err != nil:
		return nil, false, err
	case !b.Kept:
		return nil, false, &JobRuleError{Rule: job.Rule, Problem: fmt.Sprintf("is on %s.%s, of which no images are kept any more to compare rows with", job.Schema, job.Table),
			Remedy: fmt.Sprintf("walhook backfill cancel %d; walhook backfill %s sends all of its rows", job.ID, job.Rule)}
	case !b.Comparing:
		return nil, true, nil
	}
	before, err := b.read(chunk.Rel, c.keep)
	if err != nil {
		return nil, false, err
	}
	for i := from; i < len(chunk.Rows); i++ {
		change := &cdc.Change{Op: cdc.Create, Origin: cdc.FromResync, Rel: chunk.Rel, Key: chunk.Keys[i], After: chunk.Rows[i], Ordinal: uint64(i - from), Writes: 1}
		switch row, there := before[change.Key]; {
		case there && !c.writes:
			continue
		case there && row.Relation() != nil:
			change.Op, change.Before = cdc.Write, row
		}
		changes = append(changes, change)
	}
	return changes, false, nil
}
