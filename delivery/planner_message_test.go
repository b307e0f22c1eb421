package delivery

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"walhook/cdc"
	"walhook/rules"
)

// messages is a transaction of messages, as WAL would bring it.
func (w *wal) messages(contents ...string) *cdc.Tx {
	w.t.Helper()
	w.lsn += 1000
	w.xid++
	const commitTime = uint64(820_000_000_000_000)
	all := [][]byte{message('B', w.lsn, commitTime, w.xid)}
	for _, c := range contents {
		all = append(all, message('M', byte(1), w.lsn-1, cdc.MessagePrefix, uint32(len(c)), []byte(c)))
	}
	var tx *cdc.Tx
	for _, m := range append(all, message('C', byte(0), w.lsn, w.lsn+100, commitTime)) {
		var err error
		if tx, err = w.decoder.Decode(w.t.Context(), m); err != nil {
			w.t.Fatal(err)
		}
	}
	w.t.Cleanup(func() { _ = tx.Close() })
	return tx
}

// What a message becomes: the lane of its record or key, its own name, its data as the record; each an event of its own. A malformed one is parked once,
// whatever the number of rules, and a rule that fails on one parks it, as it can be evaluated again.
func TestPlanMessages(t *testing.T) {
	set := compileRules(t,
		rules.Config{Name: "all", On: []string{"message"}, Endpoint: "erp"},
		rules.Config{Name: "low", On: []string{"message"}, Messages: []string{"stock.*"}, When: "message.data.qty < 5", Endpoint: "erp", Event: "low", Payload: rules.Payload{"q": "message.data.qty"}},
		rules.Config{Name: "order", On: []string{"message"}, Model: "sale.order", Endpoint: "erp", Fields: []string{"event", "data"}})
	for _, memory := range []int64{0, 1} { // and from a temporary file
		tx := newWAL(t, set, memory).messages(`{"event": "stock.low", "model": "sale.order", "id": 42, "data": {"qty": 3.10}}`, `{"event": "a", "id": "k 1", "data": [1]}`, `{"event": "a"}`, `{"event": "a"}`,
			`no json`, `{"event": "stock.odd", "data": {"qty": "x"}}`)
		got := planAll(t, NewPlanner(testIdentity, set, testEndpoints, nil), 0, tx)
		var list, ids []string
		for _, d := range got.Deliveries {
			_, body, _ := strings.Cut(string(d.Body), `"data":`)
			body, _, _ = strings.Cut(body, `,"rule"`)
			list = append(list, d.Rule+" "+d.Event+" "+d.Lane+" "+d.Op+" "+body)
			ids = append(ids, d.ID)
		}
		want := []string{
			`all stock.low sale.order/42 message {"id":42,"model":"sale.order","op":"message","record":{"qty": 3.10}`,
			`low low sale.order/42 message {"id":42,"model":"sale.order","op":"message","record":{"q":3.10}`,
			`order stock.low sale.order/42 message {"id":42,"model":"sale.order","op":"message","record":{"event":"stock.low","data":{"qty": 3.10}}`,
			`all a message/k 1 message {"id":"k 1","model":null,"op":"message","record":[1]`,
			`all a message/a message {"id":null,"model":null,"op":"message","record":{}`,
			`all a message/a message {"id":null,"model":null,"op":"message","record":{}`,
			`all stock.odd message/stock.odd message {"id":null,"model":null,"op":"message","record":{"qty": "x"}`,
		}
		if diff := cmp.Diff(want, list); diff != "" {
			t.Errorf("planned (-want +got):\n%s", diff)
		}
		seen := map[string]bool{}
		for _, id := range ids {
			if seen[id] {
				t.Errorf("id %s twice", id)
			}
			seen[id] = true
		}
		if len(got.Parked) != 2 || got.Parked[0].Rule != NoticeRule || !strings.Contains(got.Parked[0].Error, "no JSON object") || got.Parked[1].Rule != "low" {
			t.Fatalf("parked %+v", got.Parked)
		}
		for _, p := range got.Parked {
			c, err := cdc.DecodeChange(p.Change)
			if err != nil {
				t.Fatal(err)
			}
			again := planAll(t, NewPlanner(testIdentity, set, testEndpoints, nil), 0, cdc.NewTx(p.XID, p.CommitLSN, p.CommitLSN+1, p.CommitAt, []*cdc.Change{c}))
			found := false
			for _, q := range again.Parked {
				found = found || q.ID == p.ID && q.Error == p.Error
			}
			if !found {
				t.Errorf("evaluated again: %+v", again.Parked)
			}
		}
	}
}
