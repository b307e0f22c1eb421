package state

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"walhook/delivery"
)

func imageFeed(t *testing.T) (*DB, *feed, *Reader) {
	t.Helper()
	db := openState(t, nil)
	f := newFeed(t, register(t, db))
	return db, f, &Reader{p: f.p}
}

// put commits images with a position.
func (f *feed) images(t *testing.T, b *delivery.ImageBatch) error {
	t.Helper()
	to := delivery.Position{LSN: f.at.LSN + 16}
	_, err := f.p.Enqueue(t.Context(), &delivery.Batch{From: f.at, To: to, Images: b}, nil)
	if err == nil {
		f.at = to
	}
	return err
}

func imagesOf(t *testing.T, db *DB, table int32, generation int64, keys ...string) (found []string) {
	t.Helper()
	if err := db.Images(t.Context(), []delivery.ImageAsk{{Table: table, Generation: generation, Keys: keys, Bytes: 1 << 20}}, func(im delivery.Image) {
		found = append(found, im.Key+"="+string(im.Data))
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	return found
}

// Invariant 2: images move with the position, in pieces too, or not at all.
func TestInvariant2ImagesMoveWithThePosition(t *testing.T) {
	db, f, r := imageFeed(t)
	tables, err := r.KeepImagesOf(t.Context(), []ImageTable{{"public", "a"}, {"public", "b"}})
	if err != nil || len(tables) != 2 || tables[0].Filled {
		t.Fatalf("%+v, %v", tables, err)
	}
	a := tables[0]
	image := func(key, data string) delivery.Image {
		im := delivery.Image{Table: a.ID, Key: key, Generation: a.Generation}
		if data != "" {
			im.Data = []byte(data)
		}
		return im
	}
	if err := f.images(t, &delivery.ImageBatch{Shapes: []delivery.ImageShape{{Table: a.ID, Number: 0, Columns: []byte("[]")}}, Images: []delivery.Image{image("1", "one"), image("2", "two"), image("3", "three")},
		More: func(yield func(*delivery.ImageBatch, error) bool) {
			yield(&delivery.ImageBatch{Images: []delivery.Image{image("2", ""), image("4", "four"), image("5", "")}}, nil)
		}}); err != nil {
		t.Fatal(err)
	}
	if got := imagesOf(t, db, a.ID, a.Generation, "1", "2", "3", "4", "5"); !slices.Equal(got, []string{"1=one", "3=three", "4=four"}) {
		t.Errorf("%q", got)
	}
	stale := &delivery.Batch{From: delivery.Position{LSN: f.at.LSN - 1}, To: delivery.Position{LSN: f.at.LSN + 100}, Images: &delivery.ImageBatch{Images: []delivery.Image{image("1", "other")}}}
	if _, err := f.p.Enqueue(t.Context(), stale, nil); !errors.Is(err, delivery.ErrSuperseded) {
		t.Errorf("a batch from another position: %v", err)
	}
	broken := errors.New("the file is gone")
	if err := f.images(t, &delivery.ImageBatch{Images: []delivery.Image{image("1", "other")}, More: func(yield func(*delivery.ImageBatch, error) bool) { yield(nil, broken) }}); !errors.Is(err, broken) {
		t.Errorf("a transaction that cannot be read on: %v", err)
	}
	if got := imagesOf(t, db, a.ID, a.Generation, "1"); !slices.Equal(got, []string{"1=one"}) {
		t.Errorf("what was not committed shows: %q", got)
	}

	// Truncated: what was there does not count any more, and is removed by and by; there is nothing to be filled.
	if err := f.images(t, &delivery.ImageBatch{Generations: map[int32]int64{a.ID: 2}, Images: []delivery.Image{{Table: a.ID, Key: "1", Generation: 2, Data: []byte("anew")}}}); err != nil {
		t.Fatal(err)
	}
	if got := imagesOf(t, db, a.ID, 2, "1", "3", "4"); !slices.Equal(got, []string{"1=anew"}) {
		t.Errorf("%q", got)
	}
	if err := f.p.keepImages(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := rows(t, db, "image"); n != 1 {
		t.Errorf("%d images are left", n)
	}
	if n := rows(t, db, "job WHERE table_name = 'b'"); n != 1 {
		t.Errorf("%d walks to fill the table that is not filled", n)
	}
}

// An image that is written while an earlier one of its row is being removed stays.
func TestSweepSparesImagesWrittenMeanwhile(t *testing.T) {
	db, f, r := imageFeed(t)
	tables, err := r.KeepImagesOf(t.Context(), []ImageTable{{"public", "a"}})
	if err != nil {
		t.Fatal(err)
	}
	a := tables[0].ID
	if err := f.images(t, &delivery.ImageBatch{Images: []delivery.Image{{Table: a, Key: "1", Generation: 1, Data: []byte("old")}, {Table: a, Key: "2", Generation: 1, Data: []byte("old")}}}); err != nil {
		t.Fatal(err)
	}
	if err := f.images(t, &delivery.ImageBatch{Generations: map[int32]int64{a: 2}}); err != nil {
		t.Fatal(err)
	}
	waits := func() (n int) {
		t.Helper()
		const read = `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`
		if err := db.pool.QueryRow(t.Context(), read).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	swept := make(chan error, 1)
	if err := f.images(t, &delivery.ImageBatch{Images: []delivery.Image{{Table: a, Key: "1", Generation: 2, Data: []byte("new")}}, More: func(yield func(*delivery.ImageBatch, error) bool) {
		go func() { swept <- f.p.keepImages(t.Context()) }()
		for end := time.Now().Add(30 * time.Second); waits() == 0; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				yield(nil, errors.New("the sweep does not wait for the row"))
				return
			}
		}
		yield(&delivery.ImageBatch{}, nil)
	}}); err != nil {
		t.Fatal(err)
	}
	if err := <-swept; err != nil {
		t.Fatal(err)
	}
	if got := imagesOf(t, db, a, 2, "1"); !slices.Equal(got, []string{"1=new"}) || rows(t, db, "image") != 1 {
		t.Errorf("after the sweep: %q, %d images", got, rows(t, db, "image"))
	}
}

// Invariant 9: no more images come at once than there is room for, in the order they were asked for.
func TestInvariant9ImagesWithinBytes(t *testing.T) {
	db, f, r := imageFeed(t)
	tables, err := r.KeepImagesOf(t.Context(), []ImageTable{{"public", "a"}})
	if err != nil {
		t.Fatal(err)
	}
	b, ask := &delivery.ImageBatch{}, delivery.ImageAsk{Table: tables[0].ID, Generation: 1, Bytes: 5 * 10000}
	for i := range 9 {
		b.Images = append(b.Images, delivery.Image{Table: ask.Table, Key: fmt.Sprint(i), Generation: 1, Data: []byte(strings.Repeat("x", 10000))})
		ask.Keys = append([]string{fmt.Sprint(i)}, ask.Keys...)
	}
	if err := f.images(t, b); err != nil {
		t.Fatal(err)
	}
	for bytes, want := range map[int]string{5 * 10000: "8 7 6 5 4 -3 -2 -1 -0", 1: "8 7 -6 -5 -4 -3 -2 -1 -0", 1 << 20: "8 7 6 5 4 3 2 1 0"} {
		ask.Bytes = bytes
		var got []string
		if err := db.Images(t.Context(), []delivery.ImageAsk{ask}, func(im delivery.Image) {
			if im.Data == nil {
				im.Key = "-" + im.Key
			}
			got = append(got, im.Key)
		}); err != nil || strings.Join(got, " ") != want {
			t.Errorf("with %d bytes: %q, %v, want %q", bytes, got, err, want)
		}
	}
}

// A large transaction's images may take longer to be read than a session may otherwise idle.
func TestImagesOfALargeTransactionTakeTheirTime(t *testing.T) {
	t.Parallel()
	db := openState(t, func(c *Config) { c.Lease = time.Second })
	f := newFeed(t, register(t, db))
	tables, err := (&Reader{p: f.p}).KeepImagesOf(t.Context(), []ImageTable{{"public", "a"}})
	if err != nil {
		t.Fatal(err)
	}
	image := func(key string) *delivery.ImageBatch {
		return &delivery.ImageBatch{Images: []delivery.Image{{Table: tables[0].ID, Key: key, Generation: 1, Data: []byte("x")}}}
	}
	first := image("1")
	first.More = func(yield func(*delivery.ImageBatch, error) bool) {
		time.Sleep(1500 * time.Millisecond) // the file is read
		_ = yield(&delivery.ImageBatch{}, nil) && yield(image("2"), nil)
	}
	if err := f.images(t, first); err != nil {
		t.Fatal(err)
	}
	if got := imagesOf(t, db, tables[0].ID, 1, "1", "2"); len(got) != 2 {
		t.Errorf("%q", got)
	}
}

// Images of tables that were taken out of the configuration, or whose changes were missed, do not count, and are filled anew.
func TestImagesBeginAnew(t *testing.T) {
	db, f, r := imageFeed(t)
	keep := func(names ...string) (out []delivery.ImageTable) {
		t.Helper()
		var wanted []ImageTable
		for _, n := range names {
			wanted = append(wanted, ImageTable{"public", n})
		}
		out, err := r.KeepImagesOf(t.Context(), wanted)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	first := keep("a")[0]
	if err := f.images(t, &delivery.ImageBatch{Images: []delivery.Image{{Table: first.ID, Key: "1", Generation: 1, Data: []byte("x")}}}); err != nil {
		t.Fatal(err)
	}
	walk := func() {
		t.Helper()
		exec(t, db, "UPDATE {schema}.job SET state = 'done', ended_at = now(), begun_at = now() WHERE state = 'queued'")
		exec(t, db, "UPDATE {schema}.image_table SET filled_at = now()")
	}
	walk()
	if err := db.transact(t.Context(), "miss changes", func(tx *transaction) error { return db.forgetImages(t.Context(), tx) }); err != nil {
		t.Fatal(err)
	}
	if again := keep("a")[0]; again.ID != first.ID || again.Filled || again.Generation != 2 || len(imagesOf(t, db, first.ID, 2, "1")) != 0 {
		t.Errorf("after changes were missed: %+v", again)
	}
	if n := rows(t, db, "job WHERE state = 'queued'"); n != 1 {
		t.Errorf("%d walks to fill it again", n)
	}
	before := func() (keys []string) {
		t.Helper()
		b, err := db.ImagesBefore(t.Context(), "public", "a", []string{"1", "2"})
		if err != nil {
			t.Fatal(err)
		}
		if !b.Comparing {
			return nil
		}
		for _, im := range b.Images {
			keys = append(keys, im.Key+"="+string(im.Data))
		}
		return append(keys, "compared")
	}
	if got := before(); !slices.Equal(got, []string{"1=x", "compared"}) {
		t.Errorf("what is known from before: %q", got)
	}
	for range 2 { // what was replaced stays known, as it was first
		if err := f.images(t, &delivery.ImageBatch{Images: []delivery.Image{{Table: first.ID, Key: "1", Generation: 2, Data: []byte("y")}, {Table: first.ID, Key: "2", Generation: 2, Data: []byte("z")}}}); err != nil {
			t.Fatal(err)
		}
	}
	if got := before(); !slices.Equal(got, []string{"1=x", "compared"}) {
		t.Errorf("what is known from before, after changes: %q", got)
	}
	if err := db.transact(t.Context(), "miss changes again", func(tx *transaction) error { return db.forgetImages(t.Context(), tx) }); err != nil {
		t.Fatal(err)
	}
	if got := before(); !slices.Equal(got, []string{"1=x", "compared"}) {
		t.Errorf("what is known from before the first of two gaps: %q", got)
	}
	if err := db.ComparableKeys(t.Context(), ImageTable{"public", "a"}, func(keys []string) error {
		if !slices.Equal(keys, []string{"1"}) {
			t.Errorf("rows that were there before: %q", keys)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	if err := f.p.keepImages(t.Context()); err != nil { // no resync wants it
		t.Fatal(err)
	}
	if got := before(); got != nil || rows(t, db, "image_before") != 0 {
		t.Errorf("what is known from before is kept: %q", got)
	}
	if other := keep("b"); len(other) != 1 || other[0].Name != "b" {
		t.Errorf("%+v", other)
	}
	if again := keep("a", "b")[1]; again.ID == first.ID || again.Generation != 1 {
		t.Errorf("named again: %+v", again)
	}
	if err := f.p.keepImages(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := rows(t, db, "image"); n != 0 {
		t.Errorf("%d images of a table that was given up", n)
	}
	if s, err := db.ImageStates(t.Context()); err != nil || len(s.Tables) != 2 || s.Tables[0].Progress() != "public.a: 0 rows so far" || s.Bytes == 0 {
		t.Errorf("%+v, %v", s, err)
	}
}
