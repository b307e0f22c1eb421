package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"walhook/cdc"
	"walhook/rules"
)

// Gone is a record that an endpoint was told of, and that a resync has not found any more.
type Gone struct{ Rule, Record, Endpoint string }

// GonePage is some of what one rule of one resync is to tell, in order.
type GonePage struct {
	Resync int64
	Begun  time.Time // of the resync: part of the ids of its deliveries
	High   cdc.LSN   // the stream must have been handled up to here before it is told
	Base   int64     // deliveries behind this number came after the resync was begun
	Rule   string
	Gone   []Gone
}

// GoneStore keeps what a resync has found to be gone. Package state implements it.
type GoneStore interface {
	// NextGone returns a page of the oldest resync that has any; nil when none has.
	NextGone(ctx context.Context, limit int) (*GonePage, error)

	// TellGone commits the deliveries of a page, and takes the page away, in one SQL transaction and for the reader of the slot alone. It asks plan
	// for them with those of the page that no delivery of the stream has told of since the resync began: what has been deleted or made anew
	// since, the endpoint knows already. plan may be called again when more has come meanwhile.
	TellGone(ctx context.Context, page *GonePage, model string, plan func([]Gone) (*Batch, error)) error
}

// Resyncer tells of records that were deleted while no slot kept what happened (A7): a delivery with op unlink for each endpoint that knew of one, once.
//
// Where images of the table's rows were kept, the record is known as it was when changes were missed, and is judged as any that is deleted. Of others nothing
// is known but the key: conditions are not evaluated (which records a rule tells of was decided by the command, which knows who
// was told what), and payloads show the key. What the stream brings meanwhile comes first, and in the order of its lane.
type Resyncer struct{ cfg ResyncConfig }

// ResyncConfig is what a [Resyncer] works with.
type ResyncConfig struct {
	ID        Identity
	Rules     *rules.Set
	Endpoints map[string]EndpointConfig
	Store     GoneStore
	Before    BeforeStore
	Loader    Loader // of related rows

	// Handled says how far the stream has been handled.
	Handled func() cdc.LSN
	// Queued is called after deliveries were queued, with their endpoints. It may be nil.
	Queued func(endpoints []string)
	// Told is called after a page was queued, Failed when one could not be; it is tried again after a pause. They may be nil.
	Told   func(page *GonePage, deliveries int)
	Failed func(err error, retry time.Duration)
}

// Bounds of one SQL transaction, and pauses.
const (
	gonePage     = 200
	goneLook     = 2 * time.Second // for a resync that was begun while this process reads
	goneReached  = 50 * time.Millisecond
	goneRetryMax = 30 * time.Second
)

// NewResyncer returns one.
func NewResyncer(cfg ResyncConfig) *Resyncer { return &Resyncer{cfg} }

// Run tells what there is to tell until ctx is cancelled, which is no error, or another process reads the slot ([ErrSuperseded]).
func (s *Resyncer) Run(ctx context.Context) error {
	pause := time.Second
	for ctx.Err() == nil {
		more, err := s.step(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrSuperseded):
			return err
		case err != nil:
			if s.cfg.Failed != nil {
				s.cfg.Failed(err, pause)
			}
			rest(ctx, pause)
			pause = min(2*pause, goneRetryMax)
			continue
		case !more:
			rest(ctx, goneLook)
		}
		pause = time.Second
	}
	return nil
}

// step tells one page.
func (s *Resyncer) step(ctx context.Context) (more bool, err error) {
	page, err := s.cfg.Store.NextGone(ctx, gonePage)
	if err != nil || page == nil {
		return false, err
	}
	for s.cfg.Handled() < page.High {
		if rest(ctx, goneReached); ctx.Err() != nil {
			return false, nil
		}
	}
	i := slices.IndexFunc(s.cfg.Rules.Rules(), func(r *rules.Rule) bool { return r.Name == page.Rule && r.IsActive() })
	if i < 0 { // the rule was taken out since: there is nothing to tell any more
		none := func([]Gone) (*Batch, error) { return &Batch{}, nil }
		return true, s.cfg.Store.TellGone(ctx, page, "", none)
	}
	r := s.cfg.Rules.Rules()[i]
	queued := 0
	var endpoints []string
	if err := s.cfg.Store.TellGone(ctx, page, r.Model, func(gone []Gone) (*Batch, error) {
		batch, err := s.plan(ctx, r, page, gone)
		if err == nil {
			queued, endpoints = len(batch.Deliveries), endpointsOf(batch.Deliveries)
		}
		return batch, err
	}); err != nil {
		return false, err
	}
	if queued > 0 && s.cfg.Queued != nil {
		s.cfg.Queued(endpoints)
	}
	if s.cfg.Told != nil {
		s.cfg.Told(page, queued)
	}
	return true, nil
}

