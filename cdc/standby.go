package cdc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// MinStandby is the first major version of PostgreSQL whose standbys stream logical changes.
const MinStandby = 16

// OnStandby completes facts that were found on the primary, over the connection of the tables' owner, for a stream from a standby: the server,
// the slot and what keeps it are the standby's. Nothing changes when conn does not lead to a standby, or the facts are of one already.
func (f *Facts) OnStandby(ctx context.Context, conn *pgx.Conn) error {
	var standby bool
	if err := conn.QueryRow(ctx, "SELECT pg_catalog.pg_is_in_recovery()").Scan(&standby); err != nil || !standby || f.InRecovery {
		return err
	}
	in := inspection{conn: conn, facts: f}
	f.Slot, f.Standbys = nil, Standbys{}
	for _, look := range []func(context.Context) error{in.server, in.slot, in.standbys} {
		if err := look(ctx); err != nil {
			return fmt.Errorf("inspect standby: %w", err)
		}
	}
	return nil
}

// AwaitReplay waits until a standby has replayed what the primary has written so far: a slot that is made before that does not know the publication
// (trap 8).
func AwaitReplay(ctx context.Context, standby, primary *pgx.Conn) error {
	end, err := EndOfWAL(ctx, primary)
	if err != nil {
		return err
	}
	for stop := time.Now().Add(time.Minute); ; {
		at, err := EndOfWAL(ctx, standby)
		if err != nil || at >= end {
			return err
		}
		if time.Now().After(stop) {
			return &RefusedError{Reason: fmt.Sprintf("the standby of source.dsn does not catch up with the primary: it has replayed up to %s, and %s is needed", at, end),
				Remedy: "see SELECT * FROM pg_stat_wal_receiver there, and queries that hold its replay up; then run `walhook setup` again"}
		}
		if !sleep(ctx, nil, 50*time.Millisecond) {
			return ctx.Err()
		}
	}
}

// slotCopy refuses the slot of a standby that is the primary's to move. A promotion makes it usable.
func slotCopy(slot string) error {
	return &SlotError{Slot: slot, Problem: SlotCopy, Detail: "the server is a standby, and keeps it in step with the primary's until it is promoted",
		Remedy: "point source.dsn at the primary, or at both: postgres://role@primary,standby/database?target_session_attrs=read-write"}
}

// urge has the primary write, again and again, which transactions are running: the creation of a slot on a standby waits for that, and
// on an idle primary for ever. By default only superusers may ask for it; otherwise a busy primary writes it every 15 s by itself.
// The connection is free when what it returns has been called.
func urge(ctx context.Context, primary *pgx.Conn) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() {
		for {
			if _, err := primary.Exec(ctx, "SELECT pg_catalog.pg_log_standby_snapshot()"); err != nil || !sleep(ctx, nil, time.Second) {
				return
			}
		}
	})
	return func() {
		cancel()
		done.Wait()
	}
}

// noSnapshot says why the creation of a slot on a standby has not ended.
func noSnapshot(slot string, err error) error {
	return &RefusedError{Reason: fmt.Sprintf("create slot %q on a standby: the primary has not written in time which transactions are running", slot), Err: err,
		Remedy: "run `walhook setup` again, and meanwhile on the primary, as a superuser: SELECT pg_log_standby_snapshot(); or give `walhook setup --dsn` a login of the primary that may: GRANT EXECUTE ON FUNCTION pg_log_standby_snapshot() TO …"}
}

// serverPlace selects where a server itself says that it is; a name, a virtual address or a proxy may lead to another one the next time. Through a
// socket there is one only.
const serverPlace = "coalesce(pg_catalog.host(pg_catalog.inet_server_addr()) || ':' || pg_catalog.inet_server_port(), '')"

// lineage follows the timeline of a stream from a standby. When that is promoted, the stream goes on without a word, and positions beyond the
// switch are of the new timeline: what they are persisted with must be known before (invariant 8).
type lineage struct {
	mu       sync.Mutex
	address  net.Addr // of the standby; nil when the server is none
	place    string   // see serverPlace: behind an address that moves there may be another server the next time
	timeline uint32   // of the stream
	conn     *pgconn.PgConn
}

// begin notes what a session has found out about the server.
func (l *lineage) begin(timeline uint32, standby bool, address net.Addr, place string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timeline, l.address, l.place = timeline, address, place; !standby {
		l.address = nil
	}
	l.close()
}

// continues says that a server was a standby when the stream from it began: what it has brought since is of this server's own history,
// whichever timeline that has come to.
func (l *lineage) continues(address net.Addr, place string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.address != nil && l.address.String() == address.String() && l.place == place
}

// current is the timeline of the stream.
func (l *lineage) current() uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.timeline
}

// close gives the connection back. The lock is held.
func (l *lineage) close() {
	if l.conn != nil {
		_ = closeConn(l.conn) // nothing is lost with it
		l.conn = nil
	}
}

// follow finds out whether the standby has been promoted, and has note told of its new timeline. What the stream has brought until now is
// of the old one if it was not.
func (l *lineage) follow(ctx context.Context, s *Source) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.address == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	timeline, promoted, err := l.look(ctx, s)
	if err != nil {
		l.close()
		return temporaryError{fmt.Errorf("see whether the standby was promoted: %w", err)}
	}
	if s.cfg.NewTimeline != nil && timeline != l.timeline {
		if err := s.cfg.NewTimeline(ctx, timeline); err != nil {
			return temporaryError{fmt.Errorf("note timeline %d: %w", timeline, err)}
		}
	}
	if l.timeline = timeline; promoted {
		l.address = nil
		l.close()
	}
	return nil
}

// look asks the very server that is streamed from. A standby that stays one comes to a new timeline, too, when the server that it follows has changed.
func (l *lineage) look(ctx context.Context, s *Source) (timeline uint32, promoted bool, err error) {
	if l.conn == nil {
		cfg, err := replicationConfig(s.cfg.DSN)
		if err != nil {
			return 0, false, err
		}
		cfg.RuntimeParams["application_name"] = applicationName("timeline")
		toward(cfg, l.address)
		s.gate.Guard(cfg)
		if l.conn, err = pgconn.ConnectConfig(ctx, cfg); err != nil {
			return 0, false, err
		}
	}
	rows, err := simpleQuery(ctx, l.conn, "SELECT pg_catalog.pg_is_in_recovery()::text, "+serverPlace) // before the timeline, which is the new one then
	switch {
	case err != nil:
		return 0, false, err
	case len(rows) != 1:
		return 0, false, errors.New("no answer")
	case string(rows[0][1]) != l.place:
		return 0, false, fmt.Errorf("another server answers: %s and not %s", rows[0][1], l.place)
	}
	system, err := pglogrepl.IdentifySystem(ctx, l.conn)
	return uint32(system.Timeline), string(rows[0][0]) == "false", err
}

// toward has connections made to one address, whatever hosts the DSN names.
func toward(cfg *pgconn.Config, to net.Addr) {
	cfg.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
	cfg.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, to.Network(), to.String())
	}
	cfg.ValidateConnect = nil
}
