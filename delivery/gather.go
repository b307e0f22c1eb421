package delivery

import (
	"fmt"
	"iter"

	"walhook/cdc"
	"walhook/rules"
)

// gatherLimits bound what is gathered for one event, and what is held of a spilled transaction while events wait for their last line (invariant 9).
type gatherLimits struct {
	lines  int // of one event
	open   int // events that wait for more, of a spilled transaction
	bytes  int // of the rows that they hold
	marked int // records that are told apart in one pass
}

var defaultGatherLimits = gatherLimits{lines: 1000, open: 20_000, bytes: 8 << 20, marked: 50_000}

// gatherer brings together the changes of a transaction that make one event of a record: its own and those of its lines. It hands on the
// changes of a transaction in order, and where the last change of such an event has come, the event after it as a change of its own, with the
// same ordinal. What follows from a transaction is the same each time it is read, from wherever it is read on (invariants 3 and 6).
type gatherer struct {
	on      bool
	set     *rules.Set
	matcher *rules.Matcher
	cascade *cascades
	limits  gatherLimits
	quiet   func() bool // changes that nothing follows from are left out; nil for never

	ready map[*cdc.Tx][]*cdc.Change // of transactions in memory
	found []rules.Contribution      // scratch
}

// newGatherer returns a gatherer for a set's rules.
func newGatherer(set *rules.Set, m *rules.Matcher) *gatherer {
	g := &gatherer{on: set.Gathers(), set: set, matcher: m, cascade: newCascades(set), limits: defaultGatherLimits}
	if g.on {
		m.Gather()
	}
	return g
}

// reset forgets what was gathered: other transactions come.
func (g *gatherer) reset() { g.ready = nil }

// changes yields what rules are matched on. A transaction in memory is gathered once.
func (g *gatherer) changes(tx *cdc.Tx) iter.Seq2[*cdc.Change, error] {
	source := tx.Changes()
	if g.quiet != nil && g.quiet() {
		source = tx.Telling()
	}
	source = g.cascade.mark(source)
	switch {
	case !g.on:
		return source
	case tx.Spilled():
		return func(yield func(*cdc.Change, error) bool) {
			last, told, err := g.lastOnes(source)
			if err != nil {
				yield(nil, err)
				return
			}
			r := gatherRun{gatherer: g, last: last, told: told, copied: true, open: map[eventKey]*gatheredEvent{}}
			r.run(source, yield)
		}
	}
	list, done := g.ready[tx]
	if !done {
		last, told, err := g.lastOnes(source)
		if err == nil {
			r := gatherRun{gatherer: g, last: last, told: told, open: map[eventKey]*gatheredEvent{}}
			r.run(source, func(c *cdc.Change, failed error) bool {
				list, err = append(list, c), failed
				return failed == nil
			})
		}
		if err != nil {
			return func(yield func(*cdc.Change, error) bool) { yield(nil, err) }
		}
		if g.ready == nil {
			g.ready = map[*cdc.Tx][]*cdc.Change{}
		}
		g.ready[tx] = list
	}
	return func(yield func(*cdc.Change, error) bool) {
		for _, c := range list {
			if !yield(c, nil) {
				return
			}
		}
	}
}

// eventKey is what makes one event: a rule and a record.
type eventKey struct {
	rule *rules.Rule
	key  string
}

// bits is a set of small numbers: contributions, counted in the order of the transaction.
type bits []uint64

func (b *bits) set(n int) {
	for n/64 >= len(*b) {
		*b = append(*b, 0)
	}
	(*b)[n/64] |= 1 << (n % 64)
}

func (b bits) has(n int) bool { return n/64 < len(b) && b[n/64]>>(n%64)&1 == 1 }

// lastSeen is the last contribution to an event so far.
type lastSeen struct {
	at  int  // its number, from 1
	own bool // it, or one before it, is the record's own change
}

// lastOnes finds the contributions that are the last ones to their events, and those that come behind the record's own change. Where there are too many records to be told apart in memory, it
// goes through the transaction several times, each time for some of them.
func (g *gatherer) lastOnes(source iter.Seq2[*cdc.Change, error]) (last, told bits, err error) {
	passes := 1
	for pass := 0; pass < passes; pass++ {
		seen := map[eventKey]lastSeen{}
		n, over := 0, false
		for c, err := range source {
			if err != nil {
				return nil, nil, err
			}
			g.found = g.matcher.Contributions(g.found[:0], c)
			for i := range g.found {
				k := eventKey{g.found[i].Rule, g.found[i].Key}
				switch {
				case over || passes > 1 && int(hashKey(k.key)%uint64(passes)) != pass:
				case passes == 1 && len(seen) >= g.limits.marked && seen[k].at == 0:
					over = true
				default:
					was := seen[k]
					if was.own {
						told.set(n)
					}
					seen[k] = lastSeen{at: n + 1, own: was.own || g.found[i].Own}
				}
				n++
			}
		}
		if over { // begin anew, now that it is known how many there are at most
			passes, pass = n/g.limits.marked+1, -1
			continue
		}
		for _, s := range seen {
			last.set(s.at - 1)
		}
	}
	return last, told, nil
}

// hashKey is FNV-1a.
func hashKey(key string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(key) {
		h = (h ^ uint64(key[i])) * 1099511628211
	}
	return h
}

