package state

import (
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"walhook/delivery"
	"walhook/internal/failpoint"
)

var _ delivery.GoneStore = (*Gones)(nil)

// Gones keeps what a resync has found to be gone, for the process that reads the slot. It implements [delivery.GoneStore].
type Gones struct{ p *Process }

// Gones returns what this process may do as the reader.
func (p *Process) Gones() *Gones { return &Gones{p} }

// NextGone implements [delivery.GoneStore].
func (g *Gones) NextGone(ctx context.Context, limit int) (*delivery.GonePage, error) {
	const (
		next = `SELECT r.n, r.begun_at, r.high_lsn::text, r.base_seq, (SELECT min(rule COLLATE "C") FROM {schema}.resync_gone g WHERE g.resync = r.n)
			FROM {schema}.resync r WHERE r.n = (SELECT min(resync) FROM {schema}.resync_gone)`
		read = `SELECT rule, record, endpoint FROM {schema}.resync_gone WHERE resync = $1 AND rule = $2 ORDER BY record, endpoint LIMIT $3`
	)
	page, db := &delivery.GonePage{}, g.p.db
	err := db.pool.QueryRow(ctx, db.sql(next)).Scan(&page.Resync, &page.Begun, &page.High, &page.Base, &page.Rule)
	if noRows(err) {
		return nil, nil
	}
	if err != nil {
		return nil, db.translate("read a resync", err)
	}
	page.Begun = page.Begun.UTC()
	rows, err := db.pool.Query(ctx, db.sql(read), page.Resync, page.Rule, limit)
	if err == nil {
		page.Gone, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (one delivery.Gone, err error) {
			err = row.Scan(&one.Rule, &one.Record, &one.Endpoint)
			return one, err
		})
	}
	return page, db.translate("read a resync", err)
}

// errMoreCame says that the stream has told of one of the records since that was looked up.
var errMoreCame = errors.New("the stream has told of a record that was about to be told of")

// TellGone implements [delivery.GoneStore]. What the stream has told of is looked up before, and once more behind the lock on the source row, where only
// what has come in between is read.
func (g *Gones) TellGone(ctx context.Context, page *delivery.GonePage, model string, plan func([]delivery.Gone) (*delivery.Batch, error)) error {
	for {
		told, last, err := g.told(ctx, page, model)
		if err != nil {
			return err
		}
		left := slices.DeleteFunc(slices.Clone(page.Gone), func(one delivery.Gone) bool { return told[[2]string{one.Endpoint, one.Record}] })
		batch, err := plan(left)
		if err != nil {
			return err
		}
		if err = g.tell(ctx, page, model, last, batch); !errors.Is(err, errMoreCame) {
			return err
		}
	}
}

// toldSince finds deliveries of a page's records behind a number. Unlinks that no transaction has made are a resync's own, of another rule.
const toldSince = ` FROM {schema}.delivery d JOIN unnest($2::text[], $3::text[]) u (endpoint, record) ON u.endpoint = d.endpoint AND u.record = d.record
	WHERE d.seq > $1 AND d.model = $4 AND NOT (d.op = 'unlink' AND d.xid = 0)`

// told finds the records that deliveries of the stream have told of since the resync began, and up to which number that is known.
func (g *Gones) told(ctx context.Context, page *delivery.GonePage, model string) (told map[[2]string]bool, last int64, err error) {
	db := g.p.db
	endpoints, records := pageColumns(page)
	told = map[[2]string]bool{}
	err = db.read(ctx, "look for what was told since", func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, db.sql(`SELECT last_seq FROM {schema}.source`)).Scan(&last); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, db.sql(`SELECT DISTINCT d.endpoint, d.record`+toldSince), page.Base, endpoints, records, model)
		if err != nil {
			return err
		}
		var key [2]string
		_, err = pgx.ForEachRow(rows, []any{&key[0], &key[1]}, func() error { told[key] = true; return nil })
		return err
	})
	return told, last, err
}

// tell commits the deliveries, and takes the page away.
func (g *Gones) tell(ctx context.Context, page *delivery.GonePage, model string, since int64, batch *delivery.Batch) error {
	const (
		came   = `SELECT EXISTS (SELECT` + toldSince + `)`
		remove = `DELETE FROM {schema}.resync_gone r USING unnest($3::text[], $4::text[]) u (endpoint, record)
			WHERE r.resync = $1 AND r.rule = $2 AND r.endpoint = u.endpoint AND r.record = u.record`
		count = `UPDATE {schema}.resync r SET unlinks = unlinks + $2, skipped = skipped + $3,
			ended_at = CASE WHEN EXISTS (SELECT FROM {schema}.resync_gone g WHERE g.resync = r.n) THEN NULL ELSE now() END WHERE n = $1`
	)
	db := g.p.db
	endpoints, records := pageColumns(page)
	first := func(ctx context.Context, t *transaction) (delivery.Position, error) {
		at, err := g.p.Schedules().fence(ctx, t)
		if err != nil {
			return at, err
		}
		more, removed := false, int64(0)
		if err := t.send(ctx, func(b *pgx.Batch) {
			b.Queue(db.sql(came), since, endpoints, records, model).QueryRow(func(row pgx.Row) error { return row.Scan(&more) })
			b.Queue(db.sql(remove), page.Resync, page.Rule, endpoints, records).Exec(func(tag pgconn.CommandTag) error { removed = tag.RowsAffected(); return nil })
			b.Queue(db.sql(count), page.Resync, len(batch.Deliveries)+len(batch.Parked), max(len(page.Gone)-len(batch.Deliveries)-len(batch.Parked), 0))
		}); err != nil {
			return at, err
		}
		switch {
		case more:
			return at, errMoreCame
		case removed != int64(len(page.Gone)):
			return at, delivery.ErrSuperseded // another process has told of it
		}
		if err := t.send(ctx, func(b *pgx.Batch) { b.Queue(db.sql(endCompare)) }); err != nil {
			return at, err
		}
		failpoint.Hit(failpoint.ResyncTold)
		return at, nil
	}
	if len(batch.Deliveries)+len(batch.Parked) > 0 {
		_, err := g.p.enqueueAfter(ctx, batch, nil, first)
		return err
	}
	return db.transact(ctx, "end a resync", func(t *transaction) error {
		_, err := first(ctx, t)
		return err
	})
}

func pageColumns(page *delivery.GonePage) (endpoints, records []string) {
	for _, one := range page.Gone {
		endpoints, records = append(endpoints, one.Endpoint), append(records, one.Record)
	}
	return endpoints, records
}
