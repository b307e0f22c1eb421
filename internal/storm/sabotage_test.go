package storm

import (
	"slices"
	"strings"
	"testing"
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
