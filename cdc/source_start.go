package cdc

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
)

// verify makes sure, before anything is streamed, that this is the server, the
// database and the slot that the position belongs to, and that streaming from the position skips nothing
// (invariants 1 and 8; trap 5: the server itself checks none of it).
func (c *session) verify(ctx context.Context, pg *pgconn.PgConn) (Session, error) {
	about := Session{PID: int(pg.PID()), Server: pg.ParameterStatus("server_version"), Reconnects: c.sessions}
	system, err := pglogrepl.IdentifySystem(ctx, pg)
	if err != nil {
		return about, fmt.Errorf("identify system: %w", err)
	}
	about.SystemID, about.Database, about.End = system.SystemID, system.DBName, system.XLogPos
	about.Timeline = uint32(system.Timeline)
	if c.cfg.SystemID != "" && system.SystemID != c.cfg.SystemID {
		return about, &IdentityError{What: "system identifier", Want: c.cfg.SystemID, Got: system.SystemID}
	}
	server, err := readServer(ctx, pg)
	if err != nil {
		return about, err
	}
	about.DatabaseOID = server.database
	if c.cfg.DatabaseOID != 0 && server.database != c.cfg.DatabaseOID {
		return about, &IdentityError{What: "database oid",
			Want: strconv.FormatUint(uint64(c.cfg.DatabaseOID), 10), Got: strconv.FormatUint(uint64(server.database), 10)}
	}
	slot, err := c.freeSlot(ctx, pg, about.Database)
	if err != nil {
		return about, c.since(err, about)
	}
	if server.standby && slot.Synced {
		return about, slotCopy(c.cfg.Slot)
	}
	about.Confirmed = slot.Confirmed
	if err := c.checkPublication(ctx, pg); err != nil {
		return about, err
	}
	if !c.known.Load() && c.cfg.FromSlot {
		c.setStart(slot.Confirmed)
	}
	about.Start = c.feed.resume()
	if err := c.checkPosition(ctx, pg, about, server.place); err != nil {
		return about, err
	}
	if c.cfg.NewTimeline != nil && c.line.current() != about.Timeline {
		if err := c.cfg.NewTimeline(ctx, about.Timeline); err != nil {
			return about, fmt.Errorf("note timeline %d: %w", about.Timeline, err)
		}
	}
	c.line.begin(about.Timeline, server.standby, pg.Conn().RemoteAddr(), server.place)

	// A status well before the server gives up on us, whatever its settings.
	c.every = c.cfg.StatusInterval
	c.silence = 0
	if server.senderTimeout > 0 {
		c.every = min(c.every, server.senderTimeout/4)
		c.silence = max(c.cfg.ReceiveTimeout, 2*server.senderTimeout)
	}
	return about, nil
}

// checkPosition refuses a start from which the server would skip changes silently.
func (c *session) checkPosition(ctx context.Context, pg *pgconn.PgConn, about Session, place string) error {
	if !c.known.Load() || about.Start == 0 {
		return NoPosition("the state holds no position", c.cfg.Slot, about.Confirmed)
	}
	if err := CheckPosition(c.cfg.Slot, LSN(c.durable.Load()), about.Confirmed, 0); err != nil {
		return err
	}
	if !c.line.continues(pg.Conn().RemoteAddr(), place) {
		if err := checkTimeline(ctx, pg, about.Timeline, c.line.current(), about.Start); err != nil {
			return err
		}
	}
	return CheckPosition(c.cfg.Slot, about.Start, 0, about.End)
}

// since says of a slot that is gone what is lost with it.
func (c *session) since(err error, about Session) error {
	var slot *SlotError
	if errors.As(err, &slot) {
		slot.Since(LSN(c.durable.Load()), about.End)
	}
	return err
}

// server is what a session must know about the server before it starts.
type server struct {
	database      uint32
	standby       bool
	place         string        // see serverPlace
	senderTimeout time.Duration // 0 means none
}

