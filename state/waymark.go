package state

import (
	"context"
	"time"

	"walhook/cdc"
)

// NoteWaymark remembers where WAL stood at which time, if this process is the reader, and forgets what lies before the last one that the position has
// passed.
func (p *Process) NoteWaymark(ctx context.Context, w cdc.Waymark) error {
	const note = `INSERT INTO {schema}.waymark (lsn, at, oldest, hidden) SELECT $1::text::pg_lsn, $2, $3, $4 FROM {schema}.source WHERE reader = $5
		ON CONFLICT (lsn) DO UPDATE SET at = excluded.at, oldest = excluded.oldest, hidden = excluded.hidden`
	const prune = `DELETE FROM {schema}.waymark WHERE lsn < (SELECT max(w.lsn) FROM {schema}.source s JOIN {schema}.waymark w ON w.lsn <= s.lsn)`
	_, err := p.db.pool.Exec(ctx, p.db.sql(note), w.LSN.String(), w.At, w.Oldest, w.Hidden, p.id)
	if err == nil {
		_, err = p.db.pool.Exec(ctx, p.db.sql(prune))
	}
	return p.db.translate("note a waymark", err)
}

// How a [Landmark] was found.
const (
	FromWaymark = "waymark" // noted by the process that read
	FromLog     = "log"     // the commit time of the last delivery that the log has from before
	FromBinding = "binding" // nothing better: when the state was bound to the source
)

// Landmark is a time at which WAL had not passed a position.
type Landmark struct {
	cdc.Waymark
	From string // FromWaymark, FromLog or FromBinding; Hidden is set for the latter two
}

// Landmark finds the last one for a position that the state held.
func (db *DB) Landmark(ctx context.Context, position cdc.LSN) (*Landmark, error) {
	const (
		noted = `SELECT lsn::text, at, oldest, hidden FROM {schema}.waymark WHERE lsn <= $1::text::pg_lsn ORDER BY lsn DESC LIMIT 1`
		// Of what was sent again, or was looked at rather than read, the time may be later than the place.
		logged = `SELECT commit_lsn::text, commit_at FROM {schema}.delivery
			WHERE commit_lsn <= $1::text::pg_lsn AND commit_lsn > '0/0' AND op NOT IN ('schedule', 'snapshot', 'resync') AND NOT again ORDER BY seq DESC LIMIT 1`
		bound = `SELECT bound_at FROM {schema}.source`
	)
	l := &Landmark{From: FromWaymark}
	err := db.pool.QueryRow(ctx, db.sql(noted), position.String()).Scan(&l.LSN, &l.At, &l.Oldest, &l.Hidden)
	if noRows(err) {
		l.From, l.Hidden = FromLog, true
		err = db.pool.QueryRow(ctx, db.sql(logged), position.String()).Scan(&l.LSN, &l.At)
		l.Oldest = l.At
	}
	if noRows(err) {
		l.From = FromBinding
		err = db.pool.QueryRow(ctx, db.sql(bound)).Scan(&l.At)
		l.Oldest = l.At
	}
	if noRows(err) {
		return nil, ErrNotBound
	}
	l.At, l.Oldest = l.At.UTC(), l.Oldest.UTC()
	return l, db.translate("look for when the position was reached", err)
}

// Accepted is a gap that --adopt has accepted and that no resync has repaired.
type Accepted struct {
	At       time.Time // when
	From, To cdc.LSN
	Landmark *Landmark // of From; nil when there was none
}

// SinceGiven is what [ResyncStart] says in Derived when a person has said since when: that may be after a gap began.
const SinceGiven = "as --since says"

// LastAccepted returns the last one; nil when there is none. Gaps between positions that cannot be compared, as they are of different
// databases, do not count. A resync of what was written since a later time than its beginning has not repaired it.
func (db *DB) LastAccepted(ctx context.Context) (*Accepted, error) {
	const read = `SELECT adopted_at, from_lsn::text, to_lsn::text, coalesce(from_at, 'epoch'), coalesce(oldest, 'epoch'), coalesce(hidden, true), from_at IS NOT NULL
		FROM {schema}.adoption a JOIN {schema}.source s ON s.epoch = a.epoch
		WHERE lost_bytes > 0 AND NOT EXISTS (SELECT FROM {schema}.resync r WHERE r.epoch >= a.epoch AND (r.derived <> $1 OR r.since <= a.oldest)) ORDER BY n DESC LIMIT 1`
	a, l, known := &Accepted{}, &Landmark{From: FromWaymark}, false
	err := db.pool.QueryRow(ctx, db.sql(read), SinceGiven).Scan(&a.At, &a.From, &a.To, &l.At, &l.Oldest, &l.Hidden, &known)
	if noRows(err) {
		return nil, nil
	}
	if known {
		l.At, l.Oldest, a.Landmark = l.At.UTC(), l.Oldest.UTC(), l
	}
	return a, db.translate("look for gaps", err)
}
