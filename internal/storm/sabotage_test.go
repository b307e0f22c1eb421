package storm

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// small is a round that went well: three orders' worth of writes, and what arrived of them. Every endpoint of [rules] has its part.
func small() evidence {
	at := func(n string) *side { return &side{written: n, stamp: n, digest: "d" + n, facts: "draft|1.00"} }
	ledger := []line{
		{n: 1, writer: 0, action: 0, xid: 700, table: partners, key: "1", op: 'i', new: at("11")},
		{n: 2, writer: 0, action: 0, xid: 700, table: partners, key: "1", op: 'u', old: at("11"), new: at("12")},
		{n: 3, writer: 0, action: 1, xid: 701, table: partners, key: "1", op: 'u', old: at("12"), new: at("13")},
		{n: 4, writer: 1, action: 0, xid: 702, table: documents, key: "a", op: 'i', new: at("14")},
		{n: 5, writer: 0, action: 2, xid: 703, table: partners, key: "1", op: 'd', old: at("13")},
		{n: 6, writer: 1, action: 1, xid: 704, table: orders, key: "9", op: 'm', token: "15"},
	}
	v := evidence{want: expect(ledger)}
	numbers := map[string]int{}
	for _, e := range v.want {
		numbers[e.Endpoint]++
		v.arrivals = append(v.arrivals, arrival{event: &event{identity: e.identity, ID: "msg_" + e.Endpoint + e.Rule + e.Old + e.New, number: number{e.Endpoint, "1", numbers[e.Endpoint]}, XID: e.XID, LSN: uint64(e.n),
			OldDigest: e.OldDigest, NewDigest: e.NewDigest, Cascade: e.Cascade, Lines: e.Lines, accepted: true}, life: "0.1", request: len(v.arrivals) + 1, accepted: true, fresh: true})
	}
	return v
}

// on are the places of an endpoint's arrivals.
func (v evidence) on(endpoint string) (all []int) {
	for i, a := range v.arrivals {
		if a.Endpoint == endpoint && a.Table == partners.name {
			all = append(all, i)
		}
	}
	return all
}