// plan makes the deliveries, or parked events where a payload can't be made of a key alone.
func (s *Resyncer) plan(ctx context.Context, r *rules.Rule, page *GonePage, gone []Gone) (*Batch, error) {
	p := newPlannerOf(s.cfg.ID, s.cfg.Rules, r, s.cfg.Endpoints, s.cfg.Loader)
	rel := relationOf(r)
	before, err := s.before(ctx, r, rel, gone)
	if err != nil {
		return nil, err
	}
	tx := cdc.NewTx(0, page.High, page.High, page.Begun, nil)
	info := rules.TxInfo{LSN: page.High, Time: page.Begun}
	batch := &Batch{Matched: map[string]int64{}}
	for len(gone) > 0 { // all endpoints of one record at once: they share the body
		n := 1
		for n < len(gone) && gone[n].Record == gone[0].Record {
			n++
		}
		var endpoints []string
		for _, g := range gone[:n] {
			endpoints = append(endpoints, g.Endpoint)
		}
		c, err := cdc.NewGone(rel, gone[0].Record)
		if gone = gone[n:]; err != nil {
			continue // the table's key is another one now: the record cannot be named
		}
		p.step = Step{}
		if row, known := before[c.Key]; known && row.Relation() != nil {
			c.Before = row
			if err := s.judge(ctx, p, page, c, endpoints, batch); err != nil {
				return nil, err
			}
			continue
		}
		batch.Matched[r.Name]++
		err = p.deliverTo(endpoints, tx, info, c, r, nil)
		var eval *rules.EvalError
		switch {
		case errors.As(err, &eval):
			if err := p.park(tx, info, c, r, err); err != nil {
				return nil, err
			}
		case err != nil:
			return nil, fmt.Errorf("rule %q on %s %s: %w", r.Name, c.Rel, c.Key, err)
		}
		for _, e := range p.step.Parked {
			e.ParkedAt = time.Now()
		}
		batch.Deliveries, batch.Parked = append(batch.Deliveries, p.step.Deliveries...), append(batch.Parked, p.step.Parked...)
	}
	return batch, nil
}

// before reads what is known of records as they were.
func (s *Resyncer) before(ctx context.Context, r *rules.Rule, rel *cdc.Relation, gone []Gone) (rowsBefore, error) {
	if s.cfg.Before == nil {
		return nil, nil
	}
	var keys []string
	for _, g := range gone {
		if len(keys) == 0 || keys[len(keys)-1] != g.Record {
			keys = append(keys, g.Record)
		}
	}
	b, err := s.cfg.Before.ImagesBefore(ctx, r.Table.Schema, r.Table.Name, keys)
	if err != nil {
		return nil, err
	}
	return b.read(rel, s.cfg.Rules.Keeps)
}

// judge adds what follows from the deletion of a record that is known as it was.
func (s *Resyncer) judge(ctx context.Context, p *Planner, page *GonePage, c *cdc.Change, endpoints []string, batch *Batch) error {
	p.only = endpoints
	defer func() { p.only = nil }()
	tx := cdc.NewTx(0, page.High, page.High, page.Begun, []*cdc.Change{c})
	if err := p.Prepare(ctx, []*cdc.Tx{tx}); err != nil {
		return err
	}
	for step, err := range p.Plan(ctx, tx, 0) {
		if err != nil {
			return err
		}
		for _, e := range step.Parked {
			e.ParkedAt = time.Now()
		}
		batch.Deliveries, batch.Parked = append(batch.Deliveries, step.Deliveries...), append(batch.Parked, step.Parked...)
		tallyRules(&batch.Matched, step.Matched)
		tallyRules(&batch.Sampled, step.Sampled)
	}
	return nil
}

// relationOf describes a rule's table for a change that no transaction has made.
func relationOf(r *rules.Rule) *cdc.Relation {
	var columns []cdc.Column
	for _, c := range r.Table.Columns {
		if !c.Generated {
			columns = append(columns, cdc.Column{Name: c.Name, Type: c.Type})
		}
	}
	return cdc.NewRelation(r.Table.OID, r.Table.Schema, r.Table.Name, r.Table.Identity, columns, r.Table.PrimaryKey)
}

// rest waits.
func rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
