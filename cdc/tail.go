package cdc

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// TailConfig says what [Tail] reads.
type TailConfig struct {
	DSN         string
	Publication string
	// Slot is a slot to read from beginning to end, and to leave as it is. Without one Tail makes a temporary slot, which begins now and ends
	// with the session.
	Slot string
	// Until ends the reading when everything before it has been handed over; 0 means never. It is needed with a Slot.
	Until  LSN
	Want   func(schema, table string) (net, raw bool)
	Limits Limits

	Waiting func()          // the temporary slot waits for transactions that run; may be nil
	Started func(start LSN) // streaming has begun; may be nil
}

// Bounds of what waits for a temporary slot's reader.
const (
	tailQueue = 1000
	tailBytes = 16 << 20
)

// Tail hands over what is committed until ctx ends, which is no error, or handle fails. Nothing of it is durable, and nothing depends on it.
//
// A temporary slot keeps no WAL for a handler that is slow or stands still: what has been received is confirmed at once, and beyond a
// thousand transactions or 16 MiB that wait, further ones are dropped and counted; handle is told how many were dropped before each. When the
// process itself stands still, the server ends the session after a minute, and the slot with it.
//
// Of a Slot nothing is dropped, and nothing is confirmed: it can be read again.
func Tail(ctx context.Context, cfg TailConfig, handle func(tx *Tx, dropped int) error) error {
	conn, err := replicationConfig(cfg.DSN)
	if err != nil {
		return err
	}
	conn.RuntimeParams["application_name"] = applicationName("tail")
	conn.RuntimeParams["wal_sender_timeout"] = "60s" // whatever the server's: it may be without one
	pg, err := pgconn.ConnectConfig(ctx, conn)
	if err != nil {
		return connectError(err, conn.User, conn.Database)
	}
	defer func() { _ = closeConn(pg) }() // a temporary slot goes with it
	live, err := NewLive(cfg.DSN, "tail", nil)
	if err != nil {
		return err
	}
	defer live.Close()
	t := &tail{cfg: cfg, handle: handle, decoder: NewDecoder(live, cfg.Want, cfg.Limits)}
	defer t.decoder.Reset()
	if err := t.start(ctx, pg, conn.Database); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	stop := context.AfterFunc(ctx, t.stream.wake)
	defer stop()
	if cfg.Slot != "" {
		return t.read(ctx)
	}
	return t.readAside(ctx)
}

// tail is one session.
type tail struct {
	cfg     TailConfig
	handle  func(*Tx, int) error
	stream  *stream
	decoder *Decoder

	confirmed LSN // what is told to the server
	inTx      bool

	ready   chan *Tx     // of a temporary slot: to the goroutine that calls handle
	waiting atomic.Int64 // bytes in ready
}

// start finds or makes the slot, and begins to stream.
func (t *tail) start(ctx context.Context, pg *pgconn.PgConn, database string) error {
	if major := serverMajor(pg); major < MinServer {
		return &RefusedError{Reason: fmt.Sprintf("PostgreSQL %s is too old: walhook needs %d or later", pg.ParameterStatus("server_version"), MinServer), Remedy: "upgrade the server"}
	}
	rows, err := simpleQuery(ctx, pg, "SELECT 1 FROM pg_catalog.pg_publication WHERE pubname = "+quoteText(t.cfg.Publication))
	if err != nil {
		return fmt.Errorf("read publication: %w", err)
	}
	if len(rows) == 0 {
		return &RefusedError{Reason: fmt.Sprintf("there is no publication %q, which names the tables whose changes can be seen", t.cfg.Publication),
			Remedy: "run `walhook setup`, or have the owner of the tables run the SQL of `walhook setup --dry-run`"}
	}
	name := t.cfg.Slot
	if name == "" {
		name = fmt.Sprintf("walhook_tail_%d", pg.PID())
		if err := t.temporary(ctx, pg, name, database); err != nil {
			return err
		}
	} else {
		slot, err := readSlot(ctx, pg, name, database)
		if err != nil {
			return err
		}
		t.confirmed = slot.Confirmed
	}
	if t.stream, err = startStream(ctx, pg, name, t.cfg.Publication, t.confirmed); err != nil {
		return fmt.Errorf("start replication: %w", err)
	}
	if t.cfg.Started != nil {
		t.cfg.Started(t.confirmed)
	}
	return nil
}

// temporary makes a slot that begins now.
func (t *tail) temporary(ctx context.Context, pg *pgconn.PgConn, name, database string) error {
	if t.cfg.Waiting != nil {
		patience := time.AfterFunc(2*time.Second, t.cfg.Waiting)
		defer patience.Stop()
	}
	made, err := pglogrepl.CreateReplicationSlot(ctx, pg, quoteIdent(name), "pgoutput",
		pglogrepl.CreateReplicationSlotOptions{Temporary: true, SnapshotAction: "NOEXPORT_SNAPSHOT", Mode: pglogrepl.LogicalReplication})
	switch sqlState(err) {
	case "":
	case "42501":
		return &RefusedError{Reason: fmt.Sprintf("the role of source.dsn may not replicate from database %q", database), Err: err, Remedy: "ALTER ROLE … REPLICATION for the role of source.dsn"}
	case "53400":
		return &RefusedError{Reason: "the server has no free replication slot for a temporary one", Err: err,
			Remedy: "ALTER SYSTEM SET max_replication_slots = …; then restart the server; or drop one that nobody needs: SELECT slot_name, active FROM pg_replication_slots"}
	case "55000":
		return refuseWALLevel("too low")
	}
	if err != nil {
		return fmt.Errorf("create a temporary slot: %w", err)
	}
	t.confirmed, err = pglogrepl.ParseLSN(made.ConsistentPoint)
	return err
}

