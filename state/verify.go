package state

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/cdc"
)

// VerifyOptions says what to verify. Zero fields bound nothing: all that the log still holds.
type VerifyOptions struct {
	From, To     cdc.LSN   // commit LSNs of the current epoch, both inclusive
	Since, Until time.Time // enqueued at or after, and before
	Endpoint     string

	// Progress is told how many of the log's places have been looked at, after each of its transactions. May be nil.
	Progress func(done, of int64)
}

// Verified is what Verify found. It is in order when there is no finding.
type Verified struct {
	From  string `json:"from_lsn,omitempty"` // commit LSN of the first delivery looked at, in the current epoch; "" when there is none
	To    string `json:"to_lsn,omitempty"`   // and of the last
	Rows  int64  `json:"log_rows"`
	Queue int64  `json:"queue_rows"`
	Lanes int64  `json:"lanes"`

	LogSince      time.Time `json:"log_since"`      // the first day from which on the log holds all
	AttemptsSince time.Time `json:"attempts_since"` // the first day whose attempts it holds
	Parked        int64     `json:"parked_events"`  // events whose rule failed, which have no number yet; counted up to 10,000

	Ledgers  []Ledger              `json:"endpoints"`
	Intact   bool                  `json:"intact"`
	Counts   map[FindingKind]int64 `json:"findings_by_kind"`
	Findings []Finding             `json:"findings"` // the first of each kind; Counts has them all
	Limits   []string              `json:"cannot_tell"`
}

// Ledger is the balance of one endpoint's sequence within an epoch: Matched is the sum of all that follows it, up to Missing.
type Ledger struct {
	Endpoint string `json:"endpoint"`
	Epoch    int64  `json:"epoch"` // 0 for deliveries from before there were numbers
	First    int64  `json:"first_number"`
	Last     int64  `json:"last_number"`

	Matched   int64            `json:"matched"`
	Delivered int64            `json:"delivered"`
	Pending   int64            `json:"pending"` // waiting ones included
	Dead      int64            `json:"dead"`
	Gaps      map[string]int64 `json:"gaps,omitempty"`         // by the reason in table gap: discarded, dropped, parked ...
	Untold    int64            `json:"untold,omitempty"`       // ended, and its attempts are past retention: delivered, as a rule
	Lost      int64            `json:"lost,omitempty"`         // in the log, and nothing says what became of it
	Missing   int64            `json:"missing,omitempty"`      // not even in the log
	Again     int64            `json:"logged_again,omitempty"` // beyond Matched: rows of what was retried or replayed

	Cut  bool  `json:"cut,omitempty"`      // the log does not go back to the first number
	Open bool  `json:"open_end,omitempty"` // which number was the epoch's last is not known
	next int64 // the number that comes next in the log
	end  int64 // the last that must be there
}

// FindingKind says what is wrong.
type FindingKind string

// What can be wrong. None of it happens by itself: somebody has changed the tables by hand, a disk has failed, or walhook has a fault.
const (
	MissingNumber    FindingKind = "missing"            // a number without a log row, and without a reason in table gap
	LostDelivery     FindingKind = "lost"               // a delivery that is neither pending, dead, delivered nor given up
	NumberTwice      FindingKind = "number_twice"       // a number that two deliveries have
	NumberBeyond     FindingKind = "number_beyond"      // a number that was never given out
	EventTwice       FindingKind = "event_twice"        // a delivery that was given two numbers
	QueueWithoutLog  FindingKind = "queue_without_log"  // a queue row whose delivery is gone
	QueueWithoutLane FindingKind = "queue_without_lane" // a queue row that nobody will ever send
	DeadAndQueued    FindingKind = "dead_and_queued"    // a dead letter that is pending as well
	LaneWithoutQueue FindingKind = "lane_without_queue" // a lane in which nothing waits
	LaneOfNobody     FindingKind = "lane_of_nobody"     // a lane that belongs to a process that is not there
	LaneHeld         FindingKind = "lane_held"          // a lane that waits for a dead letter that is not there
	LaneNotHeld      FindingKind = "lane_not_held"      // a lane that goes on although a dead letter holds it
)

// Finding is one thing that is wrong.
type Finding struct {
	Kind     FindingKind `json:"kind"`
	Endpoint string      `json:"endpoint"`
	Epoch    int64       `json:"epoch,omitempty"`
	First    int64       `json:"first_number,omitempty"` // numbers First to Last
	Last     int64       `json:"last_number,omitempty"`
	Seq      int64       `json:"seq,omitempty"`
	ID       string      `json:"id,omitempty"`
	Lane     string      `json:"lane,omitempty"`
}

// findingsShown is how many findings of a kind are kept; all are counted.
const findingsShown = 100

// Sum is what is accounted for, right or wrong. It is Matched unless walhook cannot count.
func (l *Ledger) Sum() int64 {
	sum := l.Delivered + l.Pending + l.Dead + l.Untold + l.Lost + l.Missing
	for _, n := range l.Gaps {
		sum += n
	}
	return sum
}

// ErrLogDropped says that retention dropped a day of the log that was being verified.
var ErrLogDropped = errors.New("retention dropped a day of the log meanwhile")

