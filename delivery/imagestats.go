package delivery

import "sync/atomic"

// ImageStats count what became of images, for as long as a process runs. The zero value is ready, and safe for concurrent use. What a large transaction is
// gone through for more than once counts each time.
type ImageStats struct{ found, missing, written, filled atomic.Int64 }

// ImageCounts are the figures of [ImageStats].
type ImageCounts struct {
	Found   int64 // rows before a change that an image told of
	Missing int64 // rows before a change that had none: what was in them is not known
	Written int64 // images that were written or removed, those of Filled among them
	Filled  int64 // rows that walks through tables have read
}

// Counts returns the figures of this moment.
func (s *ImageStats) Counts() ImageCounts {
	return ImageCounts{Found: s.found.Load(), Missing: s.missing.Load(), Written: s.written.Load(), Filled: s.filled.Load()}
}

// Count lets the images count into s, which goes on where others have come.
func (k *Images) Count(s *ImageStats) {
	if k != nil {
		k.stats = s
	}
}
