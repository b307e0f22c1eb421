package cdc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// MinFailover is the first major version of PostgreSQL whose standbys can keep copies of a logical slot.
const MinFailover = 17

// Standbys is what the source tells of its standbys, and a standby of itself.
type Standbys struct {
	Waits    []string // synchronized_standby_slots: what the server waits for before it sends a change over a failover slot (17 and later)
	Away     []string // of these, the slots that are missing or that nobody streams from: nothing is sent meanwhile
	Slots    []string // physical slots that somebody streams from
	Feedback []string // of these, the slots of standbys that hold back rows of the catalogs, as one does that keeps copies of logical slots

	// Of a standby itself.
	HotFeedback bool   // hot_standby_feedback
	PrimarySlot string // primary_slot_name: what it streams through
}

// standbys looks at what failovers take.
func (in inspection) standbys(ctx context.Context) error {
	f := in.facts
	waits := ""
	err := in.conn.QueryRow(ctx, `SELECT coalesce(current_setting('synchronized_standby_slots', true), ''), current_setting('primary_slot_name'), current_setting('hot_standby_feedback')::boolean,
			coalesce(pg_catalog.array_agg(slot_name::text ORDER BY slot_name::text) FILTER (WHERE active), '{}'),
			coalesce(pg_catalog.array_agg(slot_name::text ORDER BY slot_name::text) FILTER (WHERE active AND catalog_xmin IS NOT NULL), '{}')
		FROM pg_catalog.pg_replication_slots WHERE slot_type = 'physical'`).
		Scan(&waits, &f.Standbys.PrimarySlot, &f.Standbys.HotFeedback, &f.Standbys.Slots, &f.Standbys.Feedback)
	if err != nil {
		return err
	}
	for name := range strings.SplitSeq(waits, ",") {
		if name = strings.Trim(strings.TrimSpace(name), `"`); name == "" {
			continue
		}
		f.Standbys.Waits = append(f.Standbys.Waits, name)
		if !slices.Contains(f.Standbys.Slots, name) {
			f.Standbys.Away = append(f.Standbys.Away, name)
		}
	}
	return nil
}

// MakesFailover says that a slot that is made for these facts is to be a failover slot.
func (f *Facts) MakesFailover() bool {
	return f.Failover != nil && *f.Failover && f.Major() >= MinFailover && !f.InRecovery
}

// failoverStep makes a slot that is there a failover slot, or makes it none any more, as [Facts.Failover] asks.
func (b *stepBuilder) failoverStep() {
	f := b.f
	if s := f.Slot; s == nil || f.Failover == nil || s.Failover == *f.Failover || f.Major() < MinFailover || f.InRecovery || s.usable(f.Database) != nil {
		return
	}
	why := "standbys may keep a copy of the slot from now on"
	if !*f.Failover {
		why = "standbys keep no copy of the slot any more"
	}
	b.steps = append(b.steps, Step{As: AsReplication, replication: true, Why: why, SQL: fmt.Sprintf("ALTER_REPLICATION_SLOT %s (FAILOVER %t)", quoteIdent(f.SlotName), *f.Failover)})
}

// alterTimeout bounds a command on a replication connection: the server waits for as long as somebody else uses the slot.
const alterTimeout = 10 * time.Second

// applyReplication runs a command that only replication connections know, over one of its own.
func applyReplication(ctx context.Context, conn *pgx.Conn, sql string) error {
	cfg := conn.Config().Config.Copy()
	cfg.RuntimeParams["replication"] = "database"
	pg, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { _ = closeConn(pg) }() // the command has ended, one way or another
	limited, cancel := context.WithTimeout(ctx, alterTimeout)
	defer cancel()
	_, err = pg.Exec(limited, sql).ReadAll()
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return errInUse
	}
	return err
}

// errInUse says that the server waits until somebody else is done with the slot.
var errInUse = errors.New("the slot is in use")
