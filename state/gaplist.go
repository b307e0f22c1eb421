package state

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Gap is a run of numbers of an endpoint's sequence that will not arrive, and why.
type Gap struct {
	Endpoint string    `json:"endpoint"`
	Epoch    int64     `json:"epoch"`
	First    int64     `json:"first_number"`
	Last     int64     `json:"last_number"`
	Reason   string    `json:"reason"`    // one of GapReasons
	FirstLSN string    `json:"first_lsn"` // commit LSN of the transaction that First belongs to
	LastLSN  string    `json:"last_lsn"`
	FirstAt  time.Time `json:"first_committed_at"`
	LastAt   time.Time `json:"last_committed_at"`
	Noted    time.Time `json:"noted_at"` // when the last of them was given up
}

// GapReasons are what a gap's reason may be.
var GapReasons = []string{gapDiscarded, gapDropped, gapParked, gapSuperseded, gapTest}

// Key is the gap's place in a list, for [GapFilter.After].
func (g *Gap) Key() string { return fmt.Sprintf("%d/%d/%s", g.Epoch, g.First, g.Endpoint) }

// GapFilter selects gaps. Zero fields select everything.
type GapFilter struct {
	Endpoint string
	Reason   string
	Epoch    int64
	Since    time.Time // noted at or after
	Until    time.Time // noted before
	After    string    // the [Gap.Key] of the last one of the page before
	Limit    int       // at most so many; 0 for 100
}

// GapKeyError says that a text is no [Gap.Key].
type GapKeyError struct{ Text string }

// Error says so.
func (e *GapKeyError) Error() string {
	return fmt.Sprintf("%q is no place in the list of gaps", e.Text)
}

// Hint says where to take one from.
func (e *GapKeyError) Hint() string { return "take it from the end of the page before" }

// ListGaps returns gaps by endpoint, epoch and number.
func (db *DB) ListGaps(ctx context.Context, f GapFilter) (list []Gap, err error) {
	var c conditions
	if f.Endpoint != "" {
		c.add("endpoint = $%d", f.Endpoint)
	}
	if f.Reason != "" {
		c.add("reason = $%d", f.Reason)
	}
	if f.Epoch != 0 {
		c.add("epoch = $%d", f.Epoch)
	}
	if !f.Since.IsZero() {
		c.add("noted_at >= $%d", f.Since)
	}
	if !f.Until.IsZero() {
		c.add("noted_at < $%d", f.Until)
	}
	if f.After != "" {
		after, err := parseGapKey(f.After)
		if err != nil {
			return nil, err
		}
		n := len(c.args)
		c.args = append(c.args, after.Endpoint, after.Epoch, after.First)
		c.text = append(c.text, fmt.Sprintf("(endpoint, epoch, first) > ($%d, $%d, $%d)", n+1, n+2, n+3))
	}
	limit := f.Limit
	if limit <= 0 {
		limit = 100
	}
	statement := "SELECT endpoint, epoch, first, last, reason, first_lsn::text, last_lsn::text, first_at, last_at, noted_at FROM {schema}.gap WHERE " + c.where() +
		" ORDER BY endpoint, epoch, first LIMIT " + itoa(limit)
	err = db.read(ctx, "list gaps", func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, expand(statement, db.cfg.Schema), c.args...)
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, scanGap)
		return err
	})
	return list, err
}

func scanGap(row pgx.CollectableRow) (g Gap, err error) {
	err = row.Scan(&g.Endpoint, &g.Epoch, &g.First, &g.Last, &g.Reason, &g.FirstLSN, &g.LastLSN, &g.FirstAt, &g.LastAt, &g.Noted)
	g.FirstAt, g.LastAt, g.Noted = g.FirstAt.UTC(), g.LastAt.UTC(), g.Noted.UTC()
	return g, err
}

// parseGapKey reads what Gap.Key wrote; an endpoint's name may hold anything.
func parseGapKey(key string) (g Gap, err error) {
	parts := strings.SplitN(key, "/", 3)
	if len(parts) != 3 {
		return g, &GapKeyError{key}
	}
	g.Endpoint = parts[2]
	var errs [2]error
	g.Epoch, errs[0] = strconv.ParseInt(parts[0], 10, 64)
	g.First, errs[1] = strconv.ParseInt(parts[1], 10, 64)
	if errs[0] != nil || errs[1] != nil {
		return g, &GapKeyError{key}
	}
	return g, nil
}
