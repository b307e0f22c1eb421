package status

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"walhook/cdc"
)

// What the slot watch sees and what it warns of stands on every page.
func TestSlotOnThePages(t *testing.T) {
	f := newFixture(t, Config{})
	h := f.Handler()
	body := get(t, h, "/metrics").Body.String()
	for _, want := range []string{"walhook_slot_up 1\n", `walhook_slot_wal_status{status="reserved"} 1`, `walhook_slot_alarm{alarm="retained"} 0`, `walhook_slot_alarm{alarm="lost"} 0`} {
		if !strings.Contains(body, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	if strings.Contains(body, "slot_guard_limit") {
		t.Error("/metrics has a limit although there is no guard")
	}

	f.slot.Behind, f.slot.BehindFor, f.slot.Error = 4096, 90*time.Second, "no route to host"
	f.slot.Alarms = []SlotAlarm{{Name: "retained", Since: noon.Add(-time.Hour), Message: "the slot keeps <5 GiB>", Hint: "look at the state"}}
	f.slot.Guard = &SlotGuard{MaxRetained: 20 << 30, Action: "drop"}
	f.slot.Active, f.slot.Retained, f.slot.Headroom, f.slot.Written, f.slot.Growth = true, 19<<30, 2<<30, 1<<20, 1<<19
	f.slot.Reason, f.slot.Restart, f.slot.Confirmed, f.slot.CatalogAge, f.slot.Spilled = "wal_removed", 0x10, 0x20, 77, cdc.Spilled{Transactions: 3, Bytes: 4096}
	body = get(t, h, "/metrics").Body.String()
	for _, want := range []string{"walhook_slot_up 0\n", "walhook_slot_behind_bytes 4096\n", "walhook_slot_behind_seconds 90\n",
		`walhook_slot_alarm{alarm="retained"} 1`, `walhook_slot_alarm{alarm="lag"} 0`, "walhook_slot_guard_limit_bytes 2.147483648e+10\n",
		"walhook_wal_bytes_per_second 1.048576e+06\n", "walhook_slot_retained_bytes_per_second 524288\n", "walhook_slot_limit_seconds 2048\n", "walhook_slot_standstill_seconds 1024\n",
		"walhook_slot_active 1\n", "walhook_slot_catalog_xmin_age 77\n", "walhook_slot_spilled_bytes_total 4096\n", "walhook_slot_spilled_transactions_total 3\n"} {
		if !strings.Contains(body, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	var d Document
	if err := json.Unmarshal(get(t, h, "/status").Body.Bytes(), &d); err != nil {
		t.Fatal(err)
	}
	if s := d.Source; s.Behind != 4096 || s.BehindSeconds != 90 || len(s.Alarms) != 1 || s.Alarms[0] != f.slot.Alarms[0] || s.Guard == nil || *s.Guard != *f.slot.Guard {
		t.Errorf("/status: %+v", s)
	}
	if s := d.Source; !s.Active || s.Reason != "wal_removed" || s.Restart != "0/10" || s.ConfirmedLSN != "0/20" || *s.LimitSeconds != 2048 || *s.StandstillSeconds != 1024 {
		t.Errorf("/status: %+v", s)
	}
	if !d.Ready {
		t.Errorf("an alarm is for a person and no reason not to be ready: %q", d.Reasons)
	}
	page := get(t, h, "/").Body.String()
	for _, want := range []string{"the slot keeps &lt;5 GiB&gt;", "since 2026-03-01 11:00:00 UTC", "look at the state", "drops the slot when it keeps more than 20.0 GiB"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}
