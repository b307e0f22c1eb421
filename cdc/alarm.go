package cdc

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// AlarmConfig says from where on a slot deserves a person's attention. Values below zero switch an alarm off.
type AlarmConfig struct {
	Retained int64         // bytes of WAL kept on the server's disk; 4 GiB
	Lag      time.Duration // how long ago the confirmed position was the end of WAL; 5 min
}

// WithDefaults fills what is zero.
func (c AlarmConfig) WithDefaults() AlarmConfig {
	setDefault(&c.Retained, 4<<30)
	setDefault(&c.Lag, 5*time.Minute)
	return c
}

// Validate reports all mistakes at once. idleAdvance is the longest pause between two confirmations of a stream that works.
func (c AlarmConfig) Validate(idleAdvance time.Duration) error {
	c = c.WithDefaults()
	if c.Lag > 0 && c.Lag < 2*idleAdvance {
		return fmt.Errorf("alarm.lag: %s is less than twice idle_advance (%s): it would go off on a quiet system", c.Lag, idleAdvance)
	}
	if c.Retained > 0 && c.Retained < minGuard {
		return errors.New("alarm.retained: " + bytesText(c.Retained) + " is less than " + bytesText(minGuard) + ": a slot keeps that much in normal operation")
	}
	return nil
}

// AlarmName names one alarm of a slot. The names are labels of a metric: a contract.
type AlarmName string

// The alarms of a slot.
const (
	AlarmRetained AlarmName = "retained" // it keeps more WAL than AlarmConfig.Retained
	AlarmLag      AlarmName = "lag"      // it is further behind in time than AlarmConfig.Lag
	AlarmHeadroom AlarmName = "headroom" // less than a fifth of max_slot_wal_keep_size is left, or less than what is needed already
	AlarmLost     AlarmName = "lost"     // the server has removed WAL that was still needed, or the slot is gone
	AlarmGuard    AlarmName = "guard"    // the limit of the slot guard is exceeded
	AlarmUnseen   AlarmName = "unseen"   // the slot could not be looked at for longer than a minute

	AlarmPublication AlarmName = "publication" // changes are not streamed, or were not within the last hour, as somebody changed the publication
)

// AlarmNames lists all of them.
var AlarmNames = []AlarmName{AlarmRetained, AlarmLag, AlarmHeadroom, AlarmLost, AlarmGuard, AlarmUnseen, AlarmPublication}

// Alarm is one that is raised.
type Alarm struct {
	Name    AlarmName
	Since   time.Time
	Message string
	Hint    string
}

// Look is what was seen of a slot at a time.
type Look struct {
	At     time.Time
	Health *Health       // nil when the look failed
	Err    error         // why
	Lag    time.Duration // how long ago the confirmed position was the end of WAL
	Limit  int64         // of the slot guard; 0 for none
	Gap    string        // of a slot that is lost or gone: since when changes are missed and what they concern, to be put behind the message

	Publication     string // what [PublicationWatch.Look] says
	PublicationNews int
}

// Alarms raises each alarm once when its threshold is crossed and clears it once when things are well again: for amounts, a tenth
// below the threshold, so that an amount that hovers there is not reported again and again. It is pure.
type Alarms struct {
	cfg    AlarmConfig
	raised map[AlarmName]Alarm
	news   int       // of the publication, that has been told
	unseen time.Time // of the first look that failed since one that did not
}

// unseenAfter is how long the slot may be out of sight, as while a server restarts.
const unseenAfter = time.Minute

// NewAlarms returns alarms of which none is raised.
func NewAlarms(cfg AlarmConfig) *Alarms {
	return &Alarms{cfg: cfg.WithDefaults(), raised: make(map[AlarmName]Alarm)}
}

// Raised lists the alarms that are raised now.
func (a *Alarms) Raised() []Alarm {
	var all []Alarm
	for _, name := range AlarmNames {
		if alarm, ok := a.raised[name]; ok {
			all = append(all, alarm)
		}
	}
	return all
}

