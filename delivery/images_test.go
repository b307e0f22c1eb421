package delivery

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"walhook/cdc"
)

// imageStore is an ImageStore in memory that keeps the contract, and notes how much it was asked for at once.
type imageStore struct {
	images map[imageKey]Image
	most   int // bytes of one answer
	asks   int
}

func (s *imageStore) ImageTables(context.Context) ([]ImageTable, error) { return nil, nil }

func (s *imageStore) Images(_ context.Context, asks []ImageAsk, found func(Image)) error {
	sum := 0
	s.asks++
	for _, a := range asks {
		left := a.Bytes
		for n, key := range a.Keys {
			im, ok := s.images[imageKey{a.Table, key}]
			if !ok || im.Generation != a.Generation {
				continue
			}
			if left -= len(im.Data); n >= 2 && left < 0 {
				im.Data = nil
			}
			sum += len(im.Data)
			found(im)
		}
	}
	s.most = max(s.most, sum)
	return nil
}

func (s *imageStore) apply(b *ImageBatch) {
	for _, im := range b.Images {
		if im.Data == nil {
			delete(s.images, imageKey{im.Table, im.Key})
		} else {
			s.images[imageKey{im.Table, im.Key}] = im
		}
	}
}

func imagedRelation(oid uint32, columns ...string) *cdc.Relation {
	list := []cdc.Column{{Name: "id", Type: cdc.BuiltinType(25)}}
	for _, name := range columns {
		list = append(list, cdc.Column{Name: name, Type: cdc.BuiltinType(25)})
	}
	return cdc.NewRelation(oid, "public", "t", 'd', list, []string{"id"})
}

func imagesTx(n int, changes ...*cdc.Change) *cdc.Tx {
	for i, c := range changes {
		c.Ordinal, c.Writes = uint64(i), 1
	}
	return cdc.NewTx(uint32(n), cdc.LSN(n*100), cdc.LSN(n*100+50), time.Unix(0, 0), changes)
}

// deletion is a row deleted, of which WAL holds the key.
func deletion(t *testing.T, rel *cdc.Relation, key string) *cdc.Change {
	t.Helper()
	values := make([]cdc.Value, len(rel.Columns))
	values[0] = cdc.Value{State: cdc.Present, Text: []byte(key), Type: rel.Columns[0].Type}
	row, ok := cdc.NewRow(rel, cdc.ImageKey, cdc.AppendTuple(nil, values))
	if !ok {
		t.Fatal("no row")
	}
	return &cdc.Change{Op: cdc.Unlink, Rel: rel, Key: key, Before: row}
}

// handled has transactions completed as ingest does, and returns what was before each change, by transaction.
func handled(t *testing.T, k *Images, store *imageStore, txs ...*cdc.Tx) (told []string) {
	t.Helper()
	for len(txs) > 0 {
		run := txs[:k.run(txs)]
		n, err := k.prepare(t.Context(), run)
		if err != nil || n == 0 {
			t.Fatal(n, err)
		}
		for _, tx := range run[:n] {
			for c, err := range tx.Changes() {
				if err != nil {
					t.Fatal(err)
				}
				var values []string
				for i := range c.Rel.Columns {
					switch v := c.Before.Value(i); v.State {
					case cdc.Present:
						values = append(values, string(v.Text[:min(len(v.Text), 8)]))
					default:
						values = append(values, fmt.Sprint(v.State))
					}
				}
				told = append(told, strings.Join(values, " "))
			}
			if k.planned(tx) || k.full() {
				commitImages(t, k, store)
			}
		}
		txs = txs[n:]
	}
	commitImages(t, k, store)
	return told
}

func commitImages(t *testing.T, k *Images, store *imageStore) *ImageBatch {
	t.Helper()
	b := k.batch()
	if b == nil {
		return nil
	}
	store.apply(b)
	if b.More != nil {
		for more, err := range b.More {
			if err != nil {
				t.Fatal(err)
			}
			store.apply(more)
		}
	}
	k.stored(b)
	return b
}

