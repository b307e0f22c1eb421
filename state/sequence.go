package state

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"walhook/delivery"
)

// A sequence numbers an endpoint's deliveries 1, 2, 3 ... within an epoch, without a hole, in the order of commits: whoever misses a number has
// missed a delivery. All counters live in one jsonb object of the source row, which every batch rewrites anyway: a row per endpoint would be
// one more hot row each. They move in the statement that moves the position, so a transaction that is read twice takes its numbers once
// (invariant 2). A number belongs to its delivery for good: retries, dead letters and what is sent again keep it, and of those that
// will never arrive the table gap tells.

// takeNumbers returns the SET clause on the source row that counts endpoints up; its parameters are a text[] and a bigint[]. Of many endpoints the object is
// stored compressed: it is unpacked once, by putting nothing to it, and not for each endpoint.
func takeNumbers(endpoints, counts string) string {
	return `numbers = numbers || jsonb_object(` + endpoints + `::text[], ARRAY(
			SELECT (coalesce((known.numbers ->> e.name)::bigint, 0) + e.n)::text
			FROM (SELECT source.numbers || '{}'::jsonb AS numbers OFFSET 0) known CROSS JOIN unnest(` + endpoints + `::text[], ` + counts + `::bigint[]) e (name, n)))`
}

// lastNumbers returns the expression for endpoints' counters, in their order, in the source row that the statement returns.
func lastNumbers(endpoints string) string {
	return `ARRAY(SELECT (source.numbers ->> e.name)::bigint FROM unnest(` + endpoints + `::text[]) e (name))`
}

// numbering is what a batch takes of its endpoints' sequences.
type numbering struct {
	endpoints []string // each once, sorted; never nil, which would be SQL's NULL
	counts    []int64  // how many numbers each takes
	at        map[string]int
}

func numberOff(deliveries []*delivery.Delivery) numbering {
	n := numbering{endpoints: []string{}, at: map[string]int{}}
	for _, d := range deliveries {
		if _, ok := n.at[d.Endpoint]; !ok {
			n.at[d.Endpoint] = 0
			n.endpoints = append(n.endpoints, d.Endpoint)
		}
	}
	slices.Sort(n.endpoints)
	for i, name := range n.endpoints {
		n.at[name] = i
	}
	n.counts = make([]int64, len(n.endpoints))
	for _, d := range deliveries {
		n.counts[n.at[d.Endpoint]]++
	}
	return n
}

// back tells of deliveries, of which before were numbered, how far each one's number lies before the last that its endpoint takes.
func (n *numbering) back(before, deliveries []*delivery.Delivery) []int64 {
	left := slices.Clone(n.counts)
	for _, d := range before {
		left[n.at[d.Endpoint]]--
	}
	back := make([]int64, len(deliveries))
	for i, d := range deliveries {
		e := n.at[d.Endpoint]
		left[e]--
		back[i] = left[e]
	}
	return back
}

// which tells of deliveries the place of their endpoint, from 1 as SQL counts.
func (n *numbering) which(deliveries []*delivery.Delivery) []int32 {
	which := make([]int32, len(deliveries))
	for i, d := range deliveries {
		which[i] = int32(n.at[d.Endpoint]) + 1
	}
	return which
}

// assign gives deliveries their numbers. last are the counters after the batch has taken its numbers.
func (n *numbering) assign(deliveries []*delivery.Delivery, back []int64, epoch int64, last []int64) {
	for i, d := range deliveries {
		d.Epoch, d.Sequence = epoch, last[n.at[d.Endpoint]]-back[i]
	}
}

// newEpoch lets the sequences of all endpoints begin at 1 again, under the next epoch: what lies between the
// position as it was and as it is now was perhaps never read, and no number could tell. It is for transactions that move the position by
// hand (adopt, resync) and have the source row locked.
//
// Epochs are milliseconds since 1970: a state that was restored from a dump, or made anew after it was lost, does not know which ones
// were used before, and must not use one again.
func (db *DB) newEpoch(ctx context.Context, t *transaction) error {
	const note = `INSERT INTO {schema}.past_epoch (epoch, numbers) SELECT epoch, numbers FROM {schema}.source
		ON CONFLICT (epoch) DO UPDATE SET numbers = excluded.numbers`
	const update = `UPDATE {schema}.source SET epoch = greatest(epoch + 1, (extract(epoch FROM clock_timestamp()) * 1000)::bigint), numbers = '{}'`
	return t.send(ctx, func(b *pgx.Batch) {
		b.Queue(db.sql(note))
		b.Queue(db.sql(update)).Exec(func(tag pgconn.CommandTag) error {
			if tag.RowsAffected() == 0 {
				return ErrNotBound
			}
			return nil
		})
	})
}
