package rules

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"walhook/cdc/catalog"
)

// Priority says which deliveries of one endpoint go first when several could.
type Priority int8

// The priorities.
const (
	Low    Priority = -1
	Normal Priority = 0
	High   Priority = 1
)

// priorities are the names that the configuration has for them.
var priorities = map[string]Priority{"": Normal, "low": Low, "normal": Normal, "high": High}

// Ranked is the priority that the configuration names.
func (c *Config) Ranked() Priority { return priorities[c.Priority] }

// Handling is what becomes of the events that a rule matches.
type Handling struct {
	Test     bool     // planned, numbered and logged, and not sent
	Sample   float64  // the part of the records whose events are sent, more than 0 and up to 1
	Priority Priority // which deliveries go first

	// Of the events of one record only the last is sent, once Wait has passed without a further one, at the latest Max
	// after the first. Zero: each is sent at once.
	Wait, Max time.Duration

	Upgrades string // what becomes of them while Odoo's modules are upgraded: UpgradesHold, UpgradesDrop, or "": nothing else than at other times
}

// Bounds of windows.
const (
	minWait = 100 * time.Millisecond
	maxWait = 24 * time.Hour
	maxMax  = 7 * 24 * time.Hour
	// maxOfWait times debounce is the default of debounce_max.
	maxOfWait = 10
)

// Takes says whether the sample holds a record. It is a pure function of table and key alone, so that all events of a record are sent or none:
// a receiver can follow each record that it knows of, from create to unlink. Rules with the same sample take the same
// records, a larger sample takes those of a smaller one, and reading a transaction again takes what it took before (invariants 3 and 6).
func (h *Handling) Takes(table *catalog.Table, key string) bool {
	if h.Sample >= 1 {
		return true
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "walhook sample\x00%s\x00%s\x00%s", table.Schema, table.Name, key))
	return float64(binary.BigEndian.Uint64(sum[:8])) < h.Sample*math.Pow(2, 64)
}

// handling reads what the configuration says of it.
func (c *ruleCompiler) handling() Handling {
	h := Handling{Test: c.config.Test, Sample: 1}
	if s := c.config.Sample; s != nil {
		if h.Sample = *s; !(h.Sample > 0 && h.Sample <= 1) {
			c.fail("sample", fmt.Sprintf("%v is no part of the records", *s), "use more than 0 and at most 1, as in 0.1 for a tenth; to send nothing: active = false")
		}
	}
	var known bool
	if h.Priority, known = priorities[c.config.Priority]; !known {
		remedy := didYouMean(c.config.Priority, []string{"high", "normal", "low"})
		if remedy == "" {
			remedy = `the priorities are "high", "normal" and "low"`
		}
		c.fail("priority", fmt.Sprintf("unknown priority %q", c.config.Priority), remedy)
	}
	c.window(&h)
	h.Upgrades = c.upgrades()
	return h
}

// window reads debounce and debounce_max.
func (c *ruleCompiler) window(h *Handling) {
	wait, most := c.config.Debounce, c.config.DebounceMax
	if wait == "" {
		if most != "" {
			c.fail("debounce_max", "there is no debounce that it could bound", `write debounce = "30s" too`)
		}
		return
	}
	var ok bool
	if h.Wait, ok = c.duration("debounce", wait, minWait, maxWait); !ok {
		return
	}
	h.Max = min(maxOfWait*h.Wait, maxMax)
	if most == "" {
		return
	}
	if h.Max, ok = c.duration("debounce_max", most, minWait, maxMax); ok && h.Max < h.Wait {
		c.fail("debounce_max", fmt.Sprintf("%s is shorter than debounce, %s", most, wait), "what waits would be sent before debounce has passed: make it longer")
	}
}

// duration reads a length of time within bounds.
func (c *ruleCompiler) duration(path, text string, least, most time.Duration) (time.Duration, bool) {
	d, err := parseDuration(text)
	switch {
	case err != nil:
		c.fail(path, fmt.Sprintf("%q is no duration", text), "write a number and a unit, as in 500ms, 30s, 5m, 2h or 1d")
	case d < least || d > most:
		c.fail(path, fmt.Sprintf("%s is out of bounds", text), fmt.Sprintf("use %s to %s", least, hours(most)))
	default:
		return d, true
	}
	return 0, false
}

// hours spells whole hours without their zeros.
func hours(d time.Duration) string { return fmt.Sprintf("%dh", int(d.Hours())) }
