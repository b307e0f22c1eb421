package cdc

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// Deadline bounds how long a statement's answer is waited for on this side of the network. The server's own statement_timeout
// helps nobody whose server has vanished without a word, or hangs: TCP alone would wait for a quarter of an hour, and for ever
// on something in between that still acknowledges. When the time is over the connection is closed, and the statement fails with
// context.DeadlineExceeded, whatever became of it on the server.
//
// It is set as the Tracer of a connection's configuration, which sees every statement and batch made by pgx, and none that goes to
// PgConn directly. It should be longer than statement_timeout.
type Deadline time.Duration

var (
	_ pgx.QueryTracer = Deadline(0)
	_ pgx.BatchTracer = Deadline(0)
)

type deadlineKey struct{}

func (d Deadline) begin(ctx context.Context) context.Context {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(d))
	return context.WithValue(ctx, deadlineKey{}, cancel)
}

func (Deadline) end(ctx context.Context) {
	if cancel, ok := ctx.Value(deadlineKey{}).(context.CancelFunc); ok {
		cancel()
	}
}

// TraceQueryStart implements [pgx.QueryTracer].
func (d Deadline) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return d.begin(ctx)
}

// TraceQueryEnd implements [pgx.QueryTracer].
func (d Deadline) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryEndData) {
	d.end(ctx)
}

// TraceBatchStart implements [pgx.BatchTracer].
func (d Deadline) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return d.begin(ctx)
}

// TraceBatchQuery implements [pgx.BatchTracer].
func (Deadline) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}

// TraceBatchEnd implements [pgx.BatchTracer].
func (d Deadline) TraceBatchEnd(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchEndData) {
	d.end(ctx)
}
