package rules

import (
	"cmp"
	"slices"
	"time"

	"walhook/cdc"
	"walhook/cdc/catalog"
)

// Rule is a compiled rule. It is immutable and safe for concurrent use.
type Rule struct {
	Config
	Model     string         // model name, or the table spelt as in the configuration for rules on tables
	Table     *catalog.Table // the watched table
	Odoo      *catalog.Model // the model that is stored in Table; nil for plain tables
	Endpoints []string       // always filled
	Handling  Handling       // what becomes of events that match

	watched *watched
	ops     []cdc.Op
	when    *program // nil: always
	outputs []Output

	splitting *splitting // nil: one event makes one delivery for each endpoint

	old []string // why the rule needs old values; empty when it does not

	Schedule *Schedule // of a rule on schedule; nil of all others
	narrowed *narrowing

	archiving archiving
	echoes    echoes
	rollups   []*Rollup
	cascades  []cascade

	readings map[string]*reading // of columns that are not seen as they are stored, besides booleans

	unfit error // why events that match are parked, see Settings.CompileFitting; nil when the rule fits

	whenNeeds, outputNeeds []*need  // related rows that the condition reads, and the payload
	shows                  []string // columns of the record that the payload reads
	relatedTables          []*catalog.Table
}

// EventName returns the event type of a change that matched: the rule's own, or "<model>.<op>".
func (r *Rule) EventName(op cdc.Op) string {
	if r.Event != "" {
		return r.Event
	}
	return r.Model + "." + op.String()
}

// IsActive says whether the rule is matched at all.
func (r *Rule) IsActive() bool { return r.Active == nil || *r.Active }

// Ops returns the operations that the rule is on.
func (r *Rule) Ops() []cdc.Op { return slices.Clone(r.ops) }

func (r *Rule) on(op cdc.Op) bool { return slices.Contains(r.ops, op) }

func (r *Rule) ignores(column string) bool { return slices.Contains(r.Ignore, column) }

// Need is what the rules ask of one table.
type Need struct {
	Table    *catalog.Table
	Net, Raw bool     // some rule wants net changes; some rule wants each write
	Full     bool     // some rule needs old values: REPLICA IDENTITY FULL
	Why      []string // for people: `rule "x" reads before.state`, `rule "y" is on write and must tell no-op writes apart` …
}

// Set is a compiled set of rules for one catalog. It is immutable and safe for concurrent use.
type Set struct {
	rules    []*Rule
	watched  map[tableName]*watched
	cat      *catalog.Catalog
	links    links
	warnings []*Problem
	odoo     string                  // the schema of Odoo's tables; "" when the database is not Odoo's
	rollups  map[tableName][]*Rollup // of active rules, by the table whose changes they gather

	cascades map[tableName][]cascade // of tables that active rules are on unlink of
	leads    map[tableName]bool      // the tables that these keys point to

	slots int // the most slots of any table
}

type tableName struct{ schema, table string }

// Rules returns all rules, inactive ones included, in the order of the configuration.
func (s *Set) Rules() []*Rule { return s.rules }

// Needs returns what setup must provide for the active rules, sorted by table.
func (s *Set) Needs() []Need {
	needs := make(map[*catalog.Table]*Need)
	for _, r := range s.rules {
		if !r.IsActive() || r.Schedule != nil || r.on(cdc.Message) {
			continue
		}
		n := needs[r.Table]
		if n == nil {
			n = &Need{Table: r.Table}
			needs[r.Table] = n
		}
		n.Raw = n.Raw || r.EachWrite
		n.Net = n.Net || !r.EachWrite
		n.Full = n.Full || len(r.old) > 0
		n.Why = append(n.Why, r.old...)
		for _, ru := range r.rollups {
			ru.need(needs)
		}
	}
	out := make([]Need, 0, len(needs))
	for _, n := range needs {
		out = append(out, *n)
	}
	slices.SortFunc(out, func(a, b Need) int { return compareTables(a.Table, b.Table) })
	return out
}

// Related returns the tables that active rules look related rows up in, sorted: run needs SELECT on them.
func (s *Set) Related() []*catalog.Table {
	var out []*catalog.Table
	for _, r := range s.rules {
		if !r.IsActive() {
			continue
		}
		for _, t := range r.relatedTables {
			if !slices.Contains(out, t) {
				out = append(out, t)
			}
		}
	}
	slices.SortFunc(out, compareTables)
	return out
}

func compareTables(a, b *catalog.Table) int {
	return cmp.Or(cmp.Compare(a.Schema, b.Schema), cmp.Compare(a.Name, b.Name))
}

// Wants says whether any active rule watches a table, for cdc's decoder: net changes, raw ones.
func (s *Set) Wants(schema, table string) (net, raw bool) {
	rolled := len(s.rollups[tableName{schema, table}]) > 0 || s.leads[tableName{schema, table}]
	w := s.watched[tableName{schema, table}]
	if w == nil {
		return rolled, false
	}
	net, raw = w.wants()
	return net || rolled, raw
}

// TxInfo is what conditions see of the transaction.
type TxInfo struct {
	XID     uint32
	LSN     cdc.LSN
	Time    time.Time // commit time: now() and tx.time
	Related Related   // rows for ref("…"), see [Matcher.Missing]; may be nil when no rule refers to any
}

// Match is one rule that applies to a change, or whose condition failed (Err).
type Match struct {
	Rule *Rule
	Err  error // *EvalError: park the event
	Echo bool  // made by a user whose changes the rule leaves out: nothing to send, or to park
}