// Invariant 9: what images take in memory is bounded, however many rows WAL names by their keys, in many transactions or in one; and every change still
// has its row before.
func TestInvariant9ImagesOfManyRows(t *testing.T) {
	rel := imagedRelation(1, "a")
	const rows, size = 300, 64 << 10
	for name, each := range map[string]int{"in one transaction": rows, "in many": 1, "in some": 7} {
		t.Run(name, func(t *testing.T) {
			shape, err := cdc.NewImageShape(rel, nil)
			if err != nil {
				t.Fatal(err)
			}
			store := &imageStore{images: map[imageKey]Image{}}
			var changes []*cdc.Change
			var want []string
			for i := range rows {
				key := fmt.Sprintf("k%d", i)
				row := comparedRow(t, rel, key, fmt.Sprintf("v%d ", i)+string(bytes.Repeat([]byte("x"), size)))
				store.images[imageKey{1, key}] = Image{Table: 1, Key: key, Generation: 1, Data: shape.Pack(nil, row)}
				changes = append(changes, deletion(t, rel, key))
				want = append(want, fmt.Sprintf("%s %.8s", key, fmt.Sprintf("v%d xxxxxxxx", i)))
			}
			k := NewImages(store, []ImageTable{{ID: 1, Schema: "public", Name: "t", Generation: 1, Filled: true, Shapes: [][]byte{shape.Encode()}}}, nil)
			var txs []*cdc.Tx
			for list := range slices.Chunk(changes, each) {
				txs = append(txs, imagesTx(len(txs)+1, list...))
			}
			if told := handled(t, k, store, txs...); !slices.Equal(told, want) {
				t.Errorf("%d changes: %q…, want %q…", len(told), told[:min(3, len(told))], want[:3])
			}
			if store.most > imageWindowBytes {
				t.Errorf("%d bytes of images at once", store.most)
			}
			if len(store.images) > 0 {
				t.Errorf("%d images are left", len(store.images))
			}
			if each == rows { // nothing of the rows stays with a transaction that is read piecemeal
				for _, c := range changes {
					if c.Before.Image == cdc.ImageFull {
						t.Fatal("the transaction holds the rows before")
					}
				}
			}
		})
	}
}