// gatherRun is one way through a transaction.
type gatherRun struct {
	*gatherer
	last   bits
	told   bits // contributions that come behind the record's own change
	copied bool // changes are valid until the next step only
	n      int  // contributions so far
	bytes  int  // of rows that open events hold
	open   map[eventKey]*gatheredEvent

	refused bool // there was no room for some contribution: what is opened from then on may have missed one
}

// gatheredEvent is an event that may wait for more.
type gatheredEvent struct {
	own   *cdc.Change
	lines []cdc.Line
	cut   bool
	sent  bool // what came of the record itself was too much to hold, and was sent without waiting
	bytes int
}

// run yields the changes, and the gathered events behind their last ones.
func (r *gatherRun) run(source iter.Seq2[*cdc.Change, error], yield func(*cdc.Change, error) bool) {
	for c, err := range source {
		if !yield(c, err) || err != nil {
			return
		}
		r.found = r.matcher.Contributions(r.found[:0], c)
		if len(r.found) == 0 {
			continue
		}
		for _, done := range r.take(c) {
			if !yield(done, nil) {
				return
			}
		}
	}
}

// take adds a change's contributions, and returns the events that are complete with it, and those that cannot wait.
func (r *gatherRun) take(c *cdc.Change) (done []*cdc.Change) {
	var complete []eventKey
	kept := c
	if r.copied {
		kept = c.Clone()
	}
	for i := range r.found {
		f := &r.found[i]
		k := eventKey{f.Rule, f.Key}
		ends, told := r.last.has(r.n), r.told.has(r.n)
		r.n++
		if told && r.open[k] == nil {
			continue // there was no room for the record's own change: it was sent by itself, with the id that this would have too (invariant 3)
		}
		if f.Key == "" {
			stray := *kept
			stray.Gathered = &cdc.Gathered{For: f.Rule.Name, Stray: true, Lines: []cdc.Line{{Of: f.Line.Of, Op: f.Line.Op, Change: kept}}}
			done = append(done, &stray)
			continue
		}
		e := r.event(k, ends)
		if e == nil { // no room for one more that waits
			if f.Own {
				done = append(done, gathered(f.Rule, f.Key, c.Ordinal, &gatheredEvent{own: kept, cut: true}))
			}
			continue
		}
		if r.add(e, f, kept, ends) {
			done = append(done, gathered(f.Rule, f.Key, c.Ordinal, e))
			e.sent, e.own, e.lines, e.cut = true, nil, nil, true
			r.bytes -= e.bytes
			e.bytes = 0
		}
		if ends {
			complete = append(complete, k)
		}
	}
	for _, k := range complete {
		e := r.open[k]
		delete(r.open, k)
		r.bytes -= e.bytes
		if !e.sent {
			done = append(done, gathered(k.rule, k.key, c.Ordinal, e))
		}
	}
	return done
}

// event finds the open event, or opens one while there is room; one that ends now always has it. It is nil where there is none.
func (r *gatherRun) event(k eventKey, ends bool) *gatheredEvent {
	e := r.open[k]
	switch {
	case e != nil:
	case !r.copied || ends || len(r.open) < r.limits.open:
		e = &gatheredEvent{cut: r.refused}
		r.open[k] = e
	default:
		r.refused = true
	}
	return e
}

// add adds a contribution to an event. It reports true when the event must go now, since there is no room to hold the record's own row.
func (r *gatherRun) add(e *gatheredEvent, f *rules.Contribution, kept *cdc.Change, ends bool) (now bool) {
	size := kept.Size()
	room := !r.copied || ends || r.bytes+size <= r.limits.bytes
	switch {
	case e.sent:
		return false
	case f.Own:
		e.own = kept
		now = !room
	case len(e.lines) >= r.limits.lines || !room:
		e.cut = true
		return false
	default:
		e.lines = append(e.lines, f.Line)
		e.lines[len(e.lines)-1].Change = kept
	}
	e.bytes += size
	r.bytes += size
	return now
}

// gathered makes a change of an event.
func gathered(r *rules.Rule, key string, ordinal uint64, e *gatheredEvent) *cdc.Change {
	g := &cdc.Gathered{For: r.Name, Lines: e.lines, Cut: e.cut, Own: e.own != nil}
	if e.own == nil {
		return r.Standing(key, ordinal, g)
	}
	c := *e.own
	c.Ordinal, c.Gathered = ordinal, g
	return &c
}

// stray is the rule that a line was gathered for which is nobody's; nil for other changes.
func (p *Planner) stray(c *cdc.Change) *rules.Rule {
	if c.Gathered == nil || !c.Gathered.Stray {
		return nil
	}
	return p.related.gather.rule(c.Gathered.For)
}

// rule finds an active rule.
func (g *gatherer) rule(name string) *rules.Rule {
	for _, r := range g.set.Rules() {
		if r.Name == name && r.IsActive() {
			return r
		}
	}
	return nil
}

// strayError says why a line is nobody's.
func strayError(r *rules.Rule, c *cdc.Change) error {
	field := c.Gathered.Lines[0].Of
	return &rules.EvalError{Rule: r.Name, Path: "rollup", Offset: -1,
		Err: fmt.Errorf("%s %s was deleted: %w", c.Rel, c.Key, &rules.MissingError{Name: "whose " + field + " it was", Rel: c.Rel, Err: rules.ErrNoOldRow})}
}
