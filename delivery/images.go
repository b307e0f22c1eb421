package delivery

import (
	"context"
	"fmt"
	"slices"

	"walhook/cdc"
)

// Images keeps the images of rows true, and completes what WAL says of changes from them: the row before, and values that an update did not
// touch (trap 6). Nothing that comes after it can tell a table with images from one with REPLICA IDENTITY FULL, as long as every row has one.
//
// Images are written with the position. Those of transactions that nothing else follows from wait in memory, as their position
// does. A large transaction's are written with its end, so that however often it is read again, they show the rows before it.
//
// It belongs to an [Ingest] and is used by its goroutine. A nil *Images keeps none.
type Images struct {
	store  ImageStore
	keep   func(rel *cdc.Relation, column string) bool
	tables []*imagedTable
	of     map[*cdc.Relation]*imagedTable // nil for tables without images of that name

	followed *followed

	// What is known of rows, the latest first.
	ahead   imageLayer // after transactions that are not planned yet
	fresh   imageLayer // of transactions of this call of Handle that are
	carried imageLayer // of earlier calls
	fetched imageLayer // as stored

	at      cdc.LSN                   // commit of the transaction at hand
	effects map[*cdc.Tx][]imageEffect // of what is not planned yet
	large   *cdc.Tx                   // a spilled transaction that is planned
	anew    map[int32]int64           // tables that it lets begin anew
	touched bool                      // the spilled transaction changes rows that have images
	report  func(error)               // of images that cannot be read; may be nil
	stats   *ImageStats               // never nil
}

// imagedTable is a table that images are kept of.
type imagedTable struct {
	ImageTable
	shapes  []*cdc.ImageShape // by number; nil for one that cannot be read
	saved   int               // of these, how many are stored
	numbers map[imagedForm]int32
	lacking bool // to be filled again, which is not stored yet
	wanted  []string
}

// imageEffect is what a transaction does to images.
type imageEffect struct {
	Image
	begins bool // the table begins anew with Generation
}

// maxImagedRelations bounds what is remembered of relations.
const maxImagedRelations = 4096

// recentImages bounds the images in memory that are stored as well, in bytes.
const recentImages = 2 << 20

// NewImages returns what keeps the images of the store's tables. keep says which columns may be stored: those without secrets.
func NewImages(store ImageStore, tables []ImageTable, keep func(rel *cdc.Relation, column string) bool) *Images {
	k := &Images{store: store, keep: keep, stats: &ImageStats{}}
	k.load(tables)
	k.followed = newFollowed(k.tables)
	return k
}

// KeepImages makes ingest complete changes from images, and keep these.
func (i *Ingest) KeepImages(k *Images) {
	if k != nil {
		k.report = i.trace.ImageFailed
	}
	i.images = k
}

// load takes the tables as they are stored.
func (k *Images) load(tables []ImageTable) {
	k.tables, k.of = nil, make(map[*cdc.Relation]*imagedTable)
	for _, stored := range tables {
		t := &imagedTable{ImageTable: stored, saved: len(stored.Shapes), numbers: make(map[imagedForm]int32)}
		var err error
		if t.shapes, err = cdc.DecodeImageShapes(stored.Shapes); err != nil {
			k.fail(fmt.Errorf("images of %s.%s: %w", t.Schema, t.Name, err))
		}
		k.tables = append(k.tables, t)
		k.purge(t)
	}
}

// purge lets the images of a table begin anew when they may hold a column that has become a secret since: upkeep removes them once the others are there.
func (k *Images) purge(t *imagedTable) {
	rel := cdc.NewRelation(0, t.Schema, t.Name, 'd', nil, nil)
	nothing, err := cdc.NewImageShape(rel, nil)
	if err != nil || k.keep == nil {
		return
	}
	for n, s := range t.shapes {
		if s == nil || !slices.ContainsFunc(s.Columns(), func(column string) bool { return !k.keep(rel, column) }) {
			continue
		}
		t.shapes[n], t.Shapes[n], t.saved = nothing, nothing.Encode(), 0 // so that it happens once
		k.carried.begin(t.ID, t.Generation+1)
		t.lacking = true
	}
}

func (k *Images) fail(err error) {
	if k.report != nil {
		k.report(err)
	}
}

func (k *Images) named(schema, table string) *imagedTable {
	for _, t := range k.tables {
		if t.Schema == schema && t.Name == table {
			return t
		}
	}
	return nil
}

// table finds the table of a change that has images; nil for others.
func (k *Images) table(c *cdc.Change) *imagedTable {
	if c.Rel == nil || c.Key == "" && c.Op != cdc.Truncate {
		return nil
	}
	t, known := k.of[c.Rel]
	if !known {
		if len(k.of) >= maxImagedRelations {
			clear(k.of)
		}
		t = k.named(c.Rel.Schema, c.Rel.Name)
		k.of[c.Rel] = t
	}
	if t == nil {
		t = k.renamed(c.Rel)
	}
	return t
}

// generation is the table's as of the latest layer.
func (k *Images) generation(t *imagedTable) int64 {
	for _, l := range [...]*imageLayer{&k.ahead, &k.fresh, &k.carried} {
		if g, ok := l.begun[t.ID]; ok {
			return g
		}
	}
	return t.Generation
}

// find says what is known of a row, in memory.
func (k *Images) find(id imageKey) (im Image, known bool) {
	for _, l := range [...]*imageLayer{&k.ahead, &k.fresh, &k.carried, &k.fetched} {
		if im, known = l.find(id); known {
			return im, known
		}
	}
	return im, false
}

