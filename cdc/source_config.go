package cdc

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// SourceConfig says where a [Source] reads. The zero value of every optional
// field means its default.
type SourceConfig struct {
	DSN         string // required; a URL or key=value string, several hosts allowed
	Slot        string // required; must exist: a Source never creates one
	Publication string // required

	// What the position belongs to (invariant 8). Zero values are not checked.
	SystemID string
	Timeline uint32 // of the position; a later one is accepted when the position lies before the switch point
	// NewTimeline is called before the first stream on another timeline than Timeline or the last one begins, which it does
	// only when it returns nil: positions that are reached from then on are of the new one, and would be refused without it.
	NewTimeline func(ctx context.Context, timeline uint32) error
	DatabaseOID uint32

	// Group names the processes of which one at a time may read the slot: those that share a state. It is part of the session's
	// application_name, and a session of the same group that still holds the slot when this Source connects is ended,
	// unless MayEnd, which is asked first, returns an error: it must be nil only for the one that may read now. Without a Group
	// no session is ended.
	Group  string
	MayEnd func(context.Context) error

	// FromSlot lets a start position of 0 mean "where the slot stands". Set it only
	// when the state has never held a position, right after setup; otherwise a lost
	// state would go unnoticed (invariant 1).
	FromSlot bool

	StatusInterval  time.Duration // longest time between two status messages; 10 s, or a quarter of wal_sender_timeout if that is less
	ConfirmInterval time.Duration // shortest time between two status messages that nobody asked for; 1 s
	IdleAdvance     time.Duration // shortest time between two calls of Handler.Advance; 30 s
	ReceiveTimeout  time.Duration // silence after which the server counts as gone, although it was asked to answer; 2 min, or twice wal_sender_timeout if that is more

	QueueTransactions int   // most transactions in flight; 4096
	QueueBytes        int64 // most memory of transactions in flight, roughly; 4 MiB
	BatchTransactions int   // most transactions per call of Handler.Handle; 500
	BatchBytes        int64 // most memory per call, except for a single larger transaction; 2 MiB

	ReconnectMin time.Duration // first pause before a new connection attempt; 500 ms
	ReconnectMax time.Duration // longest pause; 30 s
	// KickedMin and KickedMax bound the random pause after an administrator ended our session (57P01): Odoo
	// does that before it duplicates, renames or drops a database, which fails while anybody is connected. 10 s, 30 s.
	KickedMin, KickedMax time.Duration
	Gate                 *Gate         // shared with the other sessions in the database, which go and come together; nil means one of its own, of KickedMin and KickedMax
	RetryMin, RetryMax   time.Duration // pauses before the handler is called again after a temporary error; 100 ms, 10 s

	StopGrace time.Duration // how long a batch in flight may take when the source is stopped; 10 s

	Errand Errand // between batches; may be nil

	// Follow says whether the net changes of a table are wanted besides, whatever it is called. It is called from one goroutine with each description of a table
	// that comes, at the latest before its first row; nil follows none.
	Follow func(oid uint32, schema, table string) bool

	Judge  Judge  // of large transactions; may be nil
	Limits Limits // of the decoder
	Schema Schema // live catalogs for the decoder; nil means a connection of its own to DSN
}

// withDefaults returns the configuration with every zero filled in.
func (c SourceConfig) withDefaults() SourceConfig {
	setDefault(&c.StatusInterval, 10*time.Second)
	setDefault(&c.ConfirmInterval, time.Second)
	setDefault(&c.IdleAdvance, 30*time.Second)
	setDefault(&c.ReceiveTimeout, 2*time.Minute)
	setDefault(&c.QueueTransactions, 4096)
	setDefault(&c.QueueBytes, 4<<20)
	setDefault(&c.BatchTransactions, 500)
	setDefault(&c.BatchBytes, 2<<20)
	setDefault(&c.ReconnectMin, 500*time.Millisecond)
	setDefault(&c.ReconnectMax, 30*time.Second)
	setDefault(&c.KickedMin, 10*time.Second)
	setDefault(&c.KickedMax, 30*time.Second)
	setDefault(&c.RetryMin, 100*time.Millisecond)
	setDefault(&c.RetryMax, 10*time.Second)
	setDefault(&c.StopGrace, 10*time.Second)
	return c
}

func setDefault[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

// slotName is what PostgreSQL allows (manual, "Querying and Manipulating Replication Slots").
var slotName = regexp.MustCompile(`^[a-z0-9_]{1,63}$`)

// Validate reports all mistakes at once.
func (c SourceConfig) Validate() error {
	var errs []error
	if c.DSN == "" {
		errs = append(errs, errors.New("source.dsn: missing"))
	} else if _, err := parseDSN(c.DSN); err != nil {
		errs = append(errs, fmt.Errorf("source.dsn: %w", err))
	}
	if !slotName.MatchString(c.Slot) {
		errs = append(errs, fmt.Errorf("source.slot: %q is no slot name: 1 to 63 lower-case letters, digits and underscores", c.Slot))
	}
	if c.Publication == "" || len(c.Publication) > 63 || strings.ContainsRune(c.Publication, 0) {
		errs = append(errs, fmt.Errorf("source.publication: %q is no publication name: 1 to 63 bytes", c.Publication))
	}
	for _, d := range []struct {
		key   string
		value time.Duration
	}{
		{"status_interval", c.StatusInterval}, {"confirm_interval", c.ConfirmInterval}, {"idle_advance", c.IdleAdvance},
		{"receive_timeout", c.ReceiveTimeout}, {"reconnect_min", c.ReconnectMin}, {"reconnect_max", c.ReconnectMax},
		{"kicked_min", c.KickedMin}, {"kicked_max", c.KickedMax}, {"retry_min", c.RetryMin}, {"retry_max", c.RetryMax},
		{"stop_grace", c.StopGrace},
	} {
		if d.value < 0 {
			errs = append(errs, fmt.Errorf("source.%s: %s is negative", d.key, d.value))
		}
	}
	if c.QueueTransactions < 0 || c.QueueBytes < 0 || c.BatchTransactions < 0 || c.BatchBytes < 0 {
		errs = append(errs, errors.New("source: limits of the queue and of batches must not be negative"))
	}
	if err := c.Limits.Validate(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
