package delivery

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"slices"

	"walhook/cdc"
	"walhook/delivery/payload"
	"walhook/rules"
)

// Planner works out which deliveries follow from a transaction: it matches changes, builds bodies
// and names deliveries and lanes. Given the same rules and the same related rows it makes the same of a
// transaction each time (invariants 3 and 6); it knows no store.
//
// A rule that fails on a change makes a [Parked] event instead of deliveries (C5). A Planner is
// used by one goroutine at a time.
type Planner struct {
	id      Identity
	matcher *rules.Matcher
	related related
	lanes   map[string]string // endpoint → ordering
	only    []string          // endpoints that are sent to; nil for all of a rule's
	formats formats
	upgrade upgradeWatch

	recording func() bool                                 // whether changes are to be recorded; nil for never
	keep      func(rel *cdc.Relation, column string) bool // columns that hold no secret

	matches []rules.Match // scratch
	body    []byte        // scratch
	step    Step          // what Plan yields
}

// NewPlanner returns a planner for a set of rules. related fetches the rows that rules
// refer to; it may be nil when no rule does.
func NewPlanner(id Identity, set *rules.Set, endpoints map[string]EndpointConfig, loader Loader) *Planner {
	p := &Planner{id: id, matcher: set.NewMatcher(), keep: set.Keeps, lanes: make(map[string]string, len(endpoints))}
	if len(set.Related()) > 0 {
		p.related = related{loader: loader, matcher: p.matcher}
	}
	p.related.gather = newGatherer(set, p.matcher)
	p.related.gather.quiet = func() bool { return p.recording == nil || !p.recording() }
	p.upgrade.schema = set.OdooSchema()
	for name, c := range endpoints {
		p.lanes[name] = c.WithDefaults().Ordering
	}
	p.formats = formatsOf(endpoints)
	return p
}

// Judge returns what tells of changes of a large transaction that Plan makes nothing of them, for a [cdc.Source] whose handler plans by the same set
// of rules. Row images must not be kept: they are of all changes.
func Judge(set *rules.Set) cdc.Judge {
	m := set.NewMatcher()
	return func(tx *cdc.Tx, c *cdc.Change) bool {
		return m.Quiet(rules.TxInfo{XID: tx.XID, LSN: tx.CommitLSN, Time: tx.CommitTime}, c)
	}
}

// Step is what follows from one change. The slices are reused for the next step; what they point to
// is not.
type Step struct {
	Ordinal    uint64 // the change's
	Deliveries []*Delivery
	Parked     []*Parked
	Matched    []string    // names of the rules that matched
	Sampled    []string    // of these, rules whose sample leaves the record out
	Recorded   *cdc.Change // the change, if it is to be recorded; valid until the next step
	Ignored    []string    // of these, rules that leave out what this user changes
	Dropped    []string    // of these, rules that drop what happens during an upgrade
}

func (s *Step) empty() bool {
	return len(s.Deliveries) == 0 && len(s.Parked) == 0 && len(s.Matched) == 0 && s.Recorded == nil
}

// Prepare fetches the related rows for transactions that are then planned one after the other.
func (p *Planner) Prepare(ctx context.Context, txs []*cdc.Tx) error {
	p.related.gather.reset()
	return p.related.prepare(ctx, txs)
}

// Plan yields what follows from each change of a transaction that Prepare was called for, in
// order, beginning at an ordinal. Changes that nothing follows from are left out. An error ends it: the
// transaction cannot be read, or related rows cannot be fetched.
func (p *Planner) Plan(ctx context.Context, tx *cdc.Tx, from uint64) iter.Seq2[*Step, error] {
	return func(yield func(*Step, error) bool) {
		for c, err := range p.related.changes(ctx, tx, from) {
			if err != nil {
				yield(nil, fmt.Errorf("plan transaction %d at %s: %w", tx.XID, tx.CommitLSN, err))
				return
			}
			if err := p.plan(tx, c); err != nil {
				yield(nil, err)
				return
			}
			if !p.step.empty() && !yield(&p.step, nil) {
				return
			}
		}
	}
}