// row returns the image of a row; the zero Row when there is none.
func (k *Images) row(t *imagedTable, key string, rel *cdc.Relation) cdc.Row {
	im, _ := k.find(imageKey{t.ID, key})
	if im.Data == nil {
		k.stats.missing.Add(1)
		return cdc.Row{}
	}
	var err error
	if n := int(im.Shape); n < 0 || n >= len(t.shapes) || t.shapes[n] == nil {
		err = fmt.Errorf("there is no shape %d", n)
	} else if !t.shapes[n].Tells(rel) {
		k.stats.missing.Add(1)
		return cdc.Row{} // a row of a table that had the name before
	} else if row, e := t.shapes[n].Unpack(rel, im.Data); e == nil {
		k.stats.found.Add(1)
		return row
	} else {
		err = e
	}
	k.stats.missing.Add(1)
	k.fail(fmt.Errorf("image of %s %s: %w", rel, key, err))
	return cdc.Row{}
}

// image packs a row as it is now.
func (k *Images) image(t *imagedTable, key string, generation int64, row cdc.Row) (Image, error) {
	number, err := k.shape(t, row.Relation())
	if err != nil {
		return Image{}, err
	}
	return t.pack(number, key, generation, row), nil
}

func (t *imagedTable) pack(number int32, key string, generation int64, row cdc.Row) Image {
	data := make([]byte, 0, row.Size())
	return Image{Table: t.ID, Key: key, Generation: generation, Shape: number, Data: t.shapes[number].Pack(data, row)}
}

// read fetches the images that were asked for. cut says that not all of them are at hand: they would take too much memory.
func (k *Images) read(ctx context.Context) (cut bool, err error) {
	var asks []ImageAsk
	for _, t := range k.tables {
		if len(t.wanted) > 0 {
			asks = append(asks, ImageAsk{Table: t.ID, Generation: k.generation(t), Keys: t.wanted})
			t.wanted = nil
		}
	}
	if len(asks) == 0 {
		return false, nil
	}
	for i := range asks {
		asks[i].Bytes = imageWindowBytes / len(asks)
	}
	if err := k.store.Images(ctx, asks, func(im Image) {
		if im.Data == nil {
			k.fetched.drop(imageKey{im.Table, im.Key})
			cut = true
			return
		}
		k.fetched.put(im)
	}); err != nil {
		k.fetched.reset()
		return false, fmt.Errorf("fetch the images of rows: %w", err)
	}
	return cut, nil
}

// full says that what waits in memory is enough to be written.
func (k *Images) full() bool { return k != nil && k.fresh.bytes+k.carried.bytes >= maxBatchBytes }

// carry keeps what a call of Handle has left for later ones.
func (k *Images) carry() {
	if k == nil {
		return
	}
	k.carried.merge(&k.fresh)
	k.fresh.reset()
	k.ahead.reset()
	clear(k.effects)
}

// back forgets what a call of Handle that failed has brought; its transactions come again. What was carried stays: its transactions do not.
func (k *Images) back() {
	if k == nil {
		return
	}
	k.ahead.reset()
	k.fresh.reset()
	k.fetched.reset()
	clear(k.effects)
	k.large = nil
}

// batch is what is to be written; nil for nothing.
func (k *Images) batch() *ImageBatch {
	if k == nil {
		return nil
	}
	all := k.pending()
	b := &ImageBatch{Images: all.sorted(), Generations: all.begun}
	for _, t := range k.tables {
		for n := t.saved; n < len(t.shapes); n++ {
			b.Shapes = append(b.Shapes, ImageShape{Table: t.ID, Number: int32(n), Columns: t.Shapes[n]})
		}
		if t.lacking {
			b.Lacking = append(b.Lacking, t.ID)
		}
	}
	if k.large != nil {
		b.More = k.more(k.large)
	}
	if len(b.Images)+len(b.Generations)+len(b.Shapes)+len(b.Lacking) == 0 && b.More == nil {
		return nil
	}
	return b
}

// pending is what is not stored, in one layer.
func (k *Images) pending() imageLayer {
	if k.carried.empty() {
		return k.fresh
	}
	all := k.carried.clone()
	all.merge(&k.fresh)
	return all
}

// stored takes note that a batch was committed.
func (k *Images) stored(b *ImageBatch) {
	if k == nil || b == nil {
		return
	}
	for _, t := range k.tables {
		if g, ok := b.Generations[t.ID]; ok {
			t.Generation = g
		}
		if g, ok := k.anew[t.ID]; ok && b.More != nil {
			t.Generation = g
		}
		if len(b.Shapes) > 0 || b.More != nil {
			t.saved = len(t.shapes)
		}
		t.lacking = t.lacking && len(b.Lacking) == 0 && b.More == nil
	}
	k.stats.written.Add(int64(len(b.Images)))
	for table := range b.Generations {
		k.fetched.forget(table)
	}
	if b.More != nil || k.fetched.bytes > recentImages {
		k.fetched.reset()
	}
	if b.More == nil {
		for _, im := range b.Images {
			k.fetched.put(im)
		}
	}
	k.carried.reset()
	k.fresh.reset()
	k.large, k.anew = nil, nil
}

// resolve follows a batch of which it was not known for a while whether it was committed.
func (k *Images) resolve(ctx context.Context, committed bool) error {
	if k == nil || !committed {
		return nil
	}
	tables, err := k.store.ImageTables(ctx)
	if err != nil {
		return fmt.Errorf("read the tables of images: %w", err)
	}
	k.carried.reset()
	k.fetched.reset()
	k.load(tables)
	return nil
}
