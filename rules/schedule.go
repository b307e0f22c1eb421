package rules

import (
	"fmt"
	"slices"
	"time"

	"walhook/cdc"
)

// Schedule is when a scheduled rule looks for records, and how it begins. It is immutable.
type Schedule struct {
	Times     Timetable
	SendFirst bool // what holds at the rule's first run is sent; else it is only taken down
	Most      int  // events that one run sends at most; the others are found again by the next one
}

// Timetable is a set of times that goes on for ever: whole multiples of a length of time since 1970 in UTC, or times of the day in a zone.
type Timetable struct {
	every time.Duration
	at    []clock // sorted
	zone  *time.Location
}

// clock is a time of day.
type clock struct{ hour, minute int }

// Every makes a timetable of whole multiples.
func Every(d time.Duration) Timetable { return Timetable{every: d} }

// Last returns the last time of the table that is not after t.
func (t Timetable) Last(at time.Time) time.Time {
	if t.every > 0 {
		return time.UnixMicro(at.UnixMicro() - mod(at.UnixMicro(), t.every.Microseconds())).UTC()
	}
	var last time.Time
	for _, c := range t.around(at) {
		if !c.After(at) && c.After(last) {
			last = c
		}
	}
	return last
}

// Next returns the first time of the table that is after t.
func (t Timetable) Next(at time.Time) time.Time {
	if t.every > 0 {
		return t.Last(at).Add(t.every)
	}
	var next time.Time
	for _, c := range t.around(at) {
		if c.After(at) && (next.IsZero() || c.Before(next)) {
			next = c
		}
	}
	return next
}

// around lists the times of the days before, of, and after t. A time that a day has not got, as clocks are set forward, is an hour off; one that it
// has twice counts once.
func (t Timetable) around(at time.Time) []time.Time {
	year, month, day := at.In(t.zone).Date()
	var all []time.Time
	for d := day - 2; d <= day+2; d++ {
		for _, c := range t.at {
			all = append(all, time.Date(year, month, d, c.hour, c.minute, 0, 0, t.zone).UTC())
		}
	}
	return all
}

func mod(a, b int64) int64 { return (a%b + b) % b }

// Bounds and defaults of scheduled rules.
const (
	minEvery         = 5 * time.Second
	maxEvery         = 7 * 24 * time.Hour
	defaultMaxPerRun = 10_000
	mostMaxPerRun    = 1_000_000
)

// schedule reads every, at, timezone, first and max_per_run.
func (c *ruleCompiler) schedule(s shape) *Schedule {
	if len(s.table.PrimaryKey) != 1 || !integerKey(s) {
		c.fail("on[0]", fmt.Sprintf("%s has no primary key of a single whole number: its records cannot be looked through in order", s.table), "make the rule on changes of the table")
	}
	out := &Schedule{Most: c.config.MaxPerRun, Times: c.timetable()}
	switch most := c.config.MaxPerRun; {
	case most == 0:
		out.Most = defaultMaxPerRun
	case most < 0 || most > mostMaxPerRun:
		c.fail("max_per_run", fmt.Sprintf("%d is out of bounds", most), fmt.Sprintf("use 1 to %d", mostMaxPerRun))
	}
	switch c.config.First {
	case "", "skip":
	case "send":
		out.SendFirst = true
	default:
		remedy := didYouMean(c.config.First, []string{"skip", "send"})
		if remedy == "" {
			remedy = `write "skip", to send only what becomes true from now on, or "send", to send what is true already, too`
		}
		c.fail("first", fmt.Sprintf("unknown way to begin: %q", c.config.First), remedy)
	}
	return out
}

