package delivery

import (
	"cmp"
	"maps"
	"slices"
)

// imageKey names a row.
type imageKey struct {
	table int32
	key   string
}

// imageCost is what an image takes in memory besides its data, in bytes, roughly.
const imageCost = 160

// imageLayer is a number of images in memory, at most one of each row. The zero value is ready.
type imageLayer struct {
	images map[imageKey]Image
	begun  map[int32]int64 // generations of tables that begin anew in it: of these, nothing of layers below counts
	bytes  int
}

// put adds an image, in place of an earlier one of the row.
func (l *imageLayer) put(im Image) {
	if l.images == nil {
		l.images = make(map[imageKey]Image)
	}
	id := imageKey{im.Table, im.Key}
	if old, ok := l.images[id]; ok {
		l.bytes -= imageCost + len(old.Data)
	}
	l.images[id] = im
	l.bytes += imageCost + len(im.Data)
}

// drop takes out what is known of a row.
func (l *imageLayer) drop(id imageKey) {
	if old, ok := l.images[id]; ok {
		l.bytes -= imageCost + len(old.Data)
		delete(l.images, id)
	}
}

// begin lets a table begin anew.
func (l *imageLayer) begin(table int32, generation int64) {
	l.forget(table)
	if l.begun == nil {
		l.begun = make(map[int32]int64)
	}
	l.begun[table] = generation
}

// forget drops the images of a table.
func (l *imageLayer) forget(table int32) {
	for id, im := range l.images {
		if id.table == table {
			l.bytes -= imageCost + len(im.Data)
			delete(l.images, id)
		}
	}
}

// merge adds what a later layer holds.
func (l *imageLayer) merge(later *imageLayer) {
	for table, generation := range later.begun {
		l.begin(table, generation)
	}
	for _, im := range later.images {
		l.put(im)
	}
}

// find says what the layer knows of a row. known is true without an image when there is none below either.
func (l *imageLayer) find(id imageKey) (im Image, known bool) {
	if im, known = l.images[id]; !known {
		_, known = l.begun[id.table]
	}
	return im, known
}

func (l *imageLayer) empty() bool { return len(l.images) == 0 && len(l.begun) == 0 }

// reset forgets everything.
func (l *imageLayer) reset() {
	if len(l.images) > keptRefs {
		l.images = nil
	}
	clear(l.images)
	l.begun, l.bytes = nil, 0
}

// clone copies the layer, not the images' data.
func (l *imageLayer) clone() imageLayer {
	return imageLayer{images: maps.Clone(l.images), begun: maps.Clone(l.begun), bytes: l.bytes}
}

// sorted returns the images in the order of their rows, in which they are written.
func (l *imageLayer) sorted() []Image {
	out := make([]Image, 0, len(l.images))
	for _, im := range l.images {
		out = append(out, im)
	}
	slices.SortFunc(out, func(a, b Image) int { return cmp.Or(cmp.Compare(a.Table, b.Table), cmp.Compare(a.Key, b.Key)) })
	return out
}
