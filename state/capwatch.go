package state

import (
	"context"
	"maps"
	"slices"
	"time"

	"walhook/internal/periodic"
)

// QueueLevel is how full an endpoint's queue is, or all of them together.
type QueueLevel int

// The levels, in ascending order.
const (
	QueueCalm QueueLevel = iota
	QueueHigh            // 80 % of a limit is reached
	QueueFull            // at the limit: new events are parked, or the oldest dropped
)

// QueueAlarm is a change of the level.
type QueueAlarm struct {
	Endpoint string // "" for the total
	Level    QueueLevel
	Usage    Usage
	Limit    Limit
	Ratio    float64 // how full, 1 at the limit
	Drops    bool    // at the limit the oldest are dropped
}

const (
	sizesEvery = time.Second
	// sizesShare bounds the part of the time that goes into looking at the sizes.
	sizesShare = 20
)

// watched is what the last look at an endpoint found.
type watched struct {
	level   QueueLevel
	dropped int64
	told    *bool // whether the alert endpoint was told that the queue is full; nil when that is not known
}

// watchSizes keeps the sizes summed up and acts on them, until ctx ends.
func (p *Process) watchSizes(ctx context.Context) {
	last := map[string]watched{}
	for pause := periodic.First(sizesEvery); ; pause = sizesEvery {
		began := time.Now()
		p.trace("queue sizes", p.lookAtSizes(ctx, last))
		if !periodic.Wait(ctx, max(pause, sizesShare*time.Since(began))) {
			return
		}
	}
}

// lookAtSizes sums the sizes up, corrects the estimate, lets parked endpoints that have drained go on, drops dead letters beyond their limit, and
// raises alarms.
func (p *Process) lookAtSizes(ctx context.Context, last map[string]watched) error {
	if err := p.db.fold(ctx); err != nil || !p.db.limits().set() {
		return err
	}
	before := p.estimate.mark()
	list, err := p.db.Usage(ctx)
	if err != nil {
		return err
	}
	p.estimate.learn(newSizes(p.db.limits(), list), before)
	s := newSizes(p.db.limits(), list)
	for _, name := range slices.Sorted(maps.Keys(s.of)) {
		u := s.at(name)
		if !u.ParkedSince.IsZero() && s.fits(name, 0, true) {
			if _, err := p.db.pool.Exec(ctx, p.db.sql(setParked), name, false); err != nil {
				return p.db.translate("let a queue go on", err)
			}
			u.ParkedSince = time.Time{}
		}
		l := s.limits.Endpoints[name]
		if need := l.beyond(u.Dead, u.DeadBytes); need != (Limit{}) {
			if err := p.db.trimDead(ctx, name, l.Limit); err != nil {
				return err
			}
		}
		a := QueueAlarm{Endpoint: name, Usage: *u, Limit: l.Limit, Ratio: s.ratio(name), Drops: l.DropOldest}
		p.alarm(last, a)
		if err := p.tellOfQueue(ctx, last, a); err != nil {
			return err
		}
	}
	p.alarm(last, QueueAlarm{Usage: s.total, Limit: s.limits.Total, Ratio: s.limits.Total.ratio(s.total.Pending, s.total.PendingBytes)})
	return nil
}

// beyond is how much is kept beyond a limit.
func (l Limit) beyond(rows, bytes int64) (e Limit) {
	if l.Rows > 0 {
		e.Rows = max(rows-l.Rows, 0)
	}
	if l.Bytes > 0 {
		e.Bytes = max(bytes-l.Bytes, 0)
	}
	return e
}

// alarm reports a level that has changed.
func (p *Process) alarm(last map[string]watched, a QueueAlarm) {
	was, seen := last[a.Endpoint]
	dropping := seen && a.Endpoint != "" && a.Usage.Dropped > was.dropped
	a.Level = level(was.level, a.Ratio, !a.Usage.ParkedSince.IsZero() || dropping)
	last[a.Endpoint] = watched{a.Level, a.Usage.Dropped, was.told}
	if f := p.db.cfg.Trace.Queue; f != nil && a.Level != was.level {
		f(a)
	}
}

// level tells how full a queue is. Levels end lower than they begin, so that they do not flicker. It is pure.
func level(was QueueLevel, ratio float64, full bool) QueueLevel {
	switch {
	case full, was == QueueFull && ratio > resumeAt:
		return QueueFull
	case ratio >= alarmAt, was >= QueueHigh && ratio >= calmAt:
		return QueueHigh
	}
	return QueueCalm
}