// errDone says that everything before Until has been read.
var errDone = errors.New("done")

// read hands transactions over as they come.
func (t *tail) read(ctx context.Context) error {
	err := t.receive(ctx, func(tx *Tx) error {
		if err := t.handle(tx, 0); err != nil {
			return errors.Join(err, tx.Close())
		}
		return tx.Close()
	})
	if errors.Is(err, errDone) || ctx.Err() != nil && errors.Is(err, errStopping) {
		return nil
	}
	return err
}

// readAside hands transactions over in a goroutine of its own, so that reading goes on.
func (t *tail) readAside(ctx context.Context) error {
	t.ready = make(chan *Tx, tailQueue)
	gone := make(chan error, 1)
	drops := make(chan int, 1)
	drops <- 0
	go func() {
		var failed error
		for tx := range t.ready {
			dropped := <-drops
			drops <- 0
			size := tx.Size()
			if failed == nil && ctx.Err() == nil {
				if failed = t.handle(tx, dropped); failed != nil {
					t.stream.wake()
				}
			}
			if err := tx.Close(); failed == nil {
				failed = err
			}
			t.waiting.Add(-size)
			if failed != nil {
				select {
				case gone <- failed:
				default:
				}
			}
		}
		close(gone)
	}()
	err := t.receive(ctx, func(tx *Tx) error {
		select {
		case err := <-gone:
			return errors.Join(err, tx.Close())
		default:
		}
		if t.waiting.Load()+tx.Size() <= tailBytes || t.waiting.Load() == 0 {
			t.waiting.Add(tx.Size())
			select {
			case t.ready <- tx:
				return nil
			default:
				t.waiting.Add(-tx.Size())
			}
		}
		drops <- <-drops + 1
		return tx.Close()
	})
	close(t.ready)
	if ctx.Err() != nil {
		return nil // a handler that stands still is not waited for
	}
	for failed := range gone {
		return failed
	}
	return err
}

// receive reads until ctx ends, and confirms.
func (t *tail) receive(ctx context.Context, take func(*Tx) error) error {
	const every = time.Second
	ask := t.cfg.Until > 0 // the server need not say by itself that there is no more
	next := time.Now()
	for {
		if ctx.Err() != nil {
			return errStopping
		}
		if now := time.Now(); !now.Before(next) {
			if err := t.stream.status(t.confirmed, ask); err != nil {
				return err
			}
			next = now.Add(every)
		}
		armed, err := t.stream.arm(next)
		if err != nil {
			return fmt.Errorf("set deadline: %w", err)
		}
		if !armed { // woken: ctx has ended, or the handler
			if ctx.Err() == nil {
				return errStopping
			}
			continue
		}
		ev, err := t.stream.receive()
		switch {
		case errors.Is(err, errDeadline):
		case err != nil:
			return err
		case ev.wal == nil:
			if err := t.keepalive(ev); err != nil {
				return err
			}
		default:
			if err := t.message(ctx, ev.wal, take); err != nil {
				return err
			}
		}
	}
}

func (t *tail) keepalive(ev event) error {
	if !t.inTx && t.cfg.Slot == "" {
		t.confirmed = max(t.confirmed, ev.serverEnd)
	}
	if !t.inTx && t.cfg.Until > 0 && ev.serverEnd >= t.cfg.Until {
		return errDone
	}
	if ev.reply {
		return t.stream.status(t.confirmed, false)
	}
	return nil
}

func (t *tail) message(ctx context.Context, wal []byte, take func(*Tx) error) error {
	switch wal[0] {
	case 'B':
		t.inTx = true
	case 'C':
		defer func() { t.inTx = false }()
	}
	tx, err := t.decoder.Decode(ctx, wal)
	if err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	if tx == nil {
		return nil
	}
	end := tx.EndLSN
	if tx.Empty() {
		err = tx.Close()
	} else {
		err = take(tx)
	}
	if err != nil {
		return err
	}
	if t.cfg.Slot == "" {
		t.confirmed = max(t.confirmed, end)
	}
	if t.cfg.Until > 0 && end >= t.cfg.Until {
		return errDone
	}
	return nil
}

// Published lists the tables of a publication as schema and name, sorted. Changes of others are not streamed.
func Published(ctx context.Context, conn *pgx.Conn, publication string) (tables [][2]string, err error) {
	rows, err := conn.Query(ctx, `SELECT schemaname::text, tablename::text FROM pg_catalog.pg_publication_tables WHERE pubname = $1 ORDER BY 1, 2`, publication)
	if err != nil {
		return nil, fmt.Errorf("read publication: %w", err)
	}
	var schema, table string
	if _, err := pgx.ForEachRow(rows, []any{&schema, &table}, func() error {
		tables = append(tables, [2]string{schema, table})
		return nil
	}); err != nil {
		return nil, fmt.Errorf("read publication: %w", err)
	}
	return tables, nil
}
