package storm

import (
	"slices"
	"strings"
	"time"
)

// walk is a look through the rows of tables, beside the stream.
type walk struct {
	op    string    // of its events: "snapshot" of a backfill, "resync"
	rule  string    // of a backfill; of a resync "": all rules on tables whose write_date is a time
	from  int64     // of the ledger: what was there, and is as it was, is told of
	since time.Time // of a resync: rows that were written before are not looked for
}

// rules are those whose events it makes.
func (w walk) rules() (some []rule) {
	for _, r := range rules {
		if r.name == w.rule || w.rule == "" && r.table.timed && r.when == nil && r.kind == "net" {
			some = append(some, r)
		}
	}
	return some
}

// record is one of a table.
type record struct {
	table *table
	key   string
}

// history is what the ledger says of a record. A line that empties the whole table counts for all records that were there.
type history []line

func histories(ledger []line) map[record]history {
	all := map[record]history{}
	for _, l := range ledger {
		switch l.op {
		case 'm':
		case 't':
			for r, h := range all {
				if r.table == l.table && h[len(h)-1].new != nil {
					gone := l
					gone.key, gone.old, gone.new = r.key, h[len(h)-1].new, nil
					all[r] = append(h, gone)
				}
			}
		default:
			r := record{l.table, l.key}
			all[r] = append(all[r], l)
		}
	}
	return all
}

// at is the last line up to a place of the ledger; nil if there is none yet. Then the record was there only if it was from the beginning.
func (h history) at(n int64) *line {
	for i := len(h) - 1; i >= 0; i-- {
		if h[i].n <= n {
			return &h[i]
		}
	}
	return nil
}

// there tells whether the record was there.
func (h history) there(n int64) bool {
	if l := h.at(n); l != nil {
		return l.new != nil
	}
	return h[0].old != nil
}

// version finds what was written with a number, and where in the ledger; what was there from the beginning lies before it.
func (h history) version(written string) (s *side, n int64) {
	for i := len(h) - 1; i >= 0; i-- {
		if s := h[i].new; s != nil && s.written == written {
			return s, h[i].n
		}
	}
	if s := h[0].old; s != nil && s.written == written {
		return s, 0
	}
	return nil, 0
}

// again holds events of backfills and resyncs against the ledger. What they show was there; it is not older than what the receiver knows of the record
// by then; nobody is told who was not to be told; and what was there, and stayed as it was, has arrived.
func (v evidence) again(c *complaints, places map[identity]*place) {
	records := histories(v.ledger)
	newest := map[lane]int64{} // of the ledger, by what has arrived
	first := map[*event]bool{}
	for _, a := range v.arrivals {
		if a.Key == sign || first[a.event] {
			continue
		}
		first[a.event] = true
		l := lane{a.Endpoint, a.Table, a.Key}
		if !a.again {
			if p := places[a.identity]; p != nil && !p.partial {
				newest[l] = max(newest[l], p.n)
			}
			continue
		}
		n, ok := v.asked(c, a.event, records[record{tableNamed(a.Table), a.Key}])
		if ok && newest[l] > n && !a.late {
			c.add("stale: %s of %s %s (%s to %s) shows write %s%s, and a later one had arrived", a.Op, a.Table, a.Key, a.Rule, a.Endpoint, a.Old, a.New)
		}
		newest[l] = max(newest[l], n)
	}
	v.walked(c, records)
	v.resynced(c, records, places)
}

// asked finds what an event of a walk shows, and complains if there is no such thing or nobody has asked for it.
func (v evidence) asked(c *complaints, e *event, h history) (n int64, ok bool) {
	i := slices.IndexFunc(rules, func(r rule) bool {
		return r.name == e.Rule && r.table.name == e.Table && slices.Contains(r.endpoints, e.Endpoint)
	})
	if i < 0 || h == nil && e.New != untouched {
		c.add("invented: %s is %+v, of a record or for an endpoint that there is not", e.ID, e.identity)
		return 0, false
	}
	if e.Op == "unlink" {
		for _, s := range v.lost {
			if s.since.IsZero() || !strings.Contains(rules[i].ops, "u") && rules[i].kind != "rollup" {
				continue
			}
			gone := !h.there(s.from)
			for j := range h {
				if h[j].n > s.from && h[j].n <= s.to && h[j].new == nil {
					gone = true
				}
				if h[j].n <= s.to && h[j].new == nil {
					n = h[j].n
				}
			}
			ok = ok || gone
		}
		if !ok {
			c.add("invented: %s says that %s %s was deleted while there was no slot", e.ID, e.Table, e.Key)
		}
		return n, ok
	}
	if !slices.ContainsFunc(v.walks, func(w walk) bool {
		return w.op == e.Op && slices.ContainsFunc(w.rules(), func(r rule) bool { return r.name == e.Rule })
	}) {
		c.add("invented: %s is %+v, and nobody has asked for it", e.ID, e.identity)
		return 0, false
	}
	if h == nil {
		return 0, true
	}
	s, n := h.version(e.New)
	switch {
	case s == nil:
		c.add("invented: %s is %+v, and there was no such write", e.ID, e.identity)
		return 0, false
	case s.digest != e.NewDigest:
		c.add("%s of %s %s (%s to %s), write %s, has other values: %s instead of %s", e.Op, e.Table, e.Key, e.Rule, e.Endpoint, e.New, e.NewDigest, s.digest)
	}
	return n, true
}