// The check passes what is right, and names what is not.
func TestCheckOfTheStorm(t *testing.T) {
	drop := func(v *evidence, i int) { v.arrivals = slices.Delete(v.arrivals, i, i+1) }
	for name, test := range map[string]struct {
		sabotage func(v *evidence)
		says     []string // nothing for a round that went well
	}{
		"as it was": {func(*evidence) {}, nil},
		"again":     {func(v *evidence) { v.arrivals = append(v.arrivals, v.arrivals[len(v.arrivals)-1]) }, nil},
		"again from the beginning, by another life": {func(v *evidence) {
			for _, i := range v.on("first") {
				a := v.arrivals[i]
				a.life = "1.1"
				v.arrivals = append(v.arrivals, a)
			}
		}, nil},
		"an earlier one again, by a process that was overtaken": {func(v *evidence) {
			v.rejoined = map[string]bool{"0.1": true}
			v.arrivals = append(v.arrivals, v.arrivals[v.on("first")[0]])
		}, nil},
		"a batch again": {func(v *evidence) {
			for _, i := range v.on("first") {
				v.arrivals[i].request = 7
			}
			v.arrivals = append(v.arrivals, v.arrivals[v.on("first")[0]], v.arrivals[v.on("first")[1]])
		}, nil},
		"an earlier one again": {func(v *evidence) { v.arrivals = append(v.arrivals, v.arrivals[v.on("first")[0]]) }, []string{"out of order"}},
		"the last one dropped": {func(v *evidence) { drop(v, v.on("first")[2]) }, []string{"lost: unlink of res_partner 1 (partners to first"}},
		"one in the middle dropped": {func(v *evidence) { drop(v, v.on("first")[1]) },
			[]string{"was not accepted yet", "lost: write of res_partner 1", "broken chain", "number 2 is missing"}},
		"arrived and not accepted": {func(v *evidence) {
			a := &v.arrivals[v.on("first")[2]]
			a.accepted, a.event.accepted = false, false
		}, []string{"lost: unlink of res_partner 1"}},
		"two swapped": {func(v *evidence) {
			i := v.on("first")
			v.arrivals[i[0]], v.arrivals[i[1]] = v.arrivals[i[1]], v.arrivals[i[0]]
		}, []string{"was not accepted yet", "out of order: create of res_partner 1"}},
		"numbered in another order": {func(v *evidence) {
			i := v.on("first")
			a, b := v.arrivals[i[0]].event, v.arrivals[i[1]].event
			a.number, b.number = b.number, a.number
		}, []string{"was committed before"}},
		"invented": {func(v *evidence) {
			a := v.arrivals[v.on("first")[0]]
			e := *a.event
			e.New, e.ID, e.number.N = "99", "msg_invented", 5
			a.event = &e
			v.arrivals = append(v.arrivals, a)
		}, []string{"invented: msg_invented"}},
		"another before":      {func(v *evidence) { v.arrivals[v.on("first")[1]].OldDigest = "x" }, []string{"other values before: x instead of d12", "broken chain"}},
		"another after":       {func(v *evidence) { v.arrivals[v.on("first")[1]].NewDigest = "x" }, []string{"other values: x instead of d13", "broken chain"}},
		"another transaction": {func(v *evidence) { v.arrivals[v.on("first")[1]].XID = 1 }, []string{"comes from transaction 1"}},
		"a message dropped": {func(v *evidence) {
			drop(v, slices.IndexFunc(v.arrivals, func(a arrival) bool { return a.Rule == "notes" && a.Endpoint == "batch" }))
		}, []string{"lost: message of sale_order 9"}},
		"superseded and on record": {func(v *evidence) {
			v.gaps = append(v.gaps, gap{"slow", "1", 1, 2, "superseded"})
			drop(v, v.on("slow")[0])
			drop(v, v.on("slow")[0])
		}, nil},
		"superseded and not on record": {func(v *evidence) { drop(v, v.on("slow")[0]) }, []string{"1 events of endpoint slow stayed away, and 0 were superseded", "number 1 is missing"}},
		"the last of a record superseded": {func(v *evidence) {
			v.gaps = append(v.gaps, gap{"slow", "1", 3, 3, "superseded"})
			drop(v, v.on("slow")[2])
		}, []string{"lost: unlink of res_partner 1 (partners_slow"}},
		"a gap that arrived": {func(v *evidence) {
			v.gaps = append(v.gaps, gap{"first", "1", 2, 2, "discarded"})
			a := v.arrivals[v.on("first")[1]].event
			a.accepted = false
		}, []string{"number 2 is a gap on record, and has arrived", "numbers 2 to 2 are a gap: discarded", "lost"}},
		"superseded too often": {func(v *evidence) { v.gaps = append(v.gaps, gap{"slow", "1", 9, 9, "superseded"}) }, []string{"0 events of endpoint slow stayed away, and 1 were superseded"}},
		"one in the middle lost and excused": {func(v *evidence) {
			for i := range v.want {
				v.want[i].excused = v.want[i].n == 3
			}
			drop(v, v.on("first")[1])
			drop(v, v.on("slow")[1])
			for _, a := range v.arrivals { // what was never read has no number
				if a.number.Endpoint == "first" && a.number.N > 2 || a.number.Endpoint == "slow" && a.number.N > 2 {
					a.number.N--
				}
			}
		}, nil},
		"lost and excused": {func(v *evidence) {
			for i := range v.want {
				v.want[i].excused = v.want[i].n == 5
			}
			drop(v, v.on("first")[2])
			drop(v, v.on("slow")[2])
			for _, a := range v.arrivals { // what was never read has no number
				if a.number == (number{"first", "1", 4}) {
					a.number.N = 3
				}
			}
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			v := small()
			test.sabotage(&v)
			got := check(v).said
			if len(test.says) == 0 && len(got) > 0 {
				t.Errorf("complaints %q", got)
			}
			for _, want := range test.says {
				if !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, want) }) {
					t.Errorf("complaints %q, none of %q", got, want)
				}
			}
		})
	}
}

