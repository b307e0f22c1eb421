package state

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Contents is what the schema holds that would be lost with it.
type Contents struct {
	Version   int // of the schema; -1 when there is none
	Pending   []PendingCount
	Dead      int64
	Parked    int64
	Processes []Running
	Source    *Binding // nil when it is bound to none
}

// PendingCount is how many deliveries wait for an endpoint.
type PendingCount struct {
	Endpoint   string `json:"endpoint"`
	Deliveries int64  `json:"deliveries"`
}

// Running is a process that works on the state, as far as the state knows: its lease has not ended, or it stays
// away from the database for a while and comes back.
type Running struct {
	Host    string
	PID     int
	Started time.Time
	Away    time.Duration // for how long still; 0 when it does not
}

// Contents looks at what there is. It works on schemas of other versions, and on what is left of one: what is
// missing counts as empty.
func (db *DB) Contents(ctx context.Context) (*Contents, error) {
	c := &Contents{}
	var err error
	if c.Version, err = db.version(ctx, db.pool); err != nil {
		return nil, db.translate("look at the schema", err)
	}
	if c.Version < 0 {
		return c, nil
	}
	for _, look := range []func(context.Context) error{
		func(ctx context.Context) error {
			rows, err := db.pool.Query(ctx, db.sql(`SELECT endpoint, count(*) FROM {schema}.queue GROUP BY endpoint ORDER BY endpoint`))
			if err == nil {
				c.Pending, err = pgx.CollectRows(rows, pgx.RowToStructByPos[PendingCount])
			}
			return err
		},
		func(ctx context.Context) error {
			rows, err := db.pool.Query(ctx, db.sql(`SELECT endpoint, count(*) FROM {schema}.waiting GROUP BY endpoint ORDER BY endpoint`))
			if err != nil {
				return err
			}
			waiting, err := pgx.CollectRows(rows, pgx.RowToStructByPos[PendingCount])
			c.addPending(waiting)
			return err
		},
		func(ctx context.Context) error {
			return db.pool.QueryRow(ctx, db.sql(`SELECT count(*) FROM {schema}.dead_letter`)).Scan(&c.Dead)
		},
		func(ctx context.Context) error {
			return db.pool.QueryRow(ctx, db.sql(`SELECT count(*) FROM {schema}.parked`)).Scan(&c.Parked)
		},
		func(ctx context.Context) (err error) {
			c.Processes, err = db.running(ctx)
			return err
		},
		func(ctx context.Context) error {
			b, bound, err := db.Bound(ctx)
			if bound {
				c.Source = &b
			}
			return err
		},
	} {
		var pg *pgconn.PgError
		if err := look(ctx); err != nil && (!errors.As(err, &pg) || pg.Code != "42P01" && pg.Code != "42703") {
			return nil, db.translate("look at the schema", err)
		}
	}
	return c, nil
}

// addPending adds what waits in another place than the queue.
func (c *Contents) addPending(more []PendingCount) {
	for _, m := range more {
		if i := slices.IndexFunc(c.Pending, func(p PendingCount) bool { return p.Endpoint == m.Endpoint }); i >= 0 {
			c.Pending[i].Deliveries += m.Deliveries
		} else {
			c.Pending = append(c.Pending, m)
		}
	}
}

// running lists the processes that are alive, or may be.
func (db *DB) running(ctx context.Context) (list []Running, err error) {
	away, err := db.detachedFor(ctx)
	if err != nil {
		return nil, err
	}
	const look = `SELECT host, pid, place, birth, started_at, lease_until > now() FROM {schema}.process ORDER BY id`
	rows, err := db.pool.Query(ctx, db.sql(look))
	if err != nil {
		return nil, err
	}
	var r Running
	var other programme
	var leased bool
	me := thisProcess()
	_, err = pgx.ForEachRow(rows, []any{&r.Host, &other.pid, &other.place, &other.birth, &r.Started, &leased}, func() error {
		r.PID = int(other.pid)
		r.Away = max(away, 0)
		if (leased || away > 0) && !me.knowsDead(other) {
			list = append(list, r)
		}
		return nil
	})
	return list, err
}
