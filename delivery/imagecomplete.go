package delivery

import (
	"bytes"
	"context"
	"iter"
	"slices"

	"walhook/cdc"
)

// What is read ahead of a large transaction to fetch images for, how many are asked for before no further transaction joins, and the most rows that are remembered of one whose
// single writes are wanted (invariant 9): beyond, the rows before its further single writes are not known. Of images no more than imageWindowBytes are fetched at once.
const (
	imageWindow      = 500
	imageWindowBytes = 1 << 20
	imagesAsked      = 2000
	imageSingles     = 4 << 20
)

// run says how many transactions can be prepared together: a spilled one stands alone.
func (k *Images) run(txs []*cdc.Tx) int {
	if k == nil {
		return len(txs)
	}
	for n, tx := range txs {
		if tx.Spilled() {
			return max(n, 1)
		}
	}
	return len(txs)
}

// prepare completes transactions, which are then planned in this order, and says how many of them: the others come later, when images of
// all would take too much memory. Of a spilled one the changes are completed as they are read, and of one whose images alone would (invariant 9).
func (k *Images) prepare(ctx context.Context, txs []*cdc.Tx) (int, error) {
	if k == nil {
		return len(txs), nil
	}
	k.ahead.reset()
	if k.fetched.bytes > recentImages {
		k.fetched.reset()
	}
	if len(txs) == 1 && txs[0].Spilled() {
		k.touched = false
		txs[0].Through(func(changes iter.Seq2[*cdc.Change, error]) iter.Seq2[*cdc.Change, error] {
			k.at = txs[0].CommitLSN
			return k.through(ctx, changes)
		})
		return 1, nil
	}
	asked := 0
	for n, tx := range txs {
		if asked >= imagesAsked {
			txs = txs[:n]
			break
		}
		for c, err := range tx.Changes() {
			if err != nil {
				return 0, err
			}
			asked += k.ask(c)
		}
	}
	cut, err := k.read(ctx)
	if err != nil {
		return 0, err
	}
	if cut {
		if txs, err = k.reached(txs); err != nil {
			return 0, err
		}
	}
	for _, tx := range txs {
		if tx.Spilled() {
			return k.prepare(ctx, txs)
		}
		if err := k.transaction(tx); err != nil {
			return 0, err
		}
	}
	return len(txs), nil
}

// reached are the transactions, from the first, whose images are at hand. When there is none, it is the first one, which is then to be read piecemeal.
func (k *Images) reached(txs []*cdc.Tx) ([]*cdc.Tx, error) {
	for n, tx := range txs {
		for c, err := range tx.Changes() {
			if err != nil {
				return nil, err
			}
			if k.has(c) {
				continue
			}
			if n == 0 {
				tx.Piecemeal()
				n = 1
			}
			return txs[:n], nil
		}
	}
	return txs, nil
}

// transaction completes one transaction in memory, and works out what it does to images.
func (k *Images) transaction(tx *cdc.Tx) error {
	k.at = tx.CommitLSN
	var p imagePass
	some := false
	for c, err := range tx.Changes() {
		if err != nil {
			return err
		}
		some = k.complete(&p, c) || some
	}
	if !some {
		return nil
	}
	var effects []imageEffect
	begun := map[int32]int64{}
	for c, err := range tx.Changes() {
		if err != nil {
			return err
		}
		if e, is, err := k.anewFor(begun, c); err != nil {
			return err
		} else if is {
			effects = append(effects, e)
		}
		e, changes, err := k.effect(begun, c)
		if err != nil {
			return err
		}
		if changes {
			effects = append(effects, e)
		}
	}
	for i := range effects { // not before: the rows before a change are those before its transaction
		k.ahead.apply(&effects[i])
	}
	if k.effects == nil {
		k.effects = make(map[*cdc.Tx][]imageEffect)
	}
	k.effects[tx] = effects
	return nil
}

func (l *imageLayer) apply(e *imageEffect) {
	if e.begins {
		l.begin(e.Table, e.Generation)
		return
	}
	l.put(e.Image)
}

// planned takes note that a transaction is planned. It reports true when the batch must be committed now.
func (k *Images) planned(tx *cdc.Tx) bool {
	if k == nil {
		return false
	}
	if tx.Spilled() && k.touched {
		k.large = tx
		return true
	}
	effects := k.effects[tx]
	for i := range effects {
		k.fresh.apply(&effects[i])
	}
	delete(k.effects, tx)
	return false
}

// needs are the rows whose images a change needs: none, one or two.
func (k *Images) needs(c *cdc.Change) (t *imagedTable, keys [2]string) {
	if t = k.table(c); t == nil || c.Op == cdc.Truncate {
		return t, keys
	}
	if c.Op != cdc.Create && (c.Before.Image != cdc.ImageFull || c.Partial()) {
		keys[0] = c.Key
	}
	keys[1] = c.From
	return t, keys
}

// ask takes note of the images that a change needs and that are not known, and says how many.
func (k *Images) ask(c *cdc.Change) (n int) {
	t, keys := k.needs(c)
	for _, key := range keys {
		if key == "" {
			continue
		}
		if _, known := k.find(imageKey{t.ID, key}); !known {
			t.wanted = append(t.wanted, key)
			k.fetched.put(Image{Table: t.ID, Key: key}) // none, unless it is found
			n++
		}
	}
	return n
}

