package delivery

import (
	"errors"
	"iter"
	"time"

	"walhook/cdc"
)

// errStop ends a way through a transaction whose reader wants no more.
var errStop = errors.New("no more is wanted")

// imagePing is how long the SQL transaction that takes the images of a large transaction waits for the next piece; then an empty one shows that there is more to come.
const imagePing = time.Second

// more reads what a spilled transaction does to images, in pieces.
func (k *Images) more(tx *cdc.Tx) iter.Seq2[*ImageBatch, error] {
	return func(yield func(*ImageBatch, error) bool) {
		begun := map[int32]int64{}
		k.anew, k.at = begun, tx.CommitLSN
		piece := &ImageBatch{}
		size := 0
		handed := time.Now()
		hand := func() error {
			for _, t := range k.tables {
				for n := t.saved; n < len(t.shapes); n++ { // those of this transaction came to light just now
					piece.Shapes = append(piece.Shapes, ImageShape{Table: t.ID, Number: int32(n), Columns: t.Shapes[n]})
				}
				if t.lacking {
					piece.Lacking = append(piece.Lacking, t.ID)
				}
			}
			if !yield(piece, nil) {
				return errStop
			}
			k.stats.written.Add(int64(len(piece.Images)))
			piece, size, handed = &ImageBatch{}, 0, time.Now()
			return nil
		}
		begin := func(e imageEffect) error {
			if err := hand(); err != nil {
				return err
			}
			piece.Generations = map[int32]int64{e.Table: e.Generation}
			return hand()
		}
		for c, err := range tx.Changes() {
			var e imageEffect
			changes := false
			if err == nil {
				if e, changes, err = k.anewFor(begun, c); changes {
					err = begin(e)
				}
			}
			if err == nil {
				e, changes, err = k.effect(begun, c)
			}
			if err == nil && time.Since(handed) > imagePing {
				err = hand()
			}
			if err == nil && changes && e.begins {
				err = begin(e)
			} else if err == nil && changes {
				piece.Images = append(piece.Images, e.Image)
				if size += imageCost + len(e.Data); len(piece.Images) >= imageWindow || size >= imageWindowBytes {
					err = hand()
				}
			}
			switch {
			case errors.Is(err, errStop):
				return
			case err != nil:
				yield(nil, err)
				return
			}
		}
		_ = hand() // nobody is left to tell
	}
}