// Verify proves, from the tables alone, what became of every delivery of a range. An endpoint's numbers are given out without a hole and in the
// order of the log (see sequence.go), so between two of them each must be there: in the log with a state that follows from queue,
// dead letters or attempts, or in table gap with its reason.
//
// It reads the log in windows, each in a snapshot of its own in which every delivery has exactly one state, so it may run beside any number of
// processes and holds nothing back; memory does not grow with the log (invariant 9). Nothing is changed.
//
// What it cannot tell: what retention has dropped; the first numbers after a cut of the log; whether what a rule did not match should have been; what happened to
// events that are parked, which have no number yet.
func (db *DB) Verify(ctx context.Context, opts VerifyOptions) (*Verified, error) {
	v := &verifier{db: db, opts: opts, ledgers: map[ledgerKey]*Ledger{},
		result: &Verified{Ledgers: []Ledger{}, Counts: map[FindingKind]int64{}, Findings: []Finding{}, Limits: []string{}}}
	if err := v.snapshot(ctx, v.bound); err != nil {
		return nil, db.translate("verify", err)
	}
	for at := v.first - 1; at < v.last; {
		to := min(at+verifyWindow, v.last)
		if err := v.snapshot(ctx, func(ctx context.Context, tx pgx.Tx) (err error) {
			to, err = v.window(ctx, tx, at, to)
			return err
		}); err != nil {
			return nil, db.translate("verify the log", err)
		}
		at = to
		if opts.Progress != nil {
			opts.Progress(at-v.first+1, v.last-v.first+1)
		}
	}
	if err := v.snapshot(ctx, v.close); err != nil {
		return nil, db.translate("verify the ends", err)
	}
	if err := v.snapshot(ctx, v.parked); err != nil {
		return nil, db.translate("verify", err)
	}
	if err := v.queue(ctx); err != nil {
		return nil, db.translate("verify the queue", err)
	}
	return v.report(), nil
}

// verifyWindow is how many places of the log are looked at in one snapshot.
const verifyWindow = 20_000

type ledgerKey struct {
	endpoint string
	epoch    int64
}

// verifier is one run of Verify.
type verifier struct {
	db     *DB
	opts   VerifyOptions
	result *Verified

	source         given // what was given out when the run began
	first, last    int64 // the range in the log, by seq
	fromLSN, toLSN cdc.LSN
	seen           [2]cdc.LSN // the least and the greatest that was met
	edges          map[string]edge
	ledgers        map[ledgerKey]*Ledger
}

// snapshot runs fn in one consistent, short, read-only look at the tables. The lock keeps partitions where they are. The planner's settings are
// the session's: everything is found by index.
func (v *verifier) snapshot(ctx context.Context, fn func(context.Context, pgx.Tx) error) error {
	return pgx.BeginTxFunc(ctx, v.db.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		// The lock comes before the snapshot is taken, so what it finds is what the snapshot sees.
		const lock = `LOCK TABLE {schema}.delivery, {schema}.attempt IN ACCESS SHARE MODE`
		if _, err := tx.Exec(ctx, v.db.sql(lock)); err != nil {
			return err
		}
		days, err := v.db.partitions(ctx, tx, false)
		if err != nil {
			return err
		}
		// A day that pending deliveries need outlives days after it: the log is whole since the last one that was dropped.
		const whole = `SELECT greatest($1::date, max(day) + 1) FROM {schema}.dropped_partition WHERE name LIKE 'delivery%'`
		var since time.Time
		if err := tx.QueryRow(ctx, v.db.sql(whole), days.since("delivery")).Scan(&since); err != nil {
			return err
		}
		if v.result.LogSince.IsZero() {
			v.result.LogSince = since
		} else if since.After(v.result.LogSince) {
			return ErrLogDropped
		}
		v.result.AttemptsSince = days.since("attempt")
		return fn(ctx, tx)
	})
}

// find notes a finding.
func (v *verifier) find(f Finding, n int64) {
	if f.Kind == "" || n == 0 {
		return
	}
	before := v.result.Counts[f.Kind]
	v.result.Counts[f.Kind] = before + n
	if before < findingsShown {
		v.result.Findings = append(v.result.Findings, f)
	}
}

// report ends the run.
func (v *verifier) report() *Verified {
	r := v.result
	if v.seen[0] > 0 {
		r.From, r.To = v.seen[0].String(), v.seen[1].String()
	}
	for _, k := range slices.SortedFunc(maps.Keys(v.ledgers), func(a, b ledgerKey) int {
		return cmp.Or(cmp.Compare(a.endpoint, b.endpoint), cmp.Compare(a.epoch, b.epoch))
	}) {
		if l := v.ledgers[k]; l.Matched > 0 || l.Again > 0 {
			r.Ledgers = append(r.Ledgers, *l)
		}
	}
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Endpoint, b.Endpoint), cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.First, b.First))
	})
	r.Intact = len(r.Counts) == 0
	say := func(format string, args ...any) { r.Limits = append(r.Limits, fmt.Sprintf(format, args...)) }
	for i := range r.Ledgers {
		l := &r.Ledgers[i]
		if l.Cut {
			say("endpoint %s, epoch %d: the log begins on %s; numbers before %d are past retention", l.Endpoint, l.Epoch, r.LogSince.Format(time.DateOnly), l.First)
		}
		if l.Open {
			say("endpoint %s, epoch %d: which number was its last was not kept; %d is the last in the log", l.Endpoint, l.Epoch, l.Last)
		}
		if l.Untold > 0 {
			say("endpoint %s: %d deliveries have ended, and the log of attempts begins on %s", l.Endpoint, l.Untold, r.AttemptsSince.Format(time.DateOnly))
		}
		if l.Epoch == 0 {
			say("endpoint %s: %d deliveries are from before there were numbers", l.Endpoint, l.Matched)
		}
	}
	return r
}