// walks is a round in which a backfill went through partners, and the slot was lost and a resync made a new one: visit 1 stayed as it was, 2 was written
// while there was no slot, 3 and document a were deleted then.
func walks() evidence {
	at := func(n string) *side { return &side{written: n, stamp: n, digest: "d" + n} }
	began := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	ledger := []line{
		{n: 1, action: 0, xid: 700, table: partners, key: "1", op: 'i', new: at("11"), at: began},
		{n: 2, action: 1, xid: 701, table: visits, key: "1", op: 'i', new: at("12"), at: began},
		{n: 3, action: 1, xid: 701, table: visits, key: "2", op: 'i', new: at("13"), at: began},
		{n: 4, action: 1, xid: 701, table: visits, key: "3", op: 'i', new: at("14"), at: began},
		{n: 5, action: 2, xid: 702, table: documents, key: "a", op: 'i', new: at("15"), at: began},
		{n: 6, action: 3, xid: 703, table: visits, key: "4", op: 'i', new: at("16"), at: began.Add(-time.Hour)},
		{n: 7, action: 4, xid: 704, table: visits, key: "2", op: 'u', old: at("13"), new: at("17"), at: began},
		{n: 8, action: 5, xid: 705, table: visits, key: "3", op: 'd', old: at("14"), at: began},
		{n: 9, action: 5, xid: 705, table: documents, key: "a", op: 'd', old: at("15"), at: began},
		{n: 10, action: 6, xid: 706, table: partners, key: "1", op: 'u', old: at("11"), new: at("18"), at: began},
	}
	v := evidence{want: expect(ledger), ledger: ledger, lost: []span{{6, 9, began}}, walks: []walk{{op: "snapshot", rule: "partners", from: 10}, {op: "resync", from: 6, since: began}}}
	numbers := map[string]int{}
	arrive := func(e *event) {
		numbers[e.Endpoint]++
		e.ID, e.number, e.accepted = fmt.Sprintf("msg_%+v", e.identity), number{e.Endpoint, "1", numbers[e.Endpoint]}, true
		v.arrivals = append(v.arrivals, arrival{event: e, life: "0.1", request: len(v.arrivals) + 1, accepted: true, fresh: true})
	}
	for i := range v.want {
		e := &v.want[i]
		if e.excused = e.n > 6 && e.n <= 9; !e.excused {
			arrive(&event{identity: e.identity, XID: e.XID, LSN: uint64(e.n), OldDigest: e.OldDigest, NewDigest: e.NewDigest})
		}
	}
	walked := func(rule, table, key, op, written string, endpoints ...string) {
		for _, endpoint := range endpoints {
			e := &event{identity: identity{endpoint, rule, table, key, op, "", written}, again: true}
			if written != "" {
				e.NewDigest = "d" + written
			}
			arrive(e)
		}
	}
	walked("partners", "res_partner", "1", "snapshot", "18", "first")
	walked("visits", "visit", "1", "resync", "12", "second", "batch")
	walked("visits", "visit", "2", "resync", "17", "second", "batch")
	walked("visits", "visit", "3", "unlink", "", "second", "batch")
	walked("documents", "document", "a", "unlink", "", "second")
	return v
}

// The check passes what backfills and resyncs have to send, and names what they don't.
func TestCheckOfWalks(t *testing.T) {
	find := func(v *evidence, op, table, key string) int {
		i := slices.IndexFunc(v.arrivals, func(a arrival) bool { return a.Op == op && a.Table == table && a.Key == key && a.again })
		if i < 0 {
			t.Fatalf("no %s of %s %s", op, table, key)
		}
		return i
	}
	// without takes an arrival out, and its number.
	without := func(v *evidence, i int) {
		gone := v.arrivals[i]
		v.arrivals = slices.Delete(v.arrivals, i, i+1)
		for _, a := range v.arrivals {
			if a.Endpoint == gone.Endpoint && a.number.N > gone.number.N {
				a.number.N--
			}
		}
	}
	another := func(v *evidence, i int, change func(e *event)) {
		e := *v.arrivals[i].event
		last := 0
		for _, a := range v.arrivals {
			if a.Endpoint == e.Endpoint {
				last = max(last, a.number.N)
			}
		}
		e.ID, e.number.N = "msg_another", last+1
		change(&e)
		v.arrivals = append(v.arrivals, arrival{event: &e, life: "0.1", request: len(v.arrivals) + 1, accepted: true, fresh: true})
	}
	for name, test := range map[string]struct {
		sabotage func(v *evidence)
		says     string // nothing for a round that went well
	}{
		"as it was":                    {func(*evidence) {}, ""},
		"no snapshot":                  {func(v *evidence) { without(v, find(v, "snapshot", "res_partner", "1")) }, "lost: snapshot of res_partner 1 (partners to first, write 18) never arrived"},
		"what was there is not told":   {func(v *evidence) { without(v, find(v, "resync", "visit", "1")) }, "lost: resync of visit 1 (visits to second, write 12) never arrived"},
		"what was written is not told": {func(v *evidence) { without(v, find(v, "resync", "visit", "2")) }, "lost: visit 2 was written while there was no slot (write 17), and neither stream nor resync told second"},
		"what was deleted is not told": {func(v *evidence) { without(v, find(v, "unlink", "visit", "3")) }, "lost: visit 3 was deleted while there was no slot (write 8)"},
		"a document that is gone":      {func(v *evidence) { without(v, find(v, "unlink", "document", "a")) }, "lost: document a was deleted while there was no slot (write 9)"},
		"not accepted":                 {func(v *evidence) { v.arrivals[find(v, "resync", "visit", "1")].event.accepted = false }, "lost: resync of visit 1"},
		"other values":                 {func(v *evidence) { v.arrivals[find(v, "resync", "visit", "1")].NewDigest = "x" }, "write 12, has other values: x instead of d12"},
		"a write that was never":       {func(v *evidence) { another(v, find(v, "resync", "visit", "1"), func(e *event) { e.New = "99" }) }, "and there was no such write"},
		"a record that was never":      {func(v *evidence) { another(v, find(v, "resync", "visit", "1"), func(e *event) { e.Key = "77" }) }, "of a record or for an endpoint that there is not"},
		"an endpoint of another rule": {func(v *evidence) {
			another(v, find(v, "resync", "visit", "1"), func(e *event) { e.Endpoint, e.number.Endpoint, e.number.Epoch = "first", "first", "2" })
		}, "for an endpoint that there is not"},
		"a rule that nobody asked for": {func(v *evidence) { v.walks[0].rule = "documents" }, "and nobody has asked for it"},
		"a resync that nobody began":   {func(v *evidence) { v.walks = v.walks[:1] }, "and nobody has asked for it"},
		"a deletion that was not":      {func(v *evidence) { another(v, find(v, "unlink", "visit", "3"), func(e *event) { e.Key = "1" }) }, "says that visit 1 was deleted while there was no slot"},
		"a deletion that was adopted":  {func(v *evidence) { v.lost[0].since = time.Time{} }, "says that visit 3 was deleted while there was no slot"},
		"an older row after a newer": {func(v *evidence) {
			another(v, find(v, "snapshot", "res_partner", "1"), func(e *event) { e.New, e.NewDigest = "11", "d11" })
		}, "stale: snapshot of res_partner 1 (partners to first) shows write 11"},
		"an older row sent once more": {func(v *evidence) { v.arrivals = append(v.arrivals, v.arrivals[find(v, "resync", "visit", "1")]) }, ""},
		"what was written long before": {func(v *evidence) {
			another(v, find(v, "resync", "visit", "1"), func(e *event) { e.Key, e.New, e.NewDigest = "4", "16", "d16" })
		}, ""},
		"the stream told, not resync":   {func(v *evidence) { v.byStream("visit", "2") }, ""},
		"the stream told of a deletion": {func(v *evidence) { v.byStream("visit", "3") }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			v := walks()
			test.sabotage(&v)
			got := check(v).said
			switch {
			case test.says == "" && len(got) > 0:
				t.Errorf("complaints %q", got)
			case test.says != "" && !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, test.says) }):
				t.Errorf("complaints %q, none of %q", got, test.says)
			}
		})
	}
}

