package main

import (
	"context"
	"time"

	"github.com/rs/zerolog"

	"walhook/cdc"
	"walhook/cdc/catalog"
	"walhook/internal/periodic"
	"walhook/state"
)

// identityEvery is how often the source is asked who it is.
const identityEvery = 10 * time.Second

// identityWatch ends the process when the source turns out to be another one than the state belongs to, or a copy, while it
// runs: a database that is neutralized or given a new uuid must not go on firing production's webhooks (invariant 5).
//
// The stream tells first, before anything that was committed later is queued. The look every ten seconds finds what the stream
// does not show, such as a parameter that was deleted, and is all that a process has that stands by.
//
// What was committed before the look at start is not judged again: that look has seen what came of it.
type identityWatch struct {
	bound  state.Binding
	name   string  // of the state schema, for errors
	schema string  // where Odoo's tables are; "" when the database is not Odoo's
	since  cdc.LSN // end of WAL before the look at start
	live   *cdc.Live
	every  time.Duration
	log    zerolog.Logger
}

func (m *member) watchIdentity() *identityWatch {
	w := &identityWatch{bound: m.at.identity, name: m.cfg.State.Schema, since: m.survey.since, live: m.lookups, every: identityEvery, log: m.p.log}
	if odoo := m.survey.catalog.Odoo; odoo != nil {
		w.schema = odoo.Schema
	}
	return w
}

// identityNeeds asks for the table whose changes tell of a copy to be streamed, where it can be.
func identityNeeds(cat *catalog.Catalog) []cdc.TableNeed {
	if cat == nil || cat.Odoo == nil {
		return nil
	}
	t := cat.Table(cat.Odoo.Schema, cdc.ParameterTable)
	if t == nil || len(t.PrimaryKey) == 0 || t.Unlogged || t.Partitioned {
		return nil
	}
	return []cdc.TableNeed{{Schema: t.Schema, Table: t.Name, Why: []string{"a copy of the database is recognised by it"}}}
}

// wants adds the table of parameters to those that rules want.
func (w *identityWatch) wants(rules func(schema, table string) (net, raw bool)) func(schema, table string) (net, raw bool) {
	return func(schema, table string) (net, raw bool) {
		net, raw = rules(schema, table)
		return net || w.schema != "" && schema == w.schema && table == cdc.ParameterTable, raw
	}
}

// Run looks until ctx is cancelled. It returns an error when the source is another one; that it does not answer is for others to tell.
func (w *identityWatch) Run(ctx context.Context) error {
	return periodic.Run(ctx, w.every, func() error {
		found, err := w.look(ctx)
		if err != nil {
			w.log.Debug().Err(err).Msg("identity not looked at")
			return nil
		}
		return w.judge(found)
	})
}

// confirm looks until the source answers, once: what changed between the look at start and the beginning of the stream is seen by neither.
func (w *identityWatch) confirm(ctx context.Context) error {
	for {
		found, err := w.look(ctx)
		if err == nil {
			return w.judge(found)
		}
		w.log.Debug().Err(err).Msg("identity not looked at")
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(min(w.every, time.Second)):
		}
	}
}

// look asks the source who it is.
func (w *identityWatch) look(ctx context.Context) (state.Binding, error) {
	ctx, cancel := context.WithTimeout(ctx, w.every)
	defer cancel()
	id, err := w.live.Identity(ctx, w.schema)
	if err != nil {
		return state.Binding{}, err
	}
	return identityOf(id, w.bound, w.bound.Slot), nil
}

// judge is an error unless the source is the one that was bound.
func (w *identityWatch) judge(found state.Binding) error {
	return environmentError(w.bound.Mismatch(w.name, found), "")
}

// guard is a handler that looks at what passes by before next does. Nothing of a batch that tells of another identity is handled.
func (w *identityWatch) guard(next cdc.Handler) cdc.Handler { return identityGuard{w, next} }

type identityGuard struct {
	*identityWatch
	cdc.Handler
}

// Handle implements [cdc.Handler].
func (g identityGuard) Handle(ctx context.Context, txs []*cdc.Tx) (cdc.LSN, error) {
	for _, tx := range txs {
		if err := g.transaction(ctx, tx); err != nil {
			return 0, err
		}
	}
	return g.Handler.Handle(ctx, txs)
}

// transaction judges what one transaction says of the database. One that lies in a file is not read an extra time for it: the source is asked.
func (g identityGuard) transaction(ctx context.Context, tx *cdc.Tx) error {
	switch {
	case g.schema == "" || tx.CommitLSN <= g.since:
		return nil
	case tx.Spilled():
		found, err := g.look(ctx)
		if err != nil {
			return err // handed over again once the source answers
		}
		return g.judge(found)
	}
	for c, err := range tx.Changes() {
		if err != nil {
			return err
		}
		if c.Rel.Schema != g.schema {
			continue
		}
		key, value, ok := cdc.ReadParameter(c)
		if !ok {
			continue
		}
		found := g.bound
		switch key {
		case cdc.ParameterUUID:
			found.UUID = value
		case cdc.ParameterCreateDate:
			found.CreateDate = value
		case cdc.ParameterNeutralized:
			found.Neutralized = catalog.Truthy(value)
		}
		if err := g.judge(found); err != nil {
			return err
		}
	}
	return nil
}
