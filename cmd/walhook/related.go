package main

import (
	"context"

	"walhook/cdc"
	"walhook/delivery"
	"walhook/rules"
)

// relatedRows looks up what rules refer to. It translates between rules, which may not know how rows are fetched, and cdc, which
// may not know rules.
type relatedRows struct {
	lookups  *cdc.Lookups
	links    map[*rules.Link]*cdc.Link
	streamed bool // transactions come from the stream, of which look-ups know where it is
}

var _ delivery.Loader = (*relatedRows)(nil)

// newRelatedRows looks up in the source as it is now, and keeps nothing in memory: for commands, and for events that are
// no longer in the stream.
func newRelatedRows(live *cdc.Live, set *rules.Set) *relatedRows {
	r := &relatedRows{}
	r.lookups = cdc.NewLookups(live, cdc.LookupsConfig{}, r.translate(set), nil)
	return r
}

// newStreamedRows looks up for a stream, and keeps up to so many bytes of rows of tables that the stream brings all changes of.
func newStreamedRows(live *cdc.Live, s *survey, bytes int64) *relatedRows {
	r := &relatedRows{streamed: true}
	r.lookups = cdc.NewLookups(live, cdc.LookupsConfig{Bytes: bytes}, r.translate(s.rules), s.facts.StreamsLink)
	return r
}

// defaultRelatedCache is little beside what a backlog of events needs anyway, and room for the partners, products and countries of a busy day.
const defaultRelatedCache = 4 << 20

// relatedCache is how many bytes of related rows may be kept.
func (c *Config) relatedCache() int64 {
	if c.Source.RelatedCache == nil {
		return defaultRelatedCache
	}
	return int64(*c.Source.RelatedCache)
}

// translate says in cdc's words where rules' links lead.
func (r *relatedRows) translate(set *rules.Set) []*cdc.Link {
	r.links = make(map[*rules.Link]*cdc.Link)
	var all []*cdc.Link
	for _, l := range set.Links() {
		link := &cdc.Link{Schema: l.Schema, Table: l.Table, By: l.By, Columns: l.Columns, Order: l.Order, Archived: l.Archived, Limit: l.Limit}
		if l.Rel != nil {
			rel := cdc.LinkRelation(*l.Rel)
			link.Rel = &rel
		}
		r.links[l] = link
		all = append(all, link)
	}
	return all
}

// Begin implements [delivery.Loader].
func (r *relatedRows) Begin(ctx context.Context, txs []*cdc.Tx) error {
	if !r.streamed {
		return nil
	}
	return r.lookups.Begin(ctx, txs)
}

// Load implements [delivery.Loader].
func (r *relatedRows) Load(ctx context.Context, l *rules.Link, ids []int64, found func(id int64, rows []cdc.Row) error) error {
	return r.lookups.Load(ctx, r.links[l], ids, func(id int64, got cdc.Linked) error { return found(id, got.Rows) })
}

// wants adds the tables that rows are kept of to those that rules want.
func (r *relatedRows) wants(next func(schema, table string) (net, raw bool)) func(schema, table string) (net, raw bool) {
	return func(schema, table string) (net, raw bool) {
		net, raw = next(schema, table)
		return net || !raw && r.lookups.Wants(schema, table), raw
	}
}
