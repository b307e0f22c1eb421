package cdc

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
)

// CheckTimeline connects to the source and finds out whether a position that was reached on a timeline
// lies on the server's present one. It returns nil if so, a *[PositionError] if not.
func CheckTimeline(ctx context.Context, dsn string, timeline uint32, position LSN) (err error) {
	cfg, err := replicationConfig(dsn)
	if err != nil {
		return err
	}
	pg, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return connectError(err, cfg.User, cfg.Database)
	}
	defer func() {
		if closeErr := ignoreClosed(closeConn(pg)); err == nil {
			err = closeErr
		}
	}()
	system, err := pglogrepl.IdentifySystem(ctx, pg)
	if err != nil {
		return fmt.Errorf("identify system: %w", err)
	}
	return checkTimeline(ctx, pg, uint32(system.Timeline), timeline, position)
}

// checkTimeline accepts a position of the server's own timeline, and of an earlier one when it lies
// before the point where the server left that (a failover). It refuses any other (a
// point-in-time recovery; invariant 8). Timeline 0 is unknown and accepted.
func checkTimeline(ctx context.Context, pg *pgconn.PgConn, server, timeline uint32, position LSN) error {
	if timeline == 0 || server == timeline {
		return nil
	}
	refuse := func(at LSN, format string, args ...any) error {
		return &PositionError{Problem: PositionTimeline, Position: position, Server: at, Detail: fmt.Sprintf(format, args...),
			Remedy: "the server was recovered to an earlier point in time, or replaced. If that is to stay: " + adoptSlot}
	}
	if server < timeline {
		return refuse(0, "%s is on timeline %d, the server is on timeline %d", position, timeline, server)
	}
	history, err := pglogrepl.TimelineHistory(ctx, pg, int32(server))
	if err != nil {
		return fmt.Errorf("read history of timeline %d: %w", server, err)
	}
	end, ok := switchPoint(string(history.Content), timeline)
	if !ok {
		return refuse(0, "%s is on timeline %d, which the server's timeline %d does not descend from", position, timeline, server)
	}
	if position > end {
		return refuse(end, "%s was processed on timeline %d, but the server left that timeline %s earlier, at %s",
			position, timeline, bytesText(int64(position-end)), end)
	}
	return nil
}

// switchPoint finds in a timeline history file where a timeline was left. Each line holds
// a timeline, the LSN where the next one branched off, and a reason.
func switchPoint(history string, timeline uint32) (LSN, bool) {
	for line := range strings.Lines(history) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != strconv.FormatUint(uint64(timeline), 10) {
			continue
		}
		if lsn, err := pglogrepl.ParseLSN(fields[1]); err == nil {
			return lsn, true
		}
	}
	return 0, false
}

// Timeline asks the server for its timeline, which the control file of a standby tells as of its last restartpoint only.
func Timeline(ctx context.Context, dsn string) (timeline uint32, err error) {
	cfg, err := replicationConfig(dsn)
	if err != nil {
		return 0, err
	}
	pg, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return 0, connectError(err, cfg.User, cfg.Database)
	}
	defer func() { _ = closeConn(pg) }() // nothing is lost with it
	system, err := pglogrepl.IdentifySystem(ctx, pg)
	if err != nil {
		return 0, fmt.Errorf("identify system: %w", err)
	}
	return uint32(system.Timeline), nil
}
