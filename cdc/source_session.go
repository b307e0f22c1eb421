package cdc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"walhook/internal/failpoint"
)

// session is one replication connection from connect to close. All of it runs in
// the reader's goroutine.
type session struct {
	*Source
	stream  *stream
	decoder *Decoder

	every     time.Duration // longest time between two status messages
	silence   time.Duration // after which the server counts as gone; 0 for never
	sent      time.Time     // when the last status was sent
	confirmed LSN           // what it said
	heard     time.Time     // when the server was last heard of
	asked     bool          // the server owes an answer

	inTx     bool // a transaction is being received
	answered int  // replies demanded in a row without cause, see keepalive
}

// session connects, streams, and returns why it ended, and whether anything was received.
func (s *Source) session(ctx context.Context, decoder *Decoder) (progressed bool, err error) {
	cfg, err := replicationConfig(s.cfg.DSN)
	if err != nil {
		return false, err
	}
	cfg.RuntimeParams["application_name"] = streamName(s.cfg.Group)
	s.gate.Guard(cfg)
	pg, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return false, connectError(err, cfg.User, cfg.Database)
	}
	defer func() { err = errors.Join(err, ignoreClosed(closeConn(pg))) }()

	c := &session{Source: s, decoder: decoder}
	about, err := c.start(ctx, pg)
	if err != nil {
		return false, err
	}
	s.onWake(c.stream.wake)
	defer s.onWake(nil)
	s.sessions++
	c.heard = time.Now()
	s.track.update(func(p *Progress) {
		p.Connected, p.Session, p.Since, p.Reconnects = true, about, c.heard, about.Reconnects
		p.LastMessage = c.heard
	})
	if s.trace.Connected != nil {
		s.trace.Connected(about)
	}
	err = c.run(ctx)
	if errors.Is(err, errStopping) || ctx.Err() != nil {
		return true, c.close()
	}
	return c.heard.After(s.track.snapshot().Since), c.streamError(err)
}

// start checks that this is the right server and position, and begins streaming.
func (c *session) start(ctx context.Context, pg *pgconn.PgConn) (Session, error) {
	// A server that accepts the connection and then hangs must not hang us.
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	about, err := c.verify(ctx, pg)
	if err != nil {
		return about, err
	}
	c.stream, err = startStream(ctx, pg, c.cfg.Slot, c.cfg.Publication, about.Start)
	if err != nil {
		return about, c.startError(err, about)
	}
	return about, nil
}

// run reads until the stream ends, or returns errStopping when it is time to.
func (c *session) run(ctx context.Context) error {
	if err := c.status(false); err != nil {
		return err
	}
	for {
		if c.stopping() {
			return errStopping
		}
		if c.feed.full() {
			if err := c.waitForSpace(ctx); err != nil {
				return err
			}
			continue
		}
		armed, err := c.stream.arm(c.due())
		if err != nil {
			return fmt.Errorf("set deadline: %w", err)
		}
		if !armed {
			if err := c.tick(); err != nil {
				return err
			}
			continue
		}
		ev, err := c.stream.receive()
		switch {
		case errors.Is(err, errDeadline):
			err = c.tick()
		case err == nil:
			c.hear()
			err = c.events(ctx, ev)
		}
		if err != nil {
			return err
		}
	}
}

// together is how many messages are handled without looking at the clock and around, if they have come together.
const together = 256

// events handles an event and those that have come with it.
func (c *session) events(ctx context.Context, ev event) (err error) {
	defer c.feed.announce()
	for n, ok := 0, true; ok && err == nil; n++ {
		if ev.wal == nil {
			err = c.keepalive(ev)
		} else {
			err = c.message(ctx, ev.wal)
		}
		if err != nil || n == together || c.feed.full() {
			return err
		}
		ev, ok, err = c.stream.buffered()
	}
	return err
}

// due is when the next status must be sent: after StatusInterval, or after ConfirmInterval if
// there is something to confirm.
func (c *session) due() time.Time {
	if LSN(c.durable.Load()) > c.confirmed {
		return c.sent.Add(min(c.cfg.ConfirmInterval, c.every))
	}
	return c.sent.Add(c.every)
}

// tick sends a status if one is due, and finds out whether the server is still there.
func (c *session) tick() error {
	now := time.Now()
	quiet := now.Sub(c.heard)
	if c.silence > 0 && quiet > c.silence && c.asked {
		return fmt.Errorf("%w since %s", errSilent, quiet.Round(time.Second))
	}
	if now.Before(c.due()) {
		return nil
	}
	return c.status(c.silence > 0 && quiet > c.silence/2)
}

