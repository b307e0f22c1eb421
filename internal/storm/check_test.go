package storm

import (
	"cmp"
	"fmt"
	"slices"
)

// lane is what keeps an order: a record for an endpoint.
type lane struct{ Endpoint, Table, Key string }

// gap is a range of numbers that will never come.
type gap struct {
	Endpoint, Epoch string
	From, To        int
	Reason          string
}

// evidence is all that is known at the end of a round.
type evidence struct {
	want     []expected // in the order of the ledger
	ledger   []line
	lost     []span // of the ledger, while there was no slot
	walks    []walk
	arrivals []arrival // in the order of arrival
	gaps     []gap
	problems []string        // that receivers have seen at once
	rejoined map[string]bool // lives that were overtaken by another process, and joined again under a new name
}

// complaints are what a check finds, the first ones word by word.
type complaints struct {
	said []string
	more int
}

func (c *complaints) add(format string, args ...any) {
	if len(c.said) >= 30 {
		c.more++
		return
	}
	c.said = append(c.said, fmt.Sprintf(format, args...))
}

// check holds what has arrived against what was committed.
func check(v evidence) *complaints {
	c := &complaints{}
	places := v.arrived(c)
	v.order(c, places)
	v.missing(c, places)
	v.chains(c, places)
	v.numbers(c)
	v.again(c, places)
	return c
}

// place is an expected event and what came of it.
type place struct {
	*expected
	index   int // in its lane
	request int // that it came in last
	got     *event
	settled bool // accepted, or refused for good
}

// arrived finds what was not to be, and what is not as it was.
func (v evidence) arrived(c *complaints) map[identity]*place {
	places := make(map[identity]*place, len(v.want))
	for i := range v.want {
		e := &v.want[i]
		if places[e.identity] != nil {
			c.add("the ledger has two of %s", e)
		}
		places[e.identity] = &place{expected: e}
	}
	told := map[*event]bool{}
	for _, a := range v.arrivals {
		if told[a.event] || a.Key == sign || a.again {
			continue
		}
		told[a.event] = true
		p := places[a.identity]
		if p == nil {
			c.add("invented: %s is %+v, transaction %d", a.ID, a.identity, a.XID)
			continue
		}
		p.got = a.event
		switch {
		case p.XID != a.XID:
			c.add("%s comes from transaction %d", p, a.XID)
		case !p.partial && p.NewDigest != a.NewDigest:
			c.add("%s has other values: %s instead of %s", p, a.NewDigest, p.NewDigest)
		case !p.partial && p.OldDigest != a.OldDigest:
			c.add("%s has other values before: %s instead of %s", p, a.OldDigest, p.OldDigest)
		case p.Lines != a.Lines:
			c.add("%s has the lines %q instead of %q", p, a.Lines, p.Lines)
		case a.Cascade != p.Cascade && a.Cascade != p.along && !p.partial:
			c.add("%s is said to be deleted with order %q, and was with %q", p, a.Cascade, p.Cascade)
		}
	}
	return places
}

// order finds arrivals out of order. In the order of commits per lane
//
//   - an event first arrives after the one before it was accepted, or refused by an answer that is final, or together with it in one batch;
//   - within one life of a process arrivals never go back, unless the network kept a request for so long that the sender has come again, or the
//     batch comes again that both were in, or the process was overtaken meanwhile, or another one has sent in the lane, and it begins anew with what was not settled.
//
// Earlier events of a debounced rule may stay away.
func (v evidence) order(c *complaints, places map[identity]*place) {
	lanes := map[lane][]*place{}
	for i := range v.want {
		e := &v.want[i]
		l := lane{e.Endpoint, e.Table, e.Key}
		p := places[e.identity]
		p.index = len(lanes[l])
		lanes[l] = append(lanes[l], p)
	}
	type course struct {
		lane
		life string
	}
	last, by := map[course]int{}, map[lane]string{}
	first := map[*event]bool{}
	for _, a := range v.arrivals {
		p := places[a.identity]
		if p == nil || a.again {
			continue
		}
		l := lane{a.Endpoint, a.Table, a.Key}
		all := lanes[l]
		if !first[a.event] && !a.late {
			first[a.event] = true
			for i := p.index - 1; i >= 0 && !p.debounced; i-- {
				before := all[i]
				if before.expected.order == p.expected.order || before.excused && before.got == nil {
					continue
				}
				if !before.settled && before.request != a.request {
					c.add("out of order: %s arrived in life %s, and %s, which comes before, was not accepted yet", p, a.life, before)
				}
				break
			}
		}
		if by[l] != a.life { // a lane that was in other hands in between is gone through again from what was not settled
			by[l] = a.life
			delete(last, course{l, a.life})
		}
		if !a.late && a.fresh && !v.rejoined[a.life] {
			of := course{l, a.life}
			if i, ok := last[of]; ok && all[i].expected.order > p.expected.order && all[i].got != nil && (p.request == 0 || all[i].request != p.request) {
				c.add("out of order: %s arrived in life %s after %s", p, a.life, all[i])
			}
			last[of] = p.index
		}
		p.settled = p.settled || a.accepted || a.event.refused
		p.request = a.request
	}
}

