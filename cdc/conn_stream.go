package cdc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// writeTimeout bounds a status write. A server that takes longer has stopped
// reading; the connection is given up.
const writeTimeout = 10 * time.Second

// errDeadline says that nothing arrived before the deadline, or that [stream.wake] was called.
var errDeadline = errors.New("deadline")

// stream is a replication connection in copy-both mode. One goroutine owns it and does
// all reading and writing, so that a status is never written in the middle of a read (trap 3);
// the others may only call wake.
//
// Deadlines are set on the socket, not by a context per message: a read that times out
// keeps what it has of a message and goes on with it the next time.
type stream struct {
	pg   *pgconn.PgConn
	sock net.Conn
	in   *inflow

	mu    sync.Mutex // orders arm and wake
	woken bool
	armed time.Time
}

// event is what one message from the server means.
type event struct {
	wal       []byte // an output plugin message, valid until the next receive; nil for a keepalive
	serverEnd LSN    // of a keepalive: everything before it has been sent
	reply     bool   // of a keepalive: the server wants a status now
}

// startStream begins logical streaming. conn must be idle.
func startStream(ctx context.Context, pg *pgconn.PgConn, slot, publication string, from LSN) (*stream, error) {
	// Protocol 1: version 2 streams rows of transactions and savepoints that later roll back (trap 12).
	args := []string{"proto_version '1'", "publication_names " + quoteText(quoteIdent(publication))}
	if serverMajor(pg) >= MinMessages {
		args = append(args, "messages 'true'") // whether any rule wants them or not: they count in the ordinal (invariant 3)
	}
	err := pglogrepl.StartReplication(ctx, pg, quoteIdent(slot), from, pglogrepl.StartReplicationOptions{
		Mode: pglogrepl.LogicalReplication, PluginArgs: args,
	})
	if err != nil {
		return nil, err
	}
	in, _ := pg.CustomData()[inflowKey].(*inflow) // of replicationConfig
	return &stream{pg: pg, sock: pg.Conn(), in: in}, nil
}

// wake makes a waiting or the next receive return errDeadline. Any goroutine may call it.
func (s *stream) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.woken = true
	s.armed = time.Unix(1, 0)
	// An error means that the socket is closed; its reader learns it by itself.
	_ = s.sock.SetReadDeadline(s.armed)
}

// arm sets when receive gives up waiting. It reports false, and sets nothing, when
// wake has been called since the last arm: the caller must look around first.
func (s *stream) arm(at time.Time) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.woken {
		s.woken = false
		return false, nil
	}
	if at.Equal(s.armed) {
		return true, nil
	}
	s.armed = at
	return true, s.sock.SetReadDeadline(at)
}

// buffered returns an event that has come with the last one; false when one would have to wait for more.
func (s *stream) buffered() (event, bool, error) {
	body, ok := s.in.buffered()
	if !ok {
		return event{}, false, nil
	}
	e, err := parseEvent(body)
	return e, true, err
}

// receive returns the next event, errDeadline, or the error that ended the stream.
func (s *stream) receive() (event, error) {
	for {
		body, ok, err := s.in.next()
		if ok {
			return parseEvent(body)
		}
		var msg pgproto3.BackendMessage
		if err == nil {
			msg, err = s.pg.ReceiveMessage(context.Background()) // no context: see the type's comment
		}
		if err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() && !s.pg.IsClosed() {
				return event{}, errDeadline
			}
			return event{}, fmt.Errorf("receive message: %w", err)
		}
		switch msg := msg.(type) {
		case *pgproto3.CopyData:
			return parseEvent(msg.Data)
		case *pgproto3.ErrorResponse:
			return event{}, pgconn.ErrorResponseToPgError(msg)
		case *pgproto3.CopyDone, *pgproto3.CommandComplete, *pgproto3.ReadyForQuery:
			return event{}, errStreamEnded
		case *pgproto3.NoticeResponse:
			if err := noticeError(msg); err != nil {
				return event{}, err
			}
		case *pgproto3.ParameterStatus:
		default:
			return event{}, fmt.Errorf("unexpected message %T in the stream", msg)
		}
	}
}

// noticeError turns the one warning into an error that means lost changes. When the publication did not exist yet in the WAL that is
// read, PostgreSQL 18 no longer fails (42704): it warns, skips the change, and lets the position go on.
func noticeError(msg *pgproto3.NoticeResponse) error {
	if msg.SeverityUnlocalized != "WARNING" || msg.Code != "55000" {
		return nil
	}
	err := pgconn.ErrorResponseToPgError((*pgproto3.ErrorResponse)(msg))
	err.Severity, err.SeverityUnlocalized, err.Code = "ERROR", "ERROR", "42704"
	return err
}

// parseEvent reads the header of a streaming message (manual, "Streaming Replication
// Protocol"). WALStart and walEnd of data messages are left alone: they are not
// monotonic (trap 4).
func parseEvent(data []byte) (event, error) {
	switch {
	case len(data) > 25 && data[0] == pglogrepl.XLogDataByteID:
		return event{wal: data[25:]}, nil
	case len(data) == 18 && data[0] == pglogrepl.PrimaryKeepaliveMessageByteID:
		return event{serverEnd: LSN(binary.BigEndian.Uint64(data[1:])), reply: data[17] != 0}, nil
	case len(data) == 0:
		return event{}, errors.New("empty message in the stream")
	}
	return event{}, fmt.Errorf("malformed message %q of %d bytes in the stream", data[0], len(data))
}

// status confirms lsn. All three positions are set, always: a zero one would be
// read as the write position (trap 2). ask makes the server answer.
func (s *stream) status(lsn LSN, ask bool) error {
	if err := s.sock.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return fmt.Errorf("send status: %w", err)
	}
	err := pglogrepl.SendStandbyStatusUpdate(context.Background(), s.pg, pglogrepl.StandbyStatusUpdate{
		WALWritePosition: lsn, WALFlushPosition: lsn, WALApplyPosition: lsn, ReplyRequested: ask,
	})
	if err != nil {
		return fmt.Errorf("send status: %w", err)
	}
	return nil
}

// finish ends the stream in an orderly way: the server has processed every status
// sent before, and has freed the slot, when it returns nil.
func (s *stream) finish(within time.Duration) error {
	end := time.Now().Add(within)
	if err := s.sock.SetDeadline(end); err != nil {
		return err
	}
	s.pg.Frontend().Send(&pgproto3.CopyDone{})
	if err := s.pg.Frontend().Flush(); err != nil {
		return err
	}
	for time.Now().Before(end) {
		msg, err := s.pg.ReceiveMessage(context.Background())
		if err != nil {
			return err
		}
		switch msg := msg.(type) {
		case *pgproto3.ReadyForQuery:
			return nil
		case *pgproto3.ErrorResponse:
			return pgconn.ErrorResponseToPgError(msg)
		}
	}
	return errSilent
}

// closeConn closes a connection, and waits a moment for the goroutine that pgconn
// starts to clean up a broken one. It does not wait for a server that does not answer.
func closeConn(pg *pgconn.PgConn) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	err := pg.Close(ctx)
	select {
	case <-pg.CleanupDone():
	case <-ctx.Done():
	}
	return err
}