// byStream has the events of a record come by the stream in place of the resync's: they were committed just behind the new slot.
func (v *evidence) byStream(table, key string) {
	for i := range v.arrivals {
		a := &v.arrivals[i]
		if !a.again || a.Table != table || a.Key != key {
			continue
		}
		for _, e := range v.want {
			if e.excused && e.Table == table && e.Key == key && e.Endpoint == a.Endpoint {
				a.event.identity, a.event.again, a.event.XID, a.event.LSN = e.identity, false, e.XID, uint64(e.n)
				a.event.OldDigest, a.event.NewDigest = e.OldDigest, e.NewDigest
			}
		}
	}
}

// What a transaction makes of its writes: the rules of coalescing, once more.
func TestExpectations(t *testing.T) {
	at := func(n string) *side { return &side{written: n, stamp: n, digest: n} }
	quiet := &side{written: "2", stamp: "1", digest: "1"}
	for name, test := range map[string]struct {
		writes []line
		want   string
	}{
		"insert and update":       {[]line{{op: 'i', new: at("1")}, {op: 'u', old: at("1"), new: at("2")}}, "create 2"},
		"updates":                 {[]line{{op: 'u', old: at("1"), new: at("2")}, {op: 'u', old: at("2"), new: at("3")}}, "write 3"},
		"write_date alone":        {[]line{{op: 'u', old: at("1"), new: quiet}}, ""},
		"insert and delete":       {[]line{{op: 'i', new: at("1")}, {op: 'd', old: at("1")}}, ""},
		"update and delete":       {[]line{{op: 'u', old: at("1"), new: at("2")}, {op: 'd', old: at("2")}}, "unlink 1"},
		"delete and insert":       {[]line{{op: 'd', old: at("1")}, {op: 'i', new: at("2")}}, "write 2"},
		"truncated after insert":  {[]line{{op: 'i', new: at("1")}, {op: 't'}}, ""},
		"truncated before insert": {[]line{{op: 't'}, {op: 'i', new: at("1")}}, "create 1"},
	} {
		t.Run(name, func(t *testing.T) {
			for i := range test.writes {
				l := &test.writes[i]
				l.n, l.table, l.key = int64(i+1), scratches, "7"
			}
			var got []string
			for _, e := range expect(test.writes) {
				got = append(got, e.Op+" "+e.Old+e.New)
			}
			if strings.Join(got, ", ") != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
