package cdc

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// awaitVisible bounds how long [Live.Await] waits before it leaves it to the caller to try again.
const awaitVisible = 20 * time.Second

// NotVisibleError says that a transaction which the stream has brought cannot be seen by queries yet.
type NotVisibleError struct {
	XID uint32 // 0: the server has not come as far as the stream
	LSN LSN
}

func (e *NotVisibleError) Error() string {
	if e.XID == 0 {
		return fmt.Sprintf("the server that rows are looked up on has not come as far as the stream, to %s", e.LSN)
	}
	return fmt.Sprintf("transaction %d is in WAL and not visible to queries yet", e.XID)
}

// Hint returns the remedy.
func (e *NotVisibleError) Hint() string {
	if e.XID == 0 {
		return "let source.dsn lead to one server, the one that is streamed from"
	}
	return "its commit waits for a synchronous standby: see SELECT * FROM pg_stat_replication, and synchronous_standby_names"
}

// Temporary says that waiting helps.
func (e *NotVisibleError) Temporary() bool { return true }

// Await returns when queries see what the stream has brought: everything up to lsn, and the transactions named. A commit is in
// WAL, and may have been streamed, a moment before other sessions see it; for as long as a synchronous standby does not answer that moment lasts.
// Later look-ups on the same connection see it too, as what is visible stays so; on another one they make sure of lsn.
func (l *Live) Await(ctx context.Context, lsn LSN, xids []uint32) error {
	for end, pause := time.Now().Add(awaitVisible), 200*time.Microsecond; ; pause = min(2*pause, 100*time.Millisecond) {
		missing, err := l.visible(ctx, lsn, xids)
		if err != nil || missing == nil {
			return err
		}
		if time.Now().After(end) {
			return missing
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// visible looks once, and says what is still missing.
func (l *Live) visible(ctx context.Context, lsn LSN, xids []uint32) (missing *NotVisibleError, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var snapshot string
	var end LSN
	err = l.use(ctx, func(conn *pgx.Conn) error {
		l.seen = nil
		if err := conn.QueryRow(ctx, "SELECT pg_catalog.txid_current_snapshot()::text, "+endOfLog).Scan(&snapshot, &end); err != nil {
			return err
		}
		l.seen = conn
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for what is visible: %w", err)
	}
	l.horizon = max(l.horizon, lsn)
	if end < l.horizon {
		l.seen = nil
		return &NotVisibleError{LSN: l.horizon}, nil
	}
	running, err := parseSnapshot(snapshot)
	if err != nil {
		return nil, err
	}
	for _, xid := range xids {
		if running.has(xid) {
			return &NotVisibleError{XID: xid}, nil
		}
	}
	return nil, nil
}

// endOfLog is how far the server has come.
const endOfLog = `CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_lsn() END`

// reached makes sure, once for each connection, that its server has come as far as the stream when [Live.Await] was called last:
// another server, to which a broken connection was made anew, may not have.
func (l *Live) reached(ctx context.Context, conn *pgx.Conn) error {
	if l.horizon == 0 || l.seen == conn {
		return nil
	}
	var end LSN
	if err := conn.QueryRow(ctx, "SELECT "+endOfLog).Scan(&end); err != nil {
		return err
	}
	if end < l.horizon {
		return &NotVisibleError{LSN: l.horizon}
	}
	l.seen = conn
	return nil
}

// snapshot says which transactions a query does not see.
type snapshot struct {
	next    uint32   // this one and later ones have not begun
	running []uint32 // sorted
}

// parseSnapshot reads the text of txid_current_snapshot, "xmin:xmax:running,…" with 64-bit numbers. WAL has their lower 32 bits.
func parseSnapshot(text string) (s snapshot, err error) {
	parts := strings.Split(text, ":")
	if len(parts) != 3 {
		return s, fmt.Errorf("unexpected snapshot %q", text)
	}
	next, err := strconv.ParseUint(parts[1], 10, 64)
	if err != nil {
		return s, fmt.Errorf("unexpected snapshot %q", text)
	}
	s.next = uint32(next)
	for part := range strings.SplitSeq(parts[2], ",") {
		if part == "" {
			continue
		}
		xid, err := strconv.ParseUint(part, 10, 64)
		if err != nil {
			return s, fmt.Errorf("unexpected snapshot %q", text)
		}
		s.running = append(s.running, uint32(xid))
	}
	slices.Sort(s.running)
	return s, nil
}

// has says that a transaction is not visible. Transaction numbers go round: what is less than half a turn ahead is later.
func (s snapshot) has(xid uint32) bool {
	if int32(xid-s.next) >= 0 {
		return true
	}
	_, running := slices.BinarySearch(s.running, xid)
	return running
}
