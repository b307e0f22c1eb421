package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"walhook/cdc"
)

// ImageSink fills images: its jobs go through a table and make an image of each row.
type ImageSink struct {
	images *Images
	tables []string // that images are kept of: the images belong to another goroutine
	source ImageSource
}

// ImageSource is the database that images are made from.
type ImageSource interface {
	// Shape tells what columns a table has now that may be read, its primary key, and what may not be read.
	Shape(ctx context.Context, schema, table string) (rel *cdc.Relation, hidden []string, err error)
	// MayNotRead is the error of missing the right to read columns.
	MayNotRead(schema, table string, columns []string) error
}

var _ JobSink = (*ImageSink)(nil)

// NewImageSink returns what fills images, which may be nil.
func NewImageSink(images *Images, source ImageSource) *ImageSink {
	s := &ImageSink{images: images, source: source}
	if images != nil {
		for _, t := range images.tables {
			s.tables = append(s.tables, t.Schema+"."+t.Name)
		}
	}
	return s
}

// noImages says that images of a table are not wanted any more.
func noImages(job *Job) error {
	return &jobOverError{err: errors.New("no images are kept of this table: [images] tables does not name it"), remedy: fmt.Sprintf("walhook backfill cancel %d", job.ID)}
}

// Open implements [JobSink].
func (s *ImageSink) Open(ctx context.Context, job *Job) (JobWork, error) {
	if !slices.Contains(s.tables, job.Schema+"."+job.Table) {
		return nil, noImages(job)
	}
	rel, hidden, err := s.source.Shape(ctx, job.Schema, job.Table)
	if err != nil {
		return nil, fmt.Errorf("fill images: %w", err)
	}
	// Columns with secrets are meant to be hidden. Where there are such, others that came later were granted to nobody.
	hidden = slices.DeleteFunc(hidden, func(c string) bool { return s.images.keep != nil && !s.images.keep(rel, c) })
	if len(hidden) > 0 {
		return nil, fmt.Errorf("fill images: %w", s.source.MayNotRead(job.Schema, job.Table, hidden))
	}
	w := &imageWork{images: s.images}
	for _, i := range rel.Key {
		w.key = append(w.key, rel.Columns[i].Name)
	}
	for i := range rel.Columns {
		if c := rel.Columns[i].Name; rel.Columns[i].Key || s.images.keep == nil || s.images.keep(rel, c) {
			w.columns = append(w.columns, c)
		}
	}
	return w, nil
}

// imageWork is a walk through one table.
type imageWork struct {
	images       *Images
	key, columns []string
}

// Request implements [JobWork].
func (w *imageWork) Request(job *Job) cdc.ChunkRequest {
	return cdc.ChunkRequest{Schema: job.Schema, Table: job.Table, Key: w.key, Columns: w.columns}
}

// Endpoints implements [JobWork].
func (w *imageWork) Endpoints() []string { return nil }

// Close implements [JobWork].
func (w *imageWork) Close() {}

// Fill implements [JobWork]. The images go with what else waits to be written: the step commits all of it.
func (w *imageWork) Fill(_ context.Context, job *Job, chunk *cdc.Chunk, from int, fill *JobFill) error {
	k := w.images
	t := k.named(job.Schema, job.Table)
	if t == nil {
		return noImages(job)
	}
	k.fresh.reset() // of a step that failed
	if t.replaced(chunk.Rel) {
		k.fresh.begin(t.ID, k.generation(t)+1)
	}
	k.at = chunk.High // it was looked at before, and the stream has come so far
	shape, err := k.walked(t, chunk.Rel, job.After == nil && from == 0)
	if err != nil {
		return err
	}
	for i := from; i < len(chunk.Rows) && !fill.Full(); i++ {
		im := t.pack(shape, chunk.Keys[i], k.generation(t), chunk.Rows[i])
		fill.Taken++
		fill.Bytes += imageCost + len(im.Data)
		fill.Events++
		k.fresh.put(im)
	}
	k.stats.filled.Add(int64(fill.Taken))
	return nil
}
