package storm

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// watch looks, all the while, at what the server was told and at what the state holds. confirmed_flush is read first: what follows can only
// have grown meanwhile.
type watch struct {
	w             *World
	source, state *pgx.Conn
	position      string
	loses         int64
	samples       int
	stop          context.CancelFunc
	wg            sync.WaitGroup
}

func startWatch(w *World) *watch {
	ctx, stop := context.WithCancel(context.Background())
	one := &watch{w: w, position: "0/0", stop: stop}
	one.wg.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			if err := one.sample(ctx, n); err != nil {
				one.hangUp() // servers come and go
			}
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
		one.hangUp()
	})
	w.T.Cleanup(one.end)
	return one
}

// end ends it. A second call does nothing.
func (o *watch) end() {
	o.stop()
	o.wg.Wait()
}

func (o *watch) hangUp() {
	for _, c := range []**pgx.Conn{&o.source, &o.state} {
		if *c != nil {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			_ = (*c).Close(ctx) // it has only read
			cancel()
			*c = nil
		}
	}
}

func (o *watch) sample(ctx context.Context, n int) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if o.source == nil {
		if o.source, err = pgx.Connect(ctx, o.w.Source.DSN()); err != nil {
			o.source = nil
			return err
		}
	}
	if o.state == nil {
		if o.state, err = pgx.Connect(ctx, o.w.State.DSN()); err != nil {
			o.state = nil
			return err
		}
	}
	loses := o.w.loses.Load()
	if o.w.lossy.Load() {
		return nil
	}
	var confirmed, position, problem string
	if err := o.source.QueryRow(ctx, "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = $1", o.w.Slot).Scan(&confirmed); err != nil {
		return err
	}
	if err := o.state.QueryRow(ctx, "SELECT lsn::text FROM walhook.source").Scan(&position); err != nil {
		return err
	}
	if loses != o.loses { // the position may have been moved
		o.loses, o.position = loses, "0/0"
	}
	if err := o.source.QueryRow(ctx, `SELECT CASE WHEN $1::text::pg_lsn > $2::text::pg_lsn THEN 'confirmed_flush is past the state''s position'
		WHEN $2::text::pg_lsn > pg_current_wal_flush_lsn() THEN 'the state''s position is past the end of WAL'
		WHEN $2::text::pg_lsn < $3::text::pg_lsn THEN 'the state''s position went back' ELSE '' END`, confirmed, position, o.position).Scan(&problem); err != nil {
		return err
	}
	if problem != "" && o.w.loses.Load() == loses && !o.w.lossy.Load() {
		o.w.T.Errorf("%s: confirmed_flush %s, position %s, before %s", problem, confirmed, position, o.position)
	}
	o.position = position
	o.samples++
	if n%5 == 0 {
		return o.brake(ctx)
	}
	return nil
}

// brake makes the writers pause while much waits to be delivered, so that a round ends in finite time.
func (o *watch) brake(ctx context.Context) error {
	const many = 4000
	var waiting int
	if err := o.state.QueryRow(ctx, "SELECT count(*) FROM walhook.queue WHERE endpoint <> 'third'").Scan(&waiting); err != nil {
		return err
	}
	var behind int64
	if err := o.source.QueryRow(ctx, "SELECT (pg_current_wal_lsn() - confirmed_flush_lsn)::bigint FROM pg_replication_slots WHERE slot_name = $1", o.w.Slot).Scan(&behind); err != nil {
		o.w.Work.brake.Store(false) // the slot is gone: that must not keep anybody from writing
		return err
	}
	o.w.Work.brake.Store(waiting > many || behind > 24<<20)
	return nil
}
