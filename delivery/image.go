package delivery

import (
	"context"
	"iter"
)

// Image is a row of the source as it was at a position, without secrets: what a change of it says of the row before comes from there, where
// WAL does not hold it (A10).
type Image struct {
	Table      int32 // see [ImageTable]
	Key        string
	Generation int64
	Shape      int32
	Data       []byte // packed as [cdc.ImageShape] does; nil when there is no such row
}

// ImageTable is a table that images are kept of.
type ImageTable struct {
	ID           int32
	Schema, Name string
	Generation   int64    // images of an earlier one do not count
	Filled       bool     // every row has one, as far as they were not missed
	Shapes       [][]byte // by number, as [cdc.ImageShape.Encode] writes them
}

// ImageShape is a form that a table has come to have.
type ImageShape struct {
	Table, Number int32
	Columns       []byte
}

// ImageBatch is what becomes of images in one SQL transaction. Order matters to nobody: no two of its images are of one row.
type ImageBatch struct {
	Shapes      []ImageShape
	Generations map[int32]int64 // of tables that begin anew: they were truncated
	Lacking     []int32         // tables whose images may lack columns from now on: they are to be filled again
	Images      []Image

	// More goes on, and may be read more than once: the images of a large transaction are not held in memory (invariant 9).
	More iter.Seq2[*ImageBatch, error]
}

// ImageAsk are rows of a table whose images are asked for.
type ImageAsk struct {
	Table      int32
	Generation int64
	Keys       []string
	Bytes      int // of images at once, in the order of the keys; the first two come in any case, as one change may need them (invariant 9)
}

// ImageStore holds images. What changes them is part of a [Batch] and commits with the position (invariant 2), so that they always show the
// rows at the stored position: also when a large transaction was enqueued in part.
type ImageStore interface {
	// ImageTables lists the tables that images are kept of.
	ImageTables(ctx context.Context) ([]ImageTable, error)
	// Images calls found for each image that there is. The image is found's to keep. Those that an ask has no bytes left for come without Data.
	Images(ctx context.Context, asks []ImageAsk, found func(Image)) error
}