// Look takes a look into account, and returns the alarms that it has raised, or that tell of something new, and those that it has cleared.
func (a *Alarms) Look(l Look) (raised, cleared []Alarm) {
	set := func(name AlarmName, on bool, message, hint string) {
		old, was := a.raised[name]
		switch {
		case on && was:
			old.Message, old.Hint = message, hint
			a.raised[name] = old
		case on:
			alarm := Alarm{Name: name, Since: l.At, Message: message, Hint: hint}
			a.raised[name] = alarm
			raised = append(raised, alarm)
		case was:
			delete(a.raised, name)
			cleared = append(cleared, old)
		}
	}
	if l.Health == nil {
		if a.unseen.IsZero() {
			a.unseen = l.At
		}
		if away := l.At.Sub(a.unseen); away >= unseenAfter {
			set(AlarmUnseen, true, fmt.Sprintf("the slot has not been seen for %s: %v", away.Round(time.Second), l.Err),
				"is the source reachable? WAL may be growing meanwhile, and no limit of walhook's is watched")
		}
		return raised, cleared // what was raised stays: nothing is known to be better
	}
	a.unseen = time.Time{}
	set(AlarmUnseen, false, "", "")
	set(AlarmPublication, l.Publication != "", l.Publication, publicationHint)
	if alarm, on := a.raised[AlarmPublication]; on && l.PublicationNews > a.news && !slices.Contains(raised, alarm) {
		raised = append(raised, alarm) // it tells of something else now
	}
	a.news = l.PublicationNews
	h, slot := l.Health, l.Health.Slot
	lost := slot == nil || slot.Lost()
	switch {
	case slot == nil:
		set(AlarmLost, true, "there is no such slot any more: changes are not kept"+l.Gap, StartOver)
	case lost:
		set(AlarmLost, true, "the slot is lost: the server has removed WAL that was still needed"+l.Gap, StartOver)
	default:
		set(AlarmLost, false, "", "")
	}
	if lost { // it keeps nothing any more; that the other alarms end is no good news
		for _, name := range []AlarmName{AlarmRetained, AlarmLag, AlarmHeadroom, AlarmGuard} {
			delete(a.raised, name)
		}
		return raised, cleared
	}
	above := func(name AlarmName, value, limit int64) bool {
		if _, was := a.raised[name]; was {
			limit -= limit / 10
		}
		return value > limit
	}
	kept := h.Retained
	set(AlarmRetained, a.cfg.Retained > 0 && above(AlarmRetained, kept, a.cfg.Retained),
		fmt.Sprintf("the slot keeps %s of WAL on the server's disk, more than source.alarm.retained (%s)", bytesText(kept), bytesText(a.cfg.Retained)), a.why(l))
	set(AlarmLag, a.cfg.Lag > 0 && h.Behind > 0 && above(AlarmLag, int64(l.Lag), int64(a.cfg.Lag)),
		fmt.Sprintf("the confirmed position has been behind the end of WAL for %s (now %s), longer than source.alarm.lag (%s)", l.Lag.Round(time.Second), bytesText(h.Behind), a.cfg.Lag), a.why(l))
	set(AlarmHeadroom, a.tight(h), fmt.Sprintf("only %s may be written until the slot is lost (max_slot_wal_keep_size %s)", bytesText(max(h.Safe(), 0)), bytesText(h.KeepMax)),
		"let walhook catch up soon, or raise max_slot_wal_keep_size (ALTER SYSTEM SET max_slot_wal_keep_size = '…'; SELECT pg_reload_conf()) as far as the disk allows")
	set(AlarmGuard, l.Limit > 0 && h.Measured() && kept > l.Limit,
		fmt.Sprintf("the slot keeps %s of WAL, more than source.guard.max_retained (%s): unless that shrinks, the guard acts", bytesText(kept), bytesText(l.Limit)), a.why(l))
	return raised, cleared
}

const publicationHint = "walhook setup puts the publication right; walhook resync --since TIME then sends what was written meanwhile as it is now"

// why tells a stream that is behind from a transaction of somebody's that is open.
func (a *Alarms) why(l Look) string {
	if l.Health.Retained > 4*max(l.Health.Behind, minGuard) {
		return "walhook has confirmed most of it: the server keeps WAL from the start of the oldest transaction that was open. Find it: SELECT pid, xact_start, application_name FROM pg_stat_activity WHERE backend_xid IS NOT NULL ORDER BY xact_start"
	}
	return "see `walhook status` for what holds the stream up: the state database, or the connection to the source"
}

// Safe is how much WAL may still be written until the slot is lost; -1 when that is unlimited or unknown. (The server's own figure falls below zero
// when the slot may be lost at any moment.)
func (h *Health) Safe() int64 {
	if h.Slot == nil || h.KeepMax < 0 {
		return -1
	}
	if h.Slot.SafeBytes < 0 && h.Slot.WALStatus != "unreserved" {
		return -1
	}
	return max(h.Slot.SafeBytes, 0)
}

// tight says that a limit on the server is about to cost the slot.
func (a *Alarms) tight(h *Health) bool {
	safe := h.Safe()
	if safe < 0 {
		return false
	}
	limit := h.KeepMax / 5
	if _, was := a.raised[AlarmHeadroom]; was {
		limit = h.KeepMax / 4
	}
	return h.Slot.WALStatus == "unreserved" || safe < limit
}