// untouched is the number of what schema.sql has written, and nobody since.
var untouched = numberOf(time.Date(2025, 12, 31, 0, 0, 0, 0, time.UTC))

// told are the accepted events of walks.
func (v evidence) told() map[identity]bool {
	all := map[identity]bool{}
	for _, a := range v.arrivals {
		if a.again && a.event.accepted {
			all[a.identity] = true
		}
	}
	return all
}

// walked finds rows that a walk has left out. A row that was written meanwhile may have been told of by the stream alone.
func (v evidence) walked(c *complaints, records map[record]history) {
	told := v.told()
	for _, w := range v.walks {
		for _, r := range w.rules() {
			for of, h := range records {
				last := h[len(h)-1]
				if of.table != r.table || last.new == nil || last.n > w.from || last.at.Before(w.since) {
					continue
				}
				for _, endpoint := range r.endpoints {
					if !told[identity{endpoint, r.name, r.table.name, of.key, w.op, "", last.new.written}] {
						c.add("lost: %s of %s %s (%s to %s, write %s) never arrived", w.op, r.table.name, of.key, r.name, endpoint, last.new.written)
					}
				}
			}
		}
	}
}

// resynced finds what a resync should have repaired: of rows whose write_date is a time, what was written last while there was no slot; of all
// others, deletions of records that the endpoint knew.
func (v evidence) resynced(c *complaints, records map[record]history, places map[identity]*place) {
	told := v.told()
	type heard struct {
		rule string
		lane
		what string // the number of the write, or "unlink"
	}
	live := map[heard]bool{}
	knew := map[lane][]*place{} // what endpoints were told of records, in the order of the ledger
	for i := range v.want {
		p := places[v.want[i].identity]
		if p.got == nil {
			continue
		}
		l := lane{p.Endpoint, p.Table, p.Key}
		if p.got.accepted && p.Op == "unlink" {
			live[heard{p.Rule, l, "unlink"}] = true
		} else if p.got.accepted {
			live[heard{p.Rule, l, p.New}] = true
		}
		if p.Op != "message" {
			knew[l] = append(knew[l], p)
		}
	}
	// knows tells whether the last that an endpoint was told by some time is that the record is there.
	knows := func(l lane, n int64) (is bool) {
		for _, p := range knew[l] {
			if p.n <= n {
				is = p.Op != "unlink"
			}
		}
		return is
	}
	for _, s := range v.lost {
		if s.since.IsZero() {
			continue
		}
		for of, h := range records {
			last := h[len(h)-1]
			if last.n <= s.from || last.n > s.to {
				continue
			}
			for _, r := range rules {
				if r.table != of.table || r.when != nil || r.debounced || r.kind != "net" && r.kind != "each" {
					continue
				}
				for _, endpoint := range r.endpoints {
					l := lane{endpoint, of.table.name, of.key}
					switch {
					case last.new == nil:
						if strings.Contains(r.ops, "u") && h.there(s.from) && knows(l, s.from) &&
							!live[heard{r.name, l, "unlink"}] && !told[identity{endpoint, r.name, of.table.name, of.key, "unlink", "", ""}] {
							c.add("lost: %s %s was deleted while there was no slot (write %d), and neither stream nor resync told %s (%s)", of.table.name, of.key, last.n, endpoint, r.name)
						}
					case r.table.timed && r.kind == "net" && !live[heard{r.name, l, last.new.written}] && !told[identity{endpoint, r.name, of.table.name, of.key, "resync", "", last.new.written}]:
						c.add("lost: %s %s was written while there was no slot (write %s), and neither stream nor resync told %s (%s)", of.table.name, of.key, last.new.written, endpoint, r.name)
					}
				}
			}
		}
	}
}
