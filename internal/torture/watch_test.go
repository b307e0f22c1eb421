package torture

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// watch looks, all the while, at what the server was told and at what the state holds.
//
// The server's confirmed_flush is read first. What follows can only have grown meanwhile: a position that is less breaks
// invariant 1, and an end of WAL that is less breaks it in another way.
type watch struct {
	t             *testing.T
	source, state *pgx.Conn
	slot          string
	work          *workload

	confirmed, position lsn // of the last sample
	samples             int
	moved               int // samples in which confirmed_flush had moved

	stop context.CancelFunc
	wg   sync.WaitGroup
}

// lsn is a position in WAL.
type lsn uint64

func parseLSN(text string) (lsn, error) {
	hi, lo, ok := strings.Cut(text, "/")
	if !ok {
		return 0, fmt.Errorf("%q is no LSN", text)
	}
	h, err := strconv.ParseUint(hi, 16, 32)
	l, err2 := strconv.ParseUint(lo, 16, 32)
	return lsn(h<<32 | l), errors.Join(err, err2)
}

func (l lsn) String() string { return fmt.Sprintf("%X/%X", uint64(l)>>32, uint32(l)) }

// startWatch begins to look, until end is called. It brakes the workload when too much waits to be delivered.
func startWatch(t *testing.T, source, state, slot string, work *workload) *watch {
	t.Helper()
	w := &watch{t: t, slot: slot, work: work}
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	w.source, w.state = connect(t, source), connect(t, state)
	t.Cleanup(w.end)
	w.wg.Go(func() {
		for ; ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
			if err := w.sample(); err != nil {
				t.Errorf("watch: %v", err)
				return
			}
			if w.samples%10 == 0 {
				if err := errors.Join(w.brake(), w.sizes()); err != nil {
					t.Errorf("watch: %v", err)
					return
				}
			}
		}
	})
	return w
}

// end ends it. A second call does nothing.
func (w *watch) end() {
	w.stop()
	w.wg.Wait()
	for _, c := range []*pgx.Conn{w.source, w.state} {
		if !c.IsClosed() {
			_ = c.Close(context.Background()) // it has only read
		}
	}
}

func (w *watch) sample() error {
	confirmed, err := w.read(w.source, "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = $1", w.slot)
	if err != nil {
		return err
	}
	position, err := w.read(w.state, "SELECT lsn::text FROM walhook.source WHERE $1 <> ''", w.slot)
	if err != nil {
		return err
	}
	end, err := w.read(w.source, "SELECT pg_current_wal_flush_lsn()::text WHERE $1 <> ''", w.slot)
	if err != nil {
		return err
	}
	switch {
	case confirmed > position:
		w.t.Errorf("confirmed_flush %s is past the state's position %s", confirmed, position)
	case position > end:
		w.t.Errorf("the state's position %s is past the end of WAL %s", position, end)
	case confirmed < w.confirmed:
		w.t.Errorf("confirmed_flush went back from %s to %s", w.confirmed, confirmed)
	case position < w.position:
		w.t.Errorf("the state's position went back from %s to %s", w.position, position)
	}
	if confirmed > w.confirmed {
		w.moved++
	}
	w.samples++
	w.confirmed, w.position = confirmed, position
	return nil
}

func (w *watch) read(conn *pgx.Conn, sql, slot string) (lsn, error) {
	var text string
	if err := conn.QueryRow(context.Background(), sql, slot).Scan(&text); err != nil {
		return 0, fmt.Errorf("%s: %w", sql, err)
	}
	return parseLSN(text)
}

// sizes compares how much the state says that it keeps with how much it keeps, in one snapshot.
func (w *watch) sizes() error {
	const wrong = `SELECT coalesce(string_agg(format('%s: %s', endpoint, off), '; '), '') FROM (
		SELECT endpoint, array[sum(pending), sum(pending_bytes), sum(dead), sum(dead_bytes)] AS off FROM (
			SELECT endpoint, pending, pending_bytes, dead, dead_bytes FROM walhook.queue_usage
			UNION ALL SELECT endpoint, -count(*), -sum(bytes), 0, 0 FROM walhook.queue GROUP BY endpoint
			UNION ALL SELECT endpoint, 0, 0, -count(*), -sum(octet_length(body)) FROM walhook.dead_letter GROUP BY endpoint) one
		GROUP BY endpoint) e WHERE off <> '{0,0,0,0}'`
	var text string
	if err := w.state.QueryRow(context.Background(), wrong).Scan(&text); err != nil {
		return err
	}
	if text != "" {
		w.t.Errorf("the sizes (pending, bytes, dead, bytes) are off by %s", text)
	}
	return nil
}

// brake makes the writers pause while much waits to be delivered, so that a round ends in finite time.
func (w *watch) brake() error {
	const many = 800
	var waiting int
	if err := w.state.QueryRow(context.Background(), "SELECT count(*) FROM walhook.queue WHERE endpoint <> 'third'").Scan(&waiting); err != nil {
		return err
	}
	var behind int64
	if err := w.source.QueryRow(context.Background(), `SELECT (pg_current_wal_lsn() - confirmed_flush_lsn)::bigint FROM pg_replication_slots
		WHERE slot_name = $1`, w.slot).Scan(&behind); err != nil {
		return err
	}
	w.work.brake.Store(waiting > many || behind > 6<<20)
	return nil
}