// status confirms what is durable, and no more (invariant 1).
func (c *session) status(ask bool) error {
	lsn := LSN(c.durable.Load())
	failpoint.HitIf(lsn > c.confirmed, failpoint.Confirm)
	if err := c.stream.status(lsn, ask); err != nil {
		return err
	}
	failpoint.HitIf(lsn > c.confirmed, failpoint.Confirmed)
	c.sent = time.Now()
	c.asked = c.asked || ask
	if lsn != c.confirmed {
		c.confirmed = lsn
		c.track.update(func(p *Progress) { p.Confirmed = lsn })
		if c.trace.Confirmed != nil {
			c.trace.Confirmed(lsn)
		}
	}
	return nil
}

// hear takes note that the server is alive.
func (c *session) hear() {
	c.heard, c.asked = time.Now(), false
}

// keepalive answers the server and learns how far it has sent.
//
// A server that shuts down waits until all WAL is confirmed, and demands a reply after each
// reply. But idle progress must be persisted first, perhaps in the very server that
// is shutting down: it would wait for ever, and Odoo with it. So when replies are demanded
// again and again for no reason, the session ends.
func (c *session) keepalive(ev event) error {
	if !c.inTx {
		c.feed.advance(ev.serverEnd)
	}
	c.track.update(func(p *Progress) {
		p.ServerEnd, p.LastMessage = max(p.ServerEnd, ev.serverEnd), c.heard
		if !c.inTx {
			p.Received = max(p.Received, ev.serverEnd)
		}
	})
	if !ev.reply {
		return nil
	}
	const unprovoked, hasty = 20, 100 * time.Millisecond
	if c.heard.Sub(c.sent) < hasty {
		if c.answered++; c.answered >= unprovoked {
			return errShutdown
		}
	} else {
		c.answered = 0
	}
	return c.status(false)
}

// message decodes one message and queues the transaction that it completes.
func (c *session) message(ctx context.Context, wal []byte) error {
	c.answered = 0
	switch wal[0] {
	case 'B':
		c.inTx = true
		if len(wal) == 21 { // BEGIN: final LSN, commit time, xid
			c.track.begin(pgTime(int64(binary.BigEndian.Uint64(wal[9:]))))
		}
	case 'C':
		defer func() { c.inTx = false; c.track.end() }()
	}
	tx, err := c.decoder.Decode(ctx, wal)
	if err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	if tx == nil {
		return nil
	}
	failpoint.Hit(failpoint.Decoded)
	if c.feed.has(tx.EndLSN) {
		return tx.Close() // received on an earlier connection
	}
	tx.Received = c.heard
	c.observe(tx)
	end := tx.EndLSN
	c.feed.put(tx, tx.Size()+txOverhead) // it is the handler's from here on
	count, bytes, _ := c.feed.load()
	c.track.update(func(p *Progress) {
		p.Received, p.ServerEnd = max(p.Received, end), max(p.ServerEnd, end)
		p.InFlight, p.Bytes, p.LastMessage = count, bytes, c.heard
	})
	return nil
}

// txOverhead is what a transaction holds besides its rows, in bytes, so that small ones count too.
const txOverhead = 512

// pgTime converts microseconds since 2000-01-01.
func pgTime(us int64) time.Time {
	const epoch = 946684800
	return time.Unix(epoch+us/1_000_000, us%1_000_000*1000).UTC()
}

// observe calls the trace for what deserves a person's attention.
func (c *session) observe(tx *Tx) {
	if tx.Spilled() && c.trace.Spilled != nil {
		c.trace.Spilled(tx)
	}
	if c.trace.Truncated == nil {
		return
	}
	for _, change := range tx.changes {
		if change.Op == Truncate {
			c.trace.Truncated(change.Rel, tx)
		}
	}
	if spool, ok := tx.spill.(*spool); ok {
		for _, t := range spool.truncates {
			c.trace.Truncated(t.rel, tx)
		}
	}
}

// close ends the session at an orderly stop: it keeps the connection alive until the handler has
// finished, confirms what became durable, and waits until the server has taken note.
func (c *session) close() error {
	for waiting := true; waiting; {
		timer := time.NewTimer(time.Until(c.sent.Add(c.every)))
		select {
		case <-c.stopped:
			waiting = false
		case <-timer.C:
			if err := c.status(false); err != nil {
				return err
			}
		}
		timer.Stop()
	}
	if err := c.status(false); err != nil {
		return err
	}
	return c.stream.finish(2 * time.Second)
}

// ignoreClosed drops the error of closing a connection that is closed.
func ignoreClosed(err error) error {
	if errors.Is(err, pgconn.ErrConnClosed) {
		return nil
	}
	return err
}