func (c *ruleCompiler) timetable() Timetable {
	t := Timetable{zone: time.UTC}
	every, at := c.config.Every, c.config.At
	switch {
	case every == "" && len(at) == 0:
		c.fail("every", "a scheduled rule needs its times", `write every = "1h", or at = ["06:00"]`)
	case every != "" && at != nil:
		c.fail("at", "a rule has every or at, not both", "remove one of them")
	case every != "" && c.config.Timezone != "":
		c.fail("timezone", "every needs no time zone: its times are whole multiples since 1970 in UTC", `remove timezone, or write at = ["06:00"]`)
	}
	if every != "" {
		d, err := parseDuration(every)
		switch {
		case err != nil:
			c.fail("every", fmt.Sprintf("%q is no duration", every), "write a number and a unit, as in 15m, 1h or 1d")
		case d < minEvery || d > maxEvery:
			c.fail("every", fmt.Sprintf("%s is out of bounds", every), fmt.Sprintf("use %s to %s", minEvery, hours(maxEvery)))
		default:
			t.every = d.Truncate(time.Second)
		}
	}
	for i, text := range at {
		at, err := time.Parse("15:04", text)
		key := fmt.Sprintf("at[%d]", i)
		if err != nil {
			c.fail(key, fmt.Sprintf("%q is no time of day", text), `write hours and minutes, as in "06:00" or "23:30"`)
			continue
		}
		time := clock{at.Hour(), at.Minute()}
		if slices.Contains(t.at, time) {
			c.fail(key, fmt.Sprintf("%q is listed twice", text), "")
		}
		t.at = append(t.at, time)
	}
	if name := c.config.Timezone; name != "" {
		z, err := zone(name)
		if err != nil {
			c.fail("timezone", fmt.Sprintf("unknown time zone %q", name), `write a name such as "Europe/Paris"; the default is UTC`)
			z = time.UTC
		}
		t.zone = z
	}
	return t
}

// Scheduled lists the active rules that look for records at set times, in the order of the configuration.
func (s *Set) Scheduled() []*Rule {
	var out []*Rule
	for _, r := range s.rules {
		if r.Schedule != nil && r.IsActive() {
			out = append(out, r)
		}
	}
	return out
}

// Listening lists the active rules on messages.
func (s *Set) Listening() []*Rule {
	var out []*Rule
	for _, r := range s.rules {
		if r.on(cdc.Message) && r.IsActive() {
			out = append(out, r)
		}
	}
	return out
}

// Condition is what makes the rule the one that it was: when it changes, a scheduled rule begins anew.
func (r *Rule) Condition() string { return r.Table.String() + "\n" + r.When }

// Columns lists what the rule reads of its own table: for a look at the rows, without secrets and what the database computes.
func (r *Rule) Columns() []string {
	var out []string
	for i := range r.Table.Columns {
		c := &r.Table.Columns[i]
		if _, message, _ := (shape{table: r.Table, model: r.Odoo, name: r.Model}).field(c.Name); message != "" {
			continue
		}
		if r.WholeRecord() || slices.Contains(r.watched.columns, c.Name) || slices.Contains(r.Table.PrimaryKey, c.Name) {
			out = append(out, c.Name)
		}
	}
	return out
}

// NewMatcherOf returns a matcher that knows a single rule.
func (s *Set) NewMatcherOf(r *Rule) *Matcher {
	m := s.NewMatcher()
	m.only = r
	return m
}

// just is what is left of rules for a matcher that knows a single one.
func (m *Matcher) just(rules []*Rule) []*Rule {
	if i := slices.Index(rules, m.only); i >= 0 {
		return rules[i : i+1]
	}
	return nil
}

// Holds runs a scheduled rule's condition on a row. The error is an *EvalError.
func (m *Matcher) Holds(r *Rule, tx TxInfo, c *cdc.Change) (bool, error) {
	b := m.bind(c.Rel)
	if b.table != r.watched {
		return false, &EvalError{Rule: r.Name, Path: "when", Offset: -1, Err: fmt.Errorf("the row is one of %s, not of %s", c.Rel, r.Table)}
	}
	m.move(tx, c, b)
	return m.condition(r)
}

// LooksAround says that the condition reads related rows: they must be fetched before [Matcher.Holds].
func (r *Rule) LooksAround() bool { return len(r.whenNeeds) > 0 }