// A column that was dropped and made anew is not known of rows that were not written since, and the table is filled again; nor is anything of a table that has the
// name of one that was dropped.
func TestImagesOfWhatWasMadeAnew(t *testing.T) {
	with, without, again, other := imagedRelation(1, "a", "b"), imagedRelation(1, "a"), imagedRelation(1, "a", "b"), imagedRelation(2, "a", "b")
	store := &imageStore{images: map[imageKey]Image{}}
	k := NewImages(store, []ImageTable{{ID: 1, Schema: "public", Name: "t", Generation: 1, Filled: true}}, nil)
	create := func(rel *cdc.Relation, values ...string) *cdc.Change {
		return &cdc.Change{Op: cdc.Create, Rel: rel, Key: values[0], After: comparedRow(t, rel, values...)}
	}
	handled(t, k, store, imagesTx(1, create(with, "1", "a1", "old"), create(with, "2", "a2", "old")))
	handled(t, k, store, imagesTx(2, create(without, "3", "a3")))
	if _, err := k.prepare(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	tx := imagesTx(3, create(again, "4", "a4", "new"), deletion(t, again, "1"), deletion(t, again, "3"))
	if _, err := k.prepare(t.Context(), []*cdc.Tx{tx}); err != nil {
		t.Fatal(err)
	}
	if c := slices.Collect(changesOf(t, tx))[1]; c.Before.Value(1).State != cdc.Present || c.Before.Value(2).State != cdc.Unknown {
		t.Errorf("before has a value of the column that was dropped: %v", c.Before.Value(2))
	}
	k.planned(tx)
	if b := commitImages(t, k, store); !slices.Equal(b.Lacking, []int32{1}) {
		t.Errorf("the table is not filled again: %+v", b)
	}

	// What a walk has read earlier, or may not read, does not make the table look different.
	if n, err := k.walked(k.tables[0], without, false); err != nil || int(n) != len(k.tables[0].shapes)-1 {
		t.Errorf("shape %d, %v", n, err)
	}

	// A column that a walk is the first to see has the table filled again, unless the walk has only begun: then it brings the column for every row.
	for column, first := range map[string]bool{"c": true, "d": false} {
		with = imagedRelation(1, "a", "b", "c", "d")
		if column == "c" {
			with = imagedRelation(1, "a", "b", "c")
		}
		k := NewImages(store, []ImageTable{{ID: 1, Schema: "public", Name: "t", Generation: 1, Filled: true, Shapes: k.tables[0].Shapes}}, nil)
		if n, err := k.walked(k.tables[0], with, first); err != nil || int(n) != len(k.tables[0].shapes)-1 || k.tables[0].lacking == first {
			t.Errorf("%s: shape %d, %v; to be filled again: %t", column, n, err, k.tables[0].lacking)
		}
	}

	tx = imagesTx(4, deletion(t, other, "2"), create(other, "9", "a9", "b9"))
	if _, err := k.prepare(t.Context(), []*cdc.Tx{tx}); err != nil {
		t.Fatal(err)
	}
	if c := slices.Collect(changesOf(t, tx))[0]; c.Before.Value(1).State != cdc.Unknown {
		t.Errorf("before is a row of another table: %v", c.Before.Value(1))
	}
	k.planned(tx)
	b := commitImages(t, k, store)
	if b.Generations[1] != 2 || !slices.Equal(b.Lacking, []int32{1}) || store.images[imageKey{1, "9"}].Generation != 2 {
		t.Errorf("the images do not begin anew: %+v", b)
	}
}

// A column that was dropped and made anew with nothing written in between looks in WAL like the one before. Values of the old one are never taken for values of
// the new one: also not while the catalog is ahead of the stream, and it is not known which of them WAL has.
func TestImagesOfAColumnMadeAnewInSilence(t *testing.T) {
	with := func(number int16, anew bool) *cdc.Relation {
		d := cdc.Description{Key: []string{"id"}, Columns: map[string]cdc.ColumnNumber{"id": {Number: 1}, "a": {Number: 2}, "b": {Number: number, Anew: anew}}, Seen: 1000}
		decoder := cdc.NewDecoder(describes{d}, func(string, string) (bool, bool) { return true, false }, cdc.Limits{TempDir: t.TempDir()})
		const when = uint64(820_000_000_000_000)
		for _, m := range [][]byte{message('B', uint64(1), when, uint32(1)), walRelation(7, "t", "id", 25, "a", 25, "b", 25)} {
			if _, err := decoder.Decode(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := decoder.Decode(t.Context(), message('I', uint32(7), byte('N'), walTuple([]any{"0", "", ""}))); err != nil {
			t.Fatal(err)
		}
		tx, err := decoder.Decode(t.Context(), message('C', byte(0), uint64(1), uint64(1), when))
		if err != nil {
			t.Fatal(err)
		}
		return slices.Collect(changesOf(t, tx))[0].Rel
	}
	create := func(rel *cdc.Relation, values ...string) *cdc.Change {
		return &cdc.Change{Op: cdc.Create, Rel: rel, Key: values[0], After: comparedRow(t, rel, values...)}
	}
	begin := func() (*Images, *imageStore) {
		store := &imageStore{images: map[imageKey]Image{}}
		return NewImages(store, []ImageTable{{ID: 1, Schema: "public", Name: "t", Generation: 1, Filled: true}}, nil), store
	}
	before := func(k *Images, tx *cdc.Tx, n int) cdc.State {
		t.Helper()
		if _, err := k.prepare(t.Context(), []*cdc.Tx{tx}); err != nil {
			t.Fatal(err)
		}
		c := slices.Collect(changesOf(t, tx))[n]
		if c.Before.Value(1).State != cdc.Present {
			t.Errorf("the other column is %v", c.Before.Value(1).State)
		}
		k.planned(tx)
		return c.Before.Value(2).State
	}

	// Seen as it happens: transactions beyond 1000 are past what the catalog has shown.
	k, store := begin()
	old, anew := with(3, false), with(5, true)
	handled(t, k, store, imagesTx(1, create(old, "1", "a", "old"), create(old, "2", "a", "old")))
	if got := before(k, imagesTx(20, create(anew, "3", "a", "new"), deletion(t, anew, "1")), 1); got != cdc.Unknown {
		t.Errorf("the old column's value is %v", got)
	}
	if b := commitImages(t, k, store); !slices.Equal(b.Lacking, []int32{1}) {
		t.Errorf("the table is not filled again: %+v", b)
	}
	if got := before(k, imagesTx(21, deletion(t, anew, "3")), 0); got != cdc.Present {
		t.Errorf("the new column's value is %v", got)
	}
	commitImages(t, k, store)

	// The catalog is ahead: what is written up to there may be either column's.
	k, store = begin()
	handled(t, k, store, imagesTx(1, create(old, "1", "a", "old")))
	handled(t, k, store, imagesTx(3, create(anew, "2", "a", "either"))) // before it was dropped, or after
	if n := len(k.tables[0].shapes); n != 2 {
		t.Errorf("%d forms: none leaves the column out", n)
	}
	if got := before(k, imagesTx(4, deletion(t, anew, "2")), 0); got != cdc.Unknown {
		t.Errorf("a value of which it is not known whose it is, is %v", got)
	}
	commitImages(t, k, store)
	handled(t, k, store, imagesTx(30, create(anew, "4", "a", "new")))
	if got := before(k, imagesTx(31, deletion(t, anew, "4")), 0); got != cdc.Present {
		t.Errorf("past that the new column's value is %v", got)
	}
	commitImages(t, k, store)

	// A column that is recent and that images had already under its number is certain.
	k, store = begin()
	handled(t, k, store, imagesTx(20, create(anew, "1", "a", "new")))
	again := with(5, true)
	handled(t, k, store, imagesTx(5, create(again, "2", "a", "new")))
	if got := before(k, imagesTx(6, deletion(t, again, "2")), 0); got != cdc.Present || len(k.tables[0].shapes) != 1 {
		t.Errorf("a column that is known for certain is %v", got)
	}
}

// describes is a Schema that says one thing of each table.
type describes struct{ cdc.Description }

func (describes) Type(context.Context, uint32) (*cdc.Type, error) { return nil, nil }
func (s describes) Describe(context.Context, uint32) (cdc.Description, error) {
	return s.Description, nil
}

func changesOf(t *testing.T, tx *cdc.Tx) func(yield func(*cdc.Change) bool) {
	return func(yield func(*cdc.Change) bool) {
		for c, err := range tx.Changes() {
			if err != nil {
				t.Fatal(err)
			}
			if !yield(c) {
				return
			}
		}
	}
}

// A column that becomes a secret is not left in images: they begin anew, once.
func TestImagesOfAColumnThatBecomesSecret(t *testing.T) {
	rel := imagedRelation(1, "a", "b")
	shape, err := cdc.NewImageShape(rel, nil)
	if err != nil {
		t.Fatal(err)
	}
	keep := func(_ *cdc.Relation, column string) bool { return column != "b" }
	table := ImageTable{ID: 1, Schema: "public", Name: "t", Generation: 3, Filled: true, Shapes: [][]byte{shape.Encode()}}
	store := &imageStore{images: map[imageKey]Image{{1, "1"}: {Table: 1, Key: "1", Generation: 3, Data: shape.Pack(nil, comparedRow(t, rel, "1", "a1", "b1"))}}}
	k := NewImages(store, []ImageTable{table}, keep)
	tx := imagesTx(1, deletion(t, rel, "1"))
	if _, err := k.prepare(t.Context(), []*cdc.Tx{tx}); err != nil {
		t.Fatal(err)
	}
	for c := range changesOf(t, tx) {
		if c.Before.Value(2).State != cdc.Unknown {
			t.Errorf("the secret: %v", c.Before.Value(2))
		}
	}
	k.planned(tx)
	b := commitImages(t, k, store)
	if b == nil || b.Generations[1] != 4 || !slices.Equal(b.Lacking, []int32{1}) || len(b.Shapes) != 1 || strings.Contains(string(b.Shapes[0].Columns), `"b"`) {
		t.Fatalf("%+v", b)
	}
	table.Generation, table.Shapes = 4, [][]byte{b.Shapes[0].Columns}
	if b := NewImages(store, []ImageTable{table}, keep).batch(); b != nil {
		t.Errorf("it begins anew each time: %+v", b)
	}
}