// has says that the images that a change needs are known, or that there are none.
func (k *Images) has(c *cdc.Change) bool {
	t, keys := k.needs(c)
	for _, key := range keys {
		if key == "" {
			continue
		}
		if _, known := k.find(imageKey{t.ID, key}); !known {
			return false
		}
	}
	return true
}

// imagePass is one way through a transaction.
type imagePass struct {
	singles map[imageKey]cdc.Row // rows as single writes have left them; of what was deleted, as it was
	bytes   int
	emptied map[int32]bool // tables that were truncated
	cut     bool           // there were more than are remembered
}

// complete fills in what WAL does not hold of a change. It reports whether the table has images.
func (k *Images) complete(p *imagePass, c *cdc.Change) bool {
	t := k.table(c)
	switch {
	case t == nil:
		return false
	case c.Op == cdc.Truncate:
		if p.emptied == nil {
			p.emptied = make(map[int32]bool)
		}
		p.emptied[t.ID] = true
		for id := range p.singles {
			if id.table == t.ID {
				delete(p.singles, id)
			}
		}
		return true
	case c.Raw:
		k.completeSingle(p, t, c)
		return true
	}
	if c.From != "" {
		c.CompleteAfter(k.row(t, c.From, c.Rel))
	}
	if c.Op != cdc.Create && (c.Before.Image != cdc.ImageFull || c.Partial()) {
		c.Complete(k.row(t, c.Key, c.Rel))
	}
	return true
}

// completeSingle completes one write of several of a row.
func (k *Images) completeSingle(p *imagePass, t *imagedTable, c *cdc.Change) {
	before := func(key string) cdc.Row {
		row, written := p.singles[imageKey{t.ID, key}]
		if !written && !p.emptied[t.ID] && !p.cut {
			row = k.row(t, key, c.Rel)
		}
		return row
	}
	if c.From != "" {
		c.CompleteAfter(before(c.From))
	}
	if c.Op != cdc.Create {
		c.Complete(before(c.Key))
	}
	row := c.Row()
	if p.bytes += imageCost + row.Size(); p.bytes > imageSingles {
		p.cut, p.singles = true, nil
		return
	}
	if p.singles == nil {
		p.singles = make(map[imageKey]cdc.Row)
	}
	p.singles[imageKey{t.ID, c.Key}] = row
}

// effect is what a net change does to images, if anything. begun are the generations that tables begin anew with in its transaction.
func (k *Images) effect(begun map[int32]int64, c *cdc.Change) (e imageEffect, changes bool, err error) {
	t := k.table(c)
	if t == nil || c.Raw {
		return e, false, nil
	}
	generation, anew := begun[t.ID]
	if !anew {
		generation = k.generation(t)
	}
	e.Image = Image{Table: t.ID, Key: c.Key, Generation: generation}
	switch c.Op {
	case cdc.Truncate:
		e.Generation, e.begins = generation+1, true
		begun[t.ID] = e.Generation
		return e, true, nil
	case cdc.Unlink:
		return e, true, nil
	case cdc.Create, cdc.Write:
	default:
		return e, false, nil
	}
	if e.Image, err = k.image(t, c.Key, generation, c.After); err != nil {
		return e, false, err
	}
	old, known := k.find(imageKey{t.ID, c.Key})
	same := known && old.Data != nil && old.Generation == generation && old.Shape == e.Shape && bytes.Equal(old.Data, e.Data)
	return e, !same || anew, nil
}

// anewFor lets a table begin anew before a change when it is another one than before, by the same name. It is filled again.
func (k *Images) anewFor(begun map[int32]int64, c *cdc.Change) (e imageEffect, is bool, err error) {
	t := k.table(c)
	if t == nil || c.Raw || !t.replaced(c.Rel) {
		return e, false, nil
	}
	if _, err := k.shape(t, c.Rel); err != nil {
		return e, false, err
	}
	generation, anew := begun[t.ID]
	if !anew {
		generation = k.generation(t)
	}
	begun[t.ID] = generation + 1
	return imageEffect{Image: Image{Table: t.ID, Generation: generation + 1}, begins: true}, true, nil
}

// through completes the changes of a spilled transaction, some at a time.
func (k *Images) through(ctx context.Context, changes iter.Seq2[*cdc.Change, error]) iter.Seq2[*cdc.Change, error] {
	return func(yield func(*cdc.Change, error) bool) {
		var p imagePass
		var window []*cdc.Change
		size := 0
		pass := func() bool {
			for rest := window; len(rest) > 0; {
				k.fetched.reset()
				for _, c := range rest {
					k.ask(c)
				}
				cut, err := k.read(ctx)
				if err != nil {
					yield(nil, err)
					return false
				}
				n := len(rest)
				if cut { // the first change has what it needs
					n = max(1, slices.IndexFunc(rest, func(c *cdc.Change) bool { return !k.has(c) }))
				}
				for _, c := range rest[:n] {
					k.complete(&p, c)
				}
				for i, c := range rest[:n] {
					if !yield(c, nil) {
						return false
					}
					rest[i] = nil
				}
				rest = rest[n:]
			}
			window, size = window[:0], 0
			return true
		}
		for c, err := range changes {
			if err == nil && ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			imaged := k.table(c) != nil
			k.touched = k.touched || imaged
			if !imaged && len(window) == 0 {
				if !yield(c, nil) {
					return
				}
				continue
			}
			window = append(window, c.Clone())
			if size += c.Size(); len(window) >= imageWindow || size >= imageWindowBytes {
				if !pass() {
					return
				}
			}
		}
		if len(window) > 0 {
			pass()
		}
	}
}
