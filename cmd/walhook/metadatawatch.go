package main

import (
	"context"
	"slices"
	"time"

	"walhook/cdc"
	"walhook/delivery"
)

// metadataWatch notices in the stream that models, fields or columns change, and asks for the rules to be compiled anew once it is
// quiet. It lives as long as the process: what one membership has seen, the next one acts on.
//
// A module that is installed or upgraded changes thousands of fields in many transactions, over minutes. So the looks at the
// catalog become rarer while signs keep coming, and what has changed is compared before anything is taken over.
type metadataWatch struct {
	signs   chan struct{} // something may have changed
	asked   chan struct{} // look now
	answers chan bool     // of a look: whether another membership takes over

	quiet   time.Duration // without a sign, before the first look
	longest time.Duration // between a sign and the look, and between looks while signs keep coming
	back    *time.Timer   // see [metadataWatch.later]
	wait    time.Duration // of it
}

func newMetadataWatch() *metadataWatch {
	return &metadataWatch{signs: make(chan struct{}, 1), asked: make(chan struct{}, 1), answers: make(chan bool, 1), quiet: time.Second, longest: 30 * time.Second}
}

// sign notes that something may have changed.
func (w *metadataWatch) sign() {
	select {
	case w.signs <- struct{}{}:
	default:
	}
}

// ask asks for a look, unless one is due anyway.
func (w *metadataWatch) ask() {
	select {
	case w.asked <- struct{}{}:
	default:
	}
}

// answer tells who waits what came of a look.
func (w *metadataWatch) answer(taken bool) {
	select {
	case <-w.answers: // of an earlier one, for which nobody has waited
	default:
	}
	w.answers <- taken
}

// patience is how long the stream waits for a look at most.
const patience = 10 * time.Second

// await asks for a look at once and waits for what comes of it. It is true when another membership takes over.
func (w *metadataWatch) await(ctx context.Context) bool {
	select {
	case <-w.answers:
	default:
	}
	w.ask()
	select {
	case taken := <-w.answers:
		return taken
	case <-time.After(patience):
	case <-ctx.Done():
	}
	return false
}

// Run turns signs into looks until ctx is cancelled.
func (w *metadataWatch) Run(ctx context.Context) error {
	quiet, last := w.quiet, time.Time{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.signs:
		}
		if time.Since(last) > 2*w.longest {
			quiet = w.quiet
		}
		if !w.settle(ctx, quiet) {
			return nil
		}
		w.ask()
		quiet, last = min(2*quiet, w.longest), time.Now()
	}
}

// settle waits until there was no sign for a while, and no longer than the longest time. It is false when ctx ends.
func (w *metadataWatch) settle(ctx context.Context, quiet time.Duration) bool {
	end := time.NewTimer(w.longest)
	defer end.Stop()
	pause := time.NewTimer(quiet)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-w.signs:
			pause.Reset(quiet)
		case <-pause.C:
			return true
		case <-end.C:
			return true
		}
	}
}

// again asks for another look after one that failed.
func (w *metadataWatch) again() { time.AfterFunc(10*w.quiet, w.sign) }

// later asks for another look after a while if some table is gone: it may come back without a sign. One that is gone for good is looked for less and
// less often.
func (w *metadataWatch) later(gone bool) {
	if !gone {
		w.wait = 0
		return
	}
	w.wait = min(max(2*w.wait, w.longest), max(longestWait, w.longest))
	if w.back == nil {
		w.back = time.AfterFunc(w.wait, w.sign)
	} else {
		w.back.Reset(w.wait)
	}
}

// longestWait is between two looks for what is gone.
const longestWait = 10 * time.Minute

// metadataGuard is a handler that looks for signs in what passes by before next handles it. One membership has one.
type metadataGuard struct {
	cdc.Handler
	watch   *metadataWatch
	survey  *survey
	retired func() bool            // another membership takes over
	seen    map[*cdc.Relation]bool // shapes of tables, and whether a change of such a table is a sign
	lost    bool                   // a table that rules watch has lost a column, in the transaction that was looked at last
}

// guard puts a watch before a handler.
func (w *metadataWatch) guard(s *survey, retired func() bool, next cdc.Handler) cdc.Handler {
	return &metadataGuard{Handler: next, watch: w, survey: s, retired: retired, seen: map[*cdc.Relation]bool{}}
}

// wants adds the registry to the tables that others want.
func (s *survey) wants(others func(schema, table string) (net, raw bool)) func(schema, table string) (net, raw bool) {
	odoo := s.catalog.Odoo
	return func(schema, table string) (net, raw bool) {
		net, raw = others(schema, table)
		return net || odoo != nil && schema == odoo.Schema && slices.Contains(registry, table), raw
	}
}

// Handle implements [cdc.Handler]. A table that has lost a column which rules may read is not handled by rules that expect it: the look
// comes first, and whoever takes over handles the batch. Where there is nothing to take over, or the look
// does not come to an end, the batch is handled as it is: what rules read and is not there parks the event, or is left out and named.
func (g *metadataGuard) Handle(ctx context.Context, txs []*cdc.Tx) (cdc.LSN, error) {
	g.lost = false
	for _, tx := range txs {
		// What was committed before the catalog was read is in it.
		if tx.CommitLSN > g.survey.since && g.tells(tx) {
			g.watch.sign()
		}
	}
	if g.lost && !g.retired() && g.watch.await(ctx) {
		return 0, delivery.ErrSuperseded
	}
	return g.Handler.Handle(ctx, txs)
}

// tells says that a transaction may have changed metadata. One that lies in a file is not read an extra time for it. That it cannot be read is
// for next to find.
func (g *metadataGuard) tells(tx *cdc.Tx) (sign bool) {
	if tx.Spilled() {
		return true
	}
	var last *cdc.Relation // rows come in runs
	for c, err := range tx.Changes() {
		if err != nil || c.Rel == nil || c.Rel == last {
			continue
		}
		last = c.Rel
		sign = g.sign(last) || sign
	}
	return sign
}

// maxShapes bounds the shapes that are remembered.
const maxShapes = 4096

// sign decides once for each shape of a table. A shape that is not the catalog's is a sign when it is seen first: the rows that follow
// say nothing new.
func (g *metadataGuard) sign(rel *cdc.Relation) bool {
	if is, known := g.seen[rel]; known {
		return is
	}
	if len(g.seen) >= maxShapes {
		clear(g.seen)
	}
	odoo := g.survey.catalog.Odoo
	is := odoo != nil && rel.Schema == odoo.Schema && slices.Contains(registry, rel.Name)
	g.seen[rel] = is
	for _, t := range g.survey.tables {
		if t.Schema == rel.Schema && t.Name == rel.Name && (t.OID != rel.OID || t.Differs(rel)) {
			g.lost = g.lost || t.Lost(rel)
			return true
		}
	}
	return is
}