// plan fills in the step of one change.
func (p *Planner) plan(tx *cdc.Tx, c *cdc.Change) error {
	s := &p.step
	s.Ordinal, s.Deliveries, s.Parked, s.Matched, s.Sampled, s.Ignored, s.Dropped = c.Ordinal, s.Deliveries[:0], s.Parked[:0], s.Matched[:0], s.Sampled[:0], s.Ignored[:0], s.Dropped[:0]
	if s.Recorded = nil; p.keeps(c) {
		s.Recorded = c
	}
	info := p.related.info(tx)
	if problem := rules.MessageProblem(c); problem != "" {
		return p.malformed(tx, c, problem)
	}
	if r := p.stray(c); r != nil {
		return p.park(tx, info, c, r, strayError(r, c))
	}
	p.matches = p.matcher.Match(p.matches[:0], info, c)
	for i := range p.matches {
		m := &p.matches[i]
		if m.Echo {
			s.Matched, s.Ignored = append(s.Matched, m.Rule.Name), append(s.Ignored, m.Rule.Name)
			continue
		}
		failure := m.Err
		if failure == nil {
			s.Matched = append(s.Matched, m.Rule.Name)
			if !m.Rule.Handling.Takes(m.Rule.Table, c.Key) {
				s.Sampled = append(s.Sampled, m.Rule.Name)
				continue
			}
			if kept, err := p.setAside(tx, info, c, m.Rule); kept || err != nil {
				if err != nil {
					return err
				}
				continue
			}
			failure = p.deliver(tx, info, c, m.Rule)
		}
		if failure == nil {
			continue
		}
		var eval *rules.EvalError
		if !errors.As(failure, &eval) {
			return fmt.Errorf("rule %q on %s %s: %w", m.Rule.Name, c.Rel, c.Key, failure)
		}
		if err := p.park(tx, info, c, m.Rule, failure); err != nil {
			return err
		}
	}
	return nil
}

// deliver plans a delivery for each endpoint of a rule that matched, and of a rule that splits for each group of lines: for all of them, or none.
func (p *Planner) deliver(tx *cdc.Tx, info rules.TxInfo, c *cdc.Change, r *rules.Rule) error {
	planned := len(p.step.Deliveries)
	var err error
	if r.Splits() {
		err = p.deliverGroups(tx, info, c, r)
	} else {
		err = p.deliverTo(r.Endpoints, tx, info, c, r, nil)
	}
	if err != nil {
		p.step.Deliveries = p.step.Deliveries[:planned]
	}
	return err
}

// deliverTo plans a delivery for each of some endpoints, of a group of the record's lines or, without one, of the whole record. Endpoints with the
// same format share the body.
func (p *Planner) deliverTo(endpoints []string, tx *cdc.Tx, info rules.TxInfo, c *cdc.Change, r *rules.Rule, g *rules.Group) error {
	event := r.EventOf(c)
	bodies := outfit{formats: p.formats, build: func(dialect payload.Dialect) (body []byte, err error) {
		p.body, err = payload.BuildGroup(dialect, p.body[:0], p.matcher, r, event, info, c, g)
		return p.body, err
	}}
	for _, endpoint := range endpoints {
		if p.only != nil && !slices.Contains(p.only, endpoint) {
			continue
		}
		d := &Delivery{
			ID: deliveryID(p.id, tx, c, r.Name, endpoint), Endpoint: endpoint,
			Rule: r.Name, Event: event, Model: modelOf(r, c), Record: c.Key, Op: r.Op(c),
			CommitLSN: tx.CommitLSN, XID: tx.XID, CommitAt: tx.CommitTime,
			Test: r.Handling.Test, Priority: r.Handling.Priority, Wait: r.Handling.Wait, Max: r.Handling.Max,
		}
		if g != nil {
			d.ID = groupID(p.id, tx, c, r.Name, endpoint, g.Key)
		}
		d.Lane = laneKey(p.lanes[endpoint], d)
		if err := bodies.dress(d); err != nil {
			return err
		}
		p.step.Deliveries = append(p.step.Deliveries, d)
	}
	return nil
}

// park keeps an event whose rule failed.
func (p *Planner) park(tx *cdc.Tx, info rules.TxInfo, c *cdc.Change, r *rules.Rule, failure error) error {
	change, err := cdc.EncodeEvent(c, p.keep)
	if err != nil {
		return fmt.Errorf("park an event of rule %q on %s %s: %w", r.Name, c.Rel, c.Key, err)
	}
	text := failure.Error()
	if missing := p.related.why(tx, c); missing != nil {
		text = fmt.Sprintf("%s (related rows could not be fetched: %v)", text, missing)
	}
	p.step.Parked = append(p.step.Parked, &Parked{
		ID: parkedID(p.id, tx, c, r.Name), Rule: r.Name, Model: modelOf(r, c), Record: c.Key,
		CommitLSN: tx.CommitLSN, XID: tx.XID, CommitAt: tx.CommitTime, Error: text, Change: change,
	})
	return nil
}

// maxLaneKey bounds lane keys, which are indexed.
const maxLaneKey = 256

// laneKey names the lane of a delivery by its endpoint's ordering.
func laneKey(ordering string, d *Delivery) string {
	switch ordering {
	case OrderEndpoint:
		return ""
	case OrderNone:
		return d.ID
	}
	return RecordKey(d)
}

// RecordKey names a delivery's record within its endpoint.
func RecordKey(d *Delivery) string {
	key := d.Model + "/" + d.Record
	if len(key) > maxLaneKey {
		sum := sha256.Sum256([]byte(key))
		key = d.Model + "/#" + hex.EncodeToString(sum[:16])
	}
	return key
}
