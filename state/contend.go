package state

import (
	"context"
	"errors"
	"time"

	"walhook/delivery"
	"walhook/internal/periodic"
	"walhook/status"
)

// ReaderTrace observes how a process contends for the right to read. Functions may be nil.
type ReaderTrace struct {
	// StandingBy is called when another process has the right: at first, when it is another one than before, and after a
	// failure. The reader is nil while nobody with a valid lease is.
	StandingBy func(reader *status.ReaderState)

	// Ended is called when the session of a reader was ended whose lease has run out.
	Ended func()

	// Failed is called when the state could not be asked.
	Failed func(err error, retry time.Duration)
}

// Contend stands by until this process has the right to read. It returns an error when ctx ends, or when the process has been taken for
// dead ([ErrLeaseLost]) or the state is not bound ([ErrNotBound]); anything else it tries again.
func (p *Process) Contend(ctx context.Context, trace ReaderTrace) (*Reader, error) {
	c := &contender{Reader: &Reader{p: p}, trace: trace}
	for {
		won, err := c.try(ctx)
		switch {
		case won:
			c.watch()
			return c.Reader, nil
		case ctx.Err() != nil:
			c.drop()
			return nil, context.Cause(ctx)
		case errors.Is(err, ErrLeaseLost), errors.Is(err, ErrNotBound):
			c.drop()
			return nil, err
		}
		pause := rolePoll
		if err != nil {
			c.drop()
			c.told = false
			pause = roleRetry
			if trace.Failed != nil {
				trace.Failed(p.db.translate("contend for the slot", err), pause)
			}
		}
		if !periodic.Wait(ctx, pause) {
			c.drop()
			return nil, context.Cause(ctx)
		}
	}
}

// contender is a Reader that is none yet.
type contender struct {
	*Reader
	trace ReaderTrace
	told  bool
	last  status.ReaderState
}

// try asks once. The lock is tried in the same statement that tells who reads.
const tryRead = `SELECT pg_catalog.pg_try_advisory_lock($1), coalesce(r.id, 0), coalesce(r.host, ''), coalesce(r.pid, 0),
	EXISTS (SELECT FROM {schema}.process WHERE id = $2)
	FROM (SELECT 1) one LEFT JOIN {schema}.source s ON true LEFT JOIN {schema}.process r ON r.id = s.reader AND r.lease_until > now()`

func (c *contender) try(ctx context.Context) (won bool, err error) {
	db := c.p.db
	if c.p.lost.Load() {
		return false, ErrLeaseLost
	}
	tctx, cancel := context.WithTimeout(ctx, roleTimeout)
	defer cancel()
	if c.conn == nil {
		if c.conn, err = c.p.connect(tctx); err != nil {
			return false, err
		}
	}
	var reader status.ReaderState
	var member bool
	if err = c.conn.QueryRow(tctx, db.sql(tryRead), db.lockKey("reader"), c.p.id).Scan(&c.locked, &reader.Process, &reader.Host, &reader.PID, &member); err != nil {
		return false, err
	}
	if !member {
		c.p.lost.Store(true)
		return false, ErrLeaseLost
	}
	if c.locked {
		if c.turn, err = c.p.takeRole(ctx, c.conn); err != nil {
			return false, err
		}
		c.p.trace("look for dead processes", c.p.expireOthers(ctx)) // their lanes need not wait for the next renewal
		return true, nil
	}
	c.tell(reader)
	if reader.Process == 0 {
		ended, err := c.endHung(tctx)
		if ended && c.trace.Ended != nil {
			c.trace.Ended()
		}
		return false, err
	}
	return false, nil
}

func (c *contender) tell(reader status.ReaderState) {
	if c.trace.StandingBy == nil || c.told && c.last == reader {
		return
	}
	c.told, c.last = true, reader
	if reader.Process == 0 {
		c.trace.StandingBy(nil)
		return
	}
	c.trace.StandingBy(&reader)
}

// turn is what comes with the right to read.
type turn struct {
	position delivery.Position
	bound    Binding
}

// takeRole makes this process the reader and returns position and binding, in one statement: what was committed before it by
// another reader is in the position, and what comes after it fails. It waits for a batch that is being committed. One that was
// stopped in the middle of it is rolled back by the server within the lease, see session.
func (p *Process) takeRole(ctx context.Context, q querier) (turn, error) {
	const take = `UPDATE {schema}.source SET reader = me.id FROM (SELECT id FROM {schema}.process WHERE id = $1 FOR KEY SHARE) me
		RETURNING lsn::text, open_lsn::text, open_count, system_id, timeline, database_oid, database_name, uuid, create_date, neutralized, slot`
	var lsn, open string
	var count int64
	var t turn
	b := &t.bound
	err := q.QueryRow(ctx, p.db.sql(take), p.id).Scan(&lsn, &open, &count, &b.SystemID, &b.Timeline, &b.DatabaseOID, &b.DatabaseName, &b.UUID, &b.CreateDate, &b.Neutralized, &b.Slot)
	if noRows(err) {
		const known = `SELECT EXISTS (SELECT FROM {schema}.process WHERE id = $1)`
		var there bool
		if err := q.QueryRow(ctx, p.db.sql(known), p.id).Scan(&there); err != nil {
			return turn{}, err
		}
		if there {
			return turn{}, ErrNotBound
		}
		p.lost.Store(true)
		return turn{}, ErrLeaseLost
	}
	if err != nil {
		return turn{}, err
	}
	t.position, err = position(lsn, open, count)
	return t, err
}
