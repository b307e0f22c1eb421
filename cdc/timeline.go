package cdc

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
)

// CheckTimeline says whether a position that was processed on a timeline may be streamed on from where the server
// is now (invariant 8): nil for the same timeline, and for a later one that branched off behind the
// position; a *[PositionError] otherwise. A Source checks the same for each session; this is for whoever
// stores the timeline before there is one.
func CheckTimeline(ctx context.Context, dsn string, timeline uint32, position LSN) (err error) {
	cfg, err := replicationConfig(dsn)
	if err != nil {
		return err
	}
	pg, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return connectError(err, cfg.User, cfg.Database)
	}
	defer func() { err = errors.Join(err, ignoreClosed(closeConn(pg))) }()
	system, err := pglogrepl.IdentifySystem(ctx, pg)
	if err != nil {
		return fmt.Errorf("identify system: %w", err)
	}
	c := &session{Source: &Source{timeline: timeline}}
	return c.checkTimeline(ctx, pg, Session{Timeline: uint32(system.Timeline), Start: position, End: system.XLogPos})
}