// missing finds what never arrived. Of debounced events the last of each record has to, and the others have numbers that never come.
func (v evidence) missing(c *complaints, places map[identity]*place) {
	superseded := map[string]int{}
	for _, g := range v.gaps {
		if g.Reason != "superseded" {
			c.add("endpoint %s, epoch %s: numbers %d to %d are a gap: %s", g.Endpoint, g.Epoch, g.From, g.To, g.Reason)
			continue
		}
		superseded[g.Endpoint] += g.To - g.From + 1
	}
	later := map[lane]bool{}
	absent, perhaps := map[string]int{}, map[string]int{}
	for i := len(v.want) - 1; i >= 0; i-- {
		e := &v.want[i]
		p := places[e.identity]
		l := lane{e.Endpoint, e.Table, e.Key}
		here := p.got != nil && p.got.accepted
		switch {
		case here:
		case e.excused && e.debounced:
			perhaps[e.Endpoint]++
		case e.excused:
		case e.debounced && later[l]:
			absent[e.Endpoint]++
		default:
			c.add("lost: %s never arrived", e)
		}
		later[l] = later[l] || here
	}
	for _, r := range rules {
		if endpoint := r.endpoints[0]; r.debounced && (superseded[endpoint] < absent[endpoint] || superseded[endpoint] > absent[endpoint]+perhaps[endpoint]) {
			c.add("%d events of endpoint %s stayed away, and %d were superseded", absent[endpoint], endpoint, superseded[endpoint])
		}
	}
}

// chains finds befores that are not the after of the event before, from the arrivals alone: rules that send every change of a record tell its story
// without a hole.
func (v evidence) chains(c *complaints, places map[identity]*place) {
	type story struct {
		lane
		rule string
	}
	last := map[story]*place{}
	for i := range v.want {
		p := places[v.want[i].identity]
		if p.partial || !whole[p.Rule] {
			continue
		}
		s := story{lane{p.Endpoint, p.Table, p.Key}, p.Rule}
		if p.got == nil {
			if p.excused { // nobody was told how the record came to be as it is
				delete(last, s)
			}
			continue
		}
		if before := last[s]; before != nil && !p.debounced && !broken[s.Table] && before.got.NewDigest != p.got.OldDigest && !p.excused {
			c.add("broken chain: %s begins with %s, and %s ended with %s", p, p.got.OldDigest, before, before.got.NewDigest)
		}
		last[s] = p
	}
}

// whole are the rules that send every change.
var whole = func() map[string]bool {
	all := map[string]bool{}
	for _, r := range rules {
		all[r.name] = r.when == nil && (r.ops == "cwu")
	}
	return all
}()

// broken are the tables whose rows go without an event: by TRUNCATE.
var broken = map[string]bool{scratches.name: true}

// numbers finds numbers that are missing without a reason, and events that are numbered in another order than they were committed in.
func (v evidence) numbers(c *complaints) {
	type course struct{ endpoint, epoch string }
	seen := map[course]map[int]*event{}
	for _, a := range v.arrivals {
		of := course{a.number.Endpoint, a.number.Epoch}
		if seen[of] == nil {
			seen[of] = map[int]*event{}
		}
		seen[of][a.number.N] = a.event
	}
	for of, events := range seen {
		numbers := make([]int, 0, len(events))
		for n := range events {
			numbers = append(numbers, n)
		}
		slices.Sort(numbers)
		known := map[int]bool{}
		for _, g := range v.gaps {
			if g.Endpoint == of.endpoint && g.Epoch == of.epoch {
				for n := g.From; n <= g.To; n++ {
					known[n] = true
				}
			}
		}
		next := 1
		var before *event
		for _, n := range numbers {
			for ; next < n; next++ {
				if !known[next] {
					c.add("endpoint %s, epoch %s: number %d is missing, and is no gap on record", of.endpoint, of.epoch, next)
				}
			}
			next = n + 1
			if known[n] && !events[n].accepted {
				c.add("endpoint %s, epoch %s: number %d is a gap on record, and has arrived", of.endpoint, of.epoch, n)
			}
			if e := events[n]; before != nil && !e.again && !before.again && cmp.Compare(e.LSN, before.LSN) < 0 {
				c.add("endpoint %s, epoch %s: number %d was committed before number %d", of.endpoint, of.epoch, n, before.number.N)
			}
			before = events[n]
		}
	}
}

// gapsQuery reads them, in the order of gap's fields.
const gapsQuery = "SELECT endpoint, epoch::text, first::int, last::int, reason FROM walhook.gap"
