package cdc

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// lingerPatience is how long the session of a predecessor may take to go by itself: it does so within
	// milliseconds when its process has ended, however it ended.
	lingerPatience = time.Second
	// endPatience is how long the server may take to end it.
	endPatience = 10 * time.Second
)

// streamName is the application_name of a reader's session.
func streamName(group string) string {
	if group == "" {
		return applicationName("stream")
	}
	return applicationName("stream/" + group)
}

// freeSlot reads the slot. If a session of this source's group still streams from it, that session is ended: its
// process hangs or its machine vanished, and the server would wait for it for wal_sender_timeout, or for ever. It
// runs as the same role, so that no further right is needed. A session of anybody else is left alone: the slot is in use then.
func (c *session) freeSlot(ctx context.Context, pg *pgconn.PgConn, database string) (*Slot, error) {
	ended := false
	for began := time.Now(); ; {
		slot, err := readSlot(ctx, pg, c.cfg.Slot, database)
		var inUse *SlotError
		if c.cfg.Group == "" || !errors.As(err, &inUse) || inUse.Problem != SlotInUse {
			return slot, err
		}
		pid, ours, lookErr := c.predecessor(ctx, pg, "a.pid")
		if lookErr != nil {
			return nil, lookErr
		}
		switch {
		case !ours || time.Since(began) > lingerPatience+endPatience:
			return nil, err
		case ended || time.Since(began) < lingerPatience:
		default:
			if c.cfg.MayEnd != nil {
				if refused := c.cfg.MayEnd(ctx); refused != nil {
					return nil, slotInUse(c.cfg.Slot, pid, refused)
				}
			}
			if _, ended, lookErr = c.predecessor(ctx, pg, "CASE WHEN pg_catalog.pg_terminate_backend(a.pid) THEN a.pid END"); lookErr != nil {
				return nil, slotInUse(c.cfg.Slot, pid, lookErr)
			}
			if ended && c.trace.Ended != nil {
				c.trace.Ended(pid)
			}
		}
		if !sleep(ctx, c.stop, 50*time.Millisecond) {
			return nil, err
		}
	}
}

// predecessor evaluates what over the session of this group that streams from the slot. There is none when ok is false.
func (c *session) predecessor(ctx context.Context, pg *pgconn.PgConn, what string) (pid int, ok bool, err error) {
	rows, err := simpleQuery(ctx, pg, "SELECT "+what+` FROM pg_catalog.pg_replication_slots s JOIN pg_catalog.pg_stat_activity a ON a.pid = s.active_pid
		WHERE s.slot_name = `+quoteText(c.cfg.Slot)+" AND a.application_name = "+quoteText(streamName(c.cfg.Group)))
	if err != nil {
		return 0, false, fmt.Errorf("look for the session that holds the slot: %w", err)
	}
	if len(rows) == 0 || rows[0][0] == nil {
		return 0, false, nil
	}
	pid, err = strconv.Atoi(string(rows[0][0]))
	return pid, err == nil, err
}

// HeldBy says whether a session of a group streams from the slot.
func (l *Live) HeldBy(ctx context.Context, slot, group string) (held bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	err = l.use(ctx, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_catalog.pg_replication_slots s JOIN pg_catalog.pg_stat_activity a ON a.pid = s.active_pid
			WHERE s.slot_name = $1 AND a.application_name = $2)`, slot, streamName(group)).Scan(&held)
	})
	if err != nil {
		return false, fmt.Errorf("look who holds slot %q: %w", slot, err)
	}
	return held, nil
}
