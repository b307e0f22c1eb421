package delivery

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"walhook/cdc"
	"walhook/rules"
)

// Invariant 6: what follows from a transaction is the same whether it stays in memory, or goes to a file and is judged on its way there.
func TestJudgedIsPlannedAlike(t *testing.T) {
	set := compileRules(t,
		rules.Config{Name: "confirmed", Model: "sale.order", On: []string{"create", "write"}, When: `became("state", "sale")`, Endpoint: "erp"},
		rules.Config{Name: "each", Model: "sale.order", On: []string{"write"}, EachWrite: true, When: `after.state == "done"`, Endpoint: "shop"},
		rules.Config{Name: "partners", Model: "res.partner", On: []string{"create", "write"}, When: `after.name contains "3"`, Endpoint: "log"})
	rapid.Check(t, func(rt *rapid.T) {
		rows := map[int][2]string{}
		var writes []write
		for n := range rapid.IntRange(1, 120).Draw(rt, "writes") {
			id := rapid.IntRange(1, 40).Draw(rt, "id")
			if rapid.IntRange(0, 4).Draw(rt, "table") == 0 {
				writes = append(writes, write{table: partnerOID, after: []any{1000 + n, fmt.Sprintf("partner %d", id)}})
				continue
			}
			state := rapid.SampledFrom([]string{"draft", "sent", "sale", "done"}).Draw(rt, "state")
			w := order(id, fmt.Sprintf("S%d", id), state)
			if was, ok := rows[id]; ok {
				w = w.was(was[0], was[1])
			}
			rows[id] = [2]string{fmt.Sprintf("S%d", id), state}
			writes = append(writes, w)
		}
		plan := func(tx *cdc.Tx) (list []string) {
			all := planAll(t, NewPlanner(testIdentity, set, testEndpoints, nil), 0, tx)
			for _, d := range all.Deliveries {
				list = append(list, fmt.Sprintf("%s %s %s %s", d.ID, d.Rule, d.Record, d.Body))
			}
			return append(append(list, all.Matched...), fmt.Sprint(len(all.Parked)))
		}
		want := plan(newWAL(t, set, 1<<30).tx(writes...))
		for _, memory := range []int64{1, 3000} {
			tx := newWAL(t, set, memory).tx(writes...)
			if diff := cmp.Diff(want, plan(tx)); diff != "" {
				rt.Fatalf("memory %d (-memory +file):\n%s", memory, diff)
			}
			recorder := NewPlanner(testIdentity, set, testEndpoints, nil)
			recorder.Record(func() bool { return true })
			recorded, all := 0, 0
			if err := recorder.Prepare(t.Context(), nil); err != nil {
				rt.Fatal(err)
			}
			for s, err := range recorder.Plan(t.Context(), tx, 0) {
				if err != nil {
					rt.Fatal(err)
				}
				if s.Recorded != nil {
					recorded++
				}
			}
			for c, err := range tx.Changes() {
				if err != nil {
					rt.Fatal(err)
				}
				if !c.Raw {
					all++
				}
			}
			if recorded != all {
				rt.Fatalf("memory %d: %d of %d changes are recorded", memory, recorded, all)
			}
		}
	})
}
