package rules

import (
	"time"

	"walhook/cdc"
	"walhook/cdc/catalog"
)

// Rule is a compiled rule. It is immutable and safe for concurrent use.
type Rule struct {
	Config
	Model     string // model name, or "schema.table" spelt as in the configuration for plain tables
	Table     *catalog.Table
	Odoo      *catalog.Model // nil for plain tables
	Endpoints []string       // always filled
	// …
}

// EventName returns the event type of a change that matched: the rule's own, or "<model>.<op>".
func (r *Rule) EventName(op cdc.Op) string { panic("contract") }

// Need is what the rules ask of one table.
type Need struct {
	Table    *catalog.Table
	Net, Raw bool     // some rule wants net changes; some rule wants each write
	Full     bool     // some rule needs old values: REPLICA IDENTITY FULL
	Why      []string // for people: `rule "x" reads before.state`, `rule "y" is on write and must tell no-op writes apart` …
}

// Set is a compiled set of rules for one catalog. It is immutable and safe for concurrent use.
type Set struct { /* … */
}

// Compile checks configs against the schema and compiles them. The error joins
// *[Problem]s, one for every mistake found; the Set is nil if there is any.
func Compile(configs []Config, cat *catalog.Catalog) (*Set, error) { panic("contract") }

// Rules returns all rules, inactive ones included, in the order of the configuration.
func (s *Set) Rules() []*Rule { panic("contract") }

// Needs returns what setup must provide, sorted by table.
func (s *Set) Needs() []Need { panic("contract") }

// Wants says whether any active rule watches a table, for cdc's decoder: net changes, raw ones.
func (s *Set) Wants(schema, table string) (net, raw bool) { panic("contract") }

// TxInfo is what conditions see of the transaction.
type TxInfo struct {
	XID  uint32
	LSN  cdc.LSN
	Time time.Time // commit time: now() and tx.time
}

// Match is one rule that applies to a change, or whose condition failed (Err).
type Match struct {
	Rule *Rule
	Err  error // *EvalError: park the event
}

// Matcher runs the programs of a Set. It holds virtual machines and buffers: one per goroutine.
type Matcher struct { /* … */
}

// NewMatcher returns a matcher for the set.
func (s *Set) NewMatcher() *Matcher { panic("contract") }

// Match appends to dst the rules that apply to c, in configuration order. No-op
// writes and writes of ignored columns alone match nothing (B2), unless the rule has each_write.
func (m *Matcher) Match(dst []Match, tx TxInfo, c *cdc.Change) []Match { panic("contract") }