func readServer(ctx context.Context, pg *pgconn.PgConn) (server, error) {
	if major := serverMajor(pg); major < MinServer {
		return server{}, &RefusedError{Reason: fmt.Sprintf("PostgreSQL %s is too old: walhook needs %d or later", pg.ParameterStatus("server_version"), MinServer),
			Remedy: "upgrade the server"}
	}
	// pg_settings would tell milliseconds, and makes the server look up all of its settings.
	rows, err := simpleQuery(ctx, pg, `SELECT d.oid, (1000 * extract(epoch FROM current_setting('wal_sender_timeout')::interval))::int8, current_setting('wal_level'), pg_catalog.pg_is_in_recovery()::text, `+serverPlace+`
		FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()`)
	if err != nil {
		return server{}, fmt.Errorf("read server settings: %w", err)
	}
	if len(rows) != 1 {
		return server{}, errors.New("read server settings: no answer")
	}
	oid, err := strconv.ParseUint(string(rows[0][0]), 10, 32)
	if err != nil {
		return server{}, fmt.Errorf("read database oid: %w", err)
	}
	timeout, err := strconv.Atoi(string(rows[0][1])) // milliseconds
	if err != nil {
		return server{}, fmt.Errorf("read wal_sender_timeout: %w", err)
	}
	if level := string(rows[0][2]); level != "logical" {
		return server{}, refuseWALLevel(level)
	}
	return server{database: uint32(oid), standby: string(rows[0][3]) == "true", place: string(rows[0][4]), senderTimeout: time.Duration(timeout) * time.Millisecond}, nil
}

func refuseWALLevel(level string) error {
	return &RefusedError{Reason: fmt.Sprintf("wal_level is %s: logical replication needs logical", level),
		Remedy: "ALTER SYSTEM SET wal_level = 'logical'; then restart the server"}
}

// checkPublication finds out in time what would otherwise end the stream at the first change.
func (c *session) checkPublication(ctx context.Context, pg *pgconn.PgConn) error {
	rows, err := simpleQuery(ctx, pg, "SELECT 1 FROM pg_catalog.pg_publication WHERE pubname = "+quoteText(c.cfg.Publication))
	if err != nil {
		return fmt.Errorf("read publication: %w", err)
	}
	if len(rows) == 0 {
		return &RefusedError{Reason: fmt.Sprintf("there is no publication %q", c.cfg.Publication),
			Remedy: "run `walhook setup`, or have the owner of the tables run the SQL of `walhook setup --dry-run`"}
	}
	return nil
}

// startError explains why START_REPLICATION failed.
func (c *session) startError(err error, about Session) error {
	err = fmt.Errorf("start replication: %w", err)
	switch sqlState(err) {
	case "42704":
		return c.since(missingSlot(c.cfg.Slot, err), about)
	case "55006":
		return slotInUse(c.cfg.Slot, 0, err)
	case "55000":
		if strings.Contains(err.Error(), "wal_level") {
			return refuseWALLevel("too low")
		}
		return c.since(lostSlot(c.cfg.Slot, "the server refuses to stream from it", err), about)
	case "58P01":
		return c.since(lostSlot(c.cfg.Slot, "WAL that it needs has been removed", err), about)
	case "42501":
		return &RefusedError{Reason: fmt.Sprintf("the role of source.dsn may not replicate from database %q", about.Database), Err: err,
			Remedy: "ALTER ROLE … REPLICATION for the role of source.dsn"}
	}
	return err
}

// streamError explains why a running stream failed.
func (c *session) streamError(err error) error {
	switch sqlState(err) {
	case "42704":
		if strings.Contains(err.Error(), c.cfg.Publication) { // the words may be in any language
			e := &SlotError{Slot: c.cfg.Slot, Problem: SlotTooOld, Err: err,
				Detail: fmt.Sprintf("the server looks for publication %q as of the WAL it reads, and it did not exist then", c.cfg.Publication),
				Raise:  fmt.Sprintf("the slot is to be made again, after the publication: SELECT pg_drop_replication_slot(%s); then: ", quoteText(c.cfg.Slot)),
				Remedy: "walhook setup"}
			return e.Since(LSN(c.durable.Load()), c.track.snapshot().ServerEnd)
		}
	case "58P01":
		return lostSlot(c.cfg.Slot, "WAL that it needs has been removed", err).Since(LSN(c.durable.Load()), c.track.snapshot().ServerEnd)
	}
	return err
}
