package storm

import (
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// rule is one of the configuration's, said once more in the words of the ledger.
type rule struct {
	name      string
	table     *table
	kind      string // "net", "each", "message" or "rollup"
	ops       string // of c(reate), w(rite), u(nlink)
	when      func(old, new facts) bool
	endpoints []string
	debounced bool
	partial   bool // does not send whole rows
}

// facts are an order's, as conditions see them.
type facts struct {
	state  string
	amount *big.Rat
}

func factsOf(text string) facts {
	state, amount, _ := strings.Cut(text, "|")
	f := facts{state: state}
	if r, ok := new(big.Rat).SetString(amount); ok {
		f.amount = r
	}
	return f
}

var rules = []rule{
	{name: "orders", table: orders, kind: "net", ops: "cwu", endpoints: []string{"first", "second", "batch"}},
	{name: "orders_held", table: orders, kind: "net", ops: "cwu", endpoints: []string{"third"}},
	{name: "sold", table: orders, kind: "net", ops: "w", endpoints: []string{"second"}, when: func(old, new facts) bool { return old.state != "sale" && new.state == "sale" }},
	{name: "raised", table: orders, kind: "net", ops: "w", endpoints: []string{"first"}, when: func(old, new facts) bool {
		return old.amount != nil && new.amount != nil && new.amount.Cmp(old.amount) > 0
	}},
	{name: "gone", table: orders, kind: "net", ops: "u", endpoints: []string{"second"}, when: func(old, _ facts) bool { return old.amount != nil && old.amount.Cmp(big.NewRat(1000, 1)) > 0 }},
	{name: "rolled", table: orders, kind: "rollup", endpoints: []string{"first"}, partial: true},
	{name: "notes", table: orders, kind: "message", endpoints: []string{"first", "batch"}, partial: true},
	{name: "lines", table: lines, kind: "net", ops: "cwu", endpoints: []string{"first"}},
	{name: "lines_gone", table: lines, kind: "net", ops: "u", endpoints: []string{"second"}},
	{name: "tags", table: tags, kind: "net", ops: "cwu", endpoints: []string{"batch"}},
	{name: "tags_each", table: tags, kind: "each", ops: "cwu", endpoints: []string{"first", "batch"}},
	{name: "partners", table: partners, kind: "net", ops: "cwu", endpoints: []string{"first"}},
	{name: "partners_slow", table: partners, kind: "net", ops: "cwu", endpoints: []string{"slow"}, debounced: true},
	{name: "documents", table: documents, kind: "net", ops: "cwu", endpoints: []string{"second"}},
	{name: "items", table: items, kind: "net", ops: "cwu", endpoints: []string{"batch"}},
	{name: "visits", table: visits, kind: "net", ops: "cwu", endpoints: []string{"second", "batch"}},
	{name: "scratches", table: scratches, kind: "net", ops: "cwu", endpoints: []string{"first"}},
}

// configuration is what walhook is told of the same rules.
//
//go:embed rules.toml
var configuration string

// side is a row in the ledger: its number, what it holds, and what conditions read of it.
type side struct{ written, stamp, digest, facts string }

// line is one of the ledger: a committed write.
type line struct {
	n              int64
	writer, action int
	xid            uint32
	table          *table
	key            string
	op             byte
	old, new       *side
	token, parent  string
	at             time.Time // when its transaction began
}

// expected is an event that must arrive.
type expected struct {
	identity
	XID                  uint32
	order                int64 // in its lane; two may share a place
	n                    int64 // of the ledger
	OldDigest, NewDigest string
	Cascade, Lines       string
	along                string // an order that was deleted in the same transaction, though not by it: it may be named as well
	debounced, partial   bool
	excused              bool // may be missing
}

// readLedger reads what was committed.
func readLedger(ctx context.Context, source *Cluster) (all []line, err error) {
	conn, err := source.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, err := conn.Query(ctx, `SELECT n, l.writer, l.action, d.xid & 4294967295, tab, key, op::text, old_wd::text, old_stamp::text, old_digest, old_facts, new_wd::text, new_stamp::text, new_digest, new_facts, coalesce(parent, ''), d.at
		FROM ledger l JOIN done d ON d.writer = l.writer AND d.action = l.action ORDER BY n`)
	if err != nil {
		return nil, err
	}
	var l line
	var xid int64
	var tab, op string
	var ow, os, od, of, nw, ns, nd, nf *string
	_, err = pgx.ForEachRow(rows, []any{&l.n, &l.writer, &l.action, &xid, &tab, &l.key, &op, &ow, &os, &od, &of, &nw, &ns, &nd, &nf, &l.parent, &l.at}, func() error {
		one := l
		one.table, one.xid, one.op = tableNamed(tab), uint32(xid), op[0]
		if od != nil {
			one.old = &side{*ow, *os, *od, *of}
		}
		if nd != nil {
			one.new = &side{*nw, *ns, *nd, *nf}
		}
		if one.op == 'm' {
			one.token = *nw
		}
		all = append(all, one)
		return nil
	})
	return all, err
}

// expect says which events have to come of what was committed: the rules of coalescing once more. Of each transaction
//
//   - a record's writes are one change, from the row before the first to the row after the last; none if there is neither, or if nothing but
//     write_date is different;
//   - TRUNCATE makes nothing of what the transaction did to the table before;
//   - rules with each_write see every single write, in the same way;
//   - an order whose lines have changed is an event, too.
func expect(ledger []line) (all []expected) {
	type tx struct{ writer, action int }
	groups := map[tx][]line{}
	var turns []tx
	for _, l := range ledger {
		of := tx{l.writer, l.action}
		if groups[of] == nil {
			turns = append(turns, of)
		}
		groups[of] = append(groups[of], l)
	}
	for _, of := range turns {
		all = append(all, transaction(groups[of])...)
	}
	slices.SortStableFunc(all, func(a, b expected) int { return cmp.Compare(a.order, b.order) })
	return all
}

// change is what a transaction did to a record.
type change struct {
	line // the last write, with the row before the first as old
}

func transaction(writes []line) (all []expected) {
	type record struct {
		table *table
		key   string
	}
	net := map[record]*change{}
	var records []record
	for _, l := range writes {
		switch l.op {
		case 't':
			for r := range net {
				if r.table == l.table {
					delete(net, r)
				}
			}
			continue
		case 'm':
			all = append(all, events(l, "message", 0)...)
			continue
		}
		all = append(all, events(l, "each", 0)...)
		r := record{l.table, l.key}
		if c := net[r]; c != nil {
			old := c.old
			c.line = l
			c.old = old
		} else {
			net[r] = &change{line: l}
			records = append(records, r)
		}
	}
	type rolled struct {
		last int64
		kind map[string]string // of lines
	}
	parents := map[string]*rolled{}
	touch := func(order string, n int64, id, mark string) {
		p := parents[order]
		if p == nil {
			p = &rolled{kind: map[string]string{}}
			parents[order] = p
		}
		p.last = max(p.last, n)
		if id != "" {
			p.kind[id] = mark
		}
	}
	seen := map[record]bool{}
	for _, r := range records {
		c := net[r]
		if c == nil || seen[r] {
			continue
		}
		seen[r] = true
		if c.old == nil && c.new == nil || c.old != nil && c.new != nil && c.old.stamp == c.new.stamp {
			continue
		}
		all = append(all, events(c.line, "net", 2)...)
		if r.table == lines {
			switch {
			case c.old == nil:
				touch(c.new.facts, c.n, r.key, "+")
			case c.new == nil:
				touch(c.old.facts, c.n, r.key, "-")
			default:
				touch(c.new.facts, c.n, r.key, "~")
			}
		}
	}
	for i := range all {
		// Of an order that was made in this very transaction there is nothing to be told: not that others went with it, either.
		if parent := net[record{orders, all[i].along}]; parent == nil || parent.old == nil || parent.new != nil {
			all[i].along, all[i].Cascade = "", ""
		}
	}
	for order, p := range parents {
		if order == "" {
			continue
		}
		op := "write"
		if c := net[record{orders, order}]; c != nil {
			switch {
			case c.old == nil && c.new == nil:
				continue // made and deleted: there has never been an order
			case c.old == nil:
				op = "create"
			case c.new == nil:
				op = "unlink"
			}
			p.last = max(p.last, c.n)
		}
		var marks []string
		for id, mark := range p.kind {
			marks = append(marks, mark+id)
		}
		slices.Sort(marks)
		for _, rule := range rules {
			if rule.kind == "rollup" {
				for _, endpoint := range rule.endpoints {
					xid := strconv.FormatUint(uint64(writes[0].xid), 10)
					all = append(all, expected{identity: identity{endpoint, rule.name, orders.name, order, op, "", xid}, XID: writes[0].xid, n: p.last, order: p.last*8 + 7, Lines: strings.Join(marks, " "), partial: true})
				}
			}
		}
	}
	return all
}

// events are what the rules of a kind make of a write, or of a net change.
func events(l line, kind string, rank int64) (all []expected) {
	id := identity{Table: l.table.name, Key: l.key}
	var op byte
	var old, new side
	switch {
	case kind == "message":
		op, id.Op, id.New = 'm', "message", l.token
	case l.old == nil:
		op, id.Op, new, id.New = 'c', "create", *l.new, l.new.written
		rank++
	case l.new == nil:
		op, id.Op, old, id.Old = 'u', "unlink", *l.old, l.old.written
	default:
		op, id.Op, old, new, id.New = 'w', "write", *l.old, *l.new, l.new.written
		rank++
	}
	for _, r := range rules {
		if r.kind != kind || r.table != l.table || kind != "message" && !strings.ContainsRune(r.ops, rune(op)) || r.when != nil && !r.when(factsOf(old.facts), factsOf(new.facts)) {
			continue
		}
		for _, endpoint := range r.endpoints {
			e := expected{identity: id, XID: l.xid, n: l.n, order: l.n*8 + rank, OldDigest: old.digest, NewDigest: new.digest, debounced: r.debounced, partial: r.partial}
			e.Endpoint, e.Rule = endpoint, r.name
			if op == 'u' {
				e.Cascade = l.parent
				if l.table == lines || l.table == tags {
					e.along = old.facts
				}
			}
			all = append(all, e)
		}
	}
	return all
}

// String is short, for complaints.
func (e expected) String() string {
	return fmt.Sprintf("%s of %s %s (%s to %s, write %s%s, transaction %d)", e.Op, e.Table, e.Key, e.Rule, e.Endpoint, e.Old, e.New, e.XID)
}
