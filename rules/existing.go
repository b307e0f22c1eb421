package rules

import (
	"strings"
	"time"

	"walhook/cdc"
)

// ForRows is the rule as a look at the rows that there are takes it: its condition, and where besides, as if the rows were created now. What it does
// with writes of other records and users is left out, as a row that was read is nobody's change.
func (c Config) ForRows(where string) Config {
	switch where = strings.TrimSpace(where); {
	case where == "":
	case strings.TrimSpace(c.When) == "":
		c.When = where
	default:
		c.When = "(" + c.When + "\n) && (" + where + "\n)" // a line may end in a comment
	}
	c.Existing = true
	return c
}

// Narrowed is [Matcher.Filter] with whether SQL says by it just what the condition says.
func (m *Matcher) Narrowed(r *Rule, at time.Time) (f *cdc.Filter, exact bool) {
	switch {
	case r.narrowed == nil:
		return nil, r.when == nil
	default:
		m.frame.tx, m.frame.now = TxInfo{Time: at}, at.UTC()
		return m.filter(r.narrowed)
	}
}
