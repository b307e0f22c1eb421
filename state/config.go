package state

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"walhook/cdc"
	"walhook/status"
)

// DefaultSchema is the schema's name unless configured otherwise.
const DefaultSchema = "walhook"

// maxIdentifier is what PostgreSQL keeps of a name, in bytes (NAMEDATALEN - 1).
const maxIdentifier = 63

// Config says where the state lives and how long it is kept.
type Config struct {
	// DSN is a connection string or URL of the database; it should lead straight to PostgreSQL (a
	// pooler in transaction mode breaks advisory locks and session settings). Required.
	DSN string

	// Schema is the schema's name. Default "walhook".
	Schema string

	// Retention is how long deliveries that ended, and attempts, stay in the log. Whole UTC days are
	// dropped, so a day more may be kept. Default 30 days; at least 24 h.
	Retention time.Duration

	// AttemptRetention is how long attempts stay. Default Retention; at least 24 h, and no longer than Retention.
	AttemptRetention time.Duration

	// RetentionSize is how large the log may grow, in bytes on disk: beyond it the oldest days are dropped before their time, but
	// never today, nor a day that pending deliveries need. Default 0, no limit.
	RetentionSize int64

	// Lease is how long a process keeps its lanes without a sign of life. Default 30 s; at
	// least 1 s. It is renewed three times as often.
	Lease time.Duration

	// PoolSize is the largest number of connections. Default 8; at least 2.
	PoolSize int

	// Version of walhook, shown in the process table. Default "unknown".
	Version string

	// Gate is that of the source's sessions, when the state lives in the source's database: the state's sessions go
	// and come with them. Default none.
	Gate *cdc.Gate

	// Limits bound what is kept. Default: nothing is bounded.
	Limits Limits

	// Alerts name the endpoint that is told when another one is disabled, fails, or recovers. Default: nobody is told.
	Alerts Alerts

	// Record says what is kept of changes for trying rules out. Default: nothing.
	Record Record

	// Trace is told of what maintenance does. Default: nobody is.
	Trace Trace

	patience time.Duration // how long an answer is waited for; answerWithin, and less in tests
}

// Trace observes. Any function may be nil; all are called from the goroutines of [Process.Run] and must not block.
type Trace struct {
	RenewFailed   func(error)                // the lease could not be renewed; it is tried again
	Expired       func(ids []int64, n int64) // processes whose lease ended, and how many lanes were freed
	Partitions    func(made int)             // partitions were created
	Dropped       func(DroppedPartition)     // retention dropped a day of the log
	LogFull       func(status.LogState)      // the log has grown beyond its limit and nothing more may be dropped, or is within it again
	UpkeepFailed  func(task string, err error)
	RecordFull    func(full bool)  // recording has paused for want of room, or goes on
	Queue         func(QueueAlarm) // a queue has come close to its limit, reached it, or left it
	CommitInDoubt func(error)      // the connection broke during COMMIT; the outcome is being looked up
}

// WithDefaults fills what is zero.
func (c Config) WithDefaults() Config {
	if c.Schema == "" {
		c.Schema = DefaultSchema
	}
	if c.Retention == 0 {
		c.Retention = 30 * 24 * time.Hour
	}
	if c.AttemptRetention == 0 {
		c.AttemptRetention = c.Retention
	}
	if c.Lease == 0 {
		c.Lease = 30 * time.Second
	}
	if c.PoolSize == 0 {
		c.PoolSize = 8
	}
	if c.patience == 0 {
		c.patience = answerWithin
	}
	if c.Version == "" {
		c.Version = "unknown"
	}
	return c
}

// Validate joins all problems, each with its dotted key.
func (c Config) Validate() error {
	c = c.WithDefaults()
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if c.DSN == "" {
		bad("state.dsn: is missing")
	} else if _, err := pgxpool.ParseConfig(c.DSN); err != nil {
		bad("state.dsn: %w", err) // pgx leaves the password out
	}
	switch {
	case len(c.Schema) > maxIdentifier:
		bad("state.schema: %q is longer than %d bytes", c.Schema, maxIdentifier)
	case strings.ContainsRune(c.Schema, 0):
		bad("state.schema: contains a NUL character")
	case strings.HasPrefix(c.Schema, "pg_") || c.Schema == "information_schema":
		bad("state.schema: %q is reserved by PostgreSQL", c.Schema)
	case c.Schema == "public":
		bad(`state.schema: "public" is shared with other tables; choose a name of its own, such as %q`, DefaultSchema)
	}
	if c.Retention < 24*time.Hour {
		bad("state.retention: %s is shorter than 24h", c.Retention)
	}
	switch {
	case c.AttemptRetention < 24*time.Hour:
		bad("state.attempt_retention: %s is shorter than 24h", c.AttemptRetention)
	case c.AttemptRetention > c.Retention:
		bad("state.attempt_retention: %s is longer than state.retention", c.AttemptRetention)
	}
	if c.RetentionSize < 0 {
		bad("state.retention_size: a size cannot be negative")
	}
	if c.Lease < time.Second {
		bad("state.lease: %s is shorter than 1s", c.Lease)
	}
	if c.PoolSize < 2 {
		bad("state.pool_size: %d is fewer than 2", c.PoolSize)
	}
	if err := c.Limits.validate(); err != nil {
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}
