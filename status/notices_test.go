package status

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"walhook/delivery"
)

// A module upgrade and reserved slots stand on every page while they are there, and on none otherwise.
func TestNoticesOnThePages(t *testing.T) {
	f := newFixture(t, Config{})
	metrics := get(t, f.Handler(), "/metrics").Body.String()
	if !strings.Contains(metrics, "walhook_upgrade_running 0\n") || strings.Contains(metrics, "reserved_slot") {
		t.Errorf("/metrics without any:\n%s", metrics)
	}
	for _, path := range []string{"/status", "/"} {
		if body := get(t, f.Handler(), path).Body.String(); strings.Contains(body, "module_upgrade") || strings.Contains(body, "Module upgrade") || strings.Contains(strings.ToLower(body), "reserved slot") {
			t.Errorf("%s without any:\n%s", path, body)
		}
	}

	u := delivery.Upgrade{Begun: noon.Add(-time.Hour), Seen: noon.Add(-time.Minute), Modules: []int32{3, 5}, Total: 9, Held: 4, Dropped: 7}
	f.reader.upgrade = NewUpgradeState(&u)
	kept := int64(5 << 20)
	f.sources.Reserved = func() []ReservedSlot {
		return []ReservedSlot{{Slot: "try", Since: noon, Retained: &kept, MaxRetained: 1 << 30}, {Slot: "old", Since: noon, MaxRetained: 1 << 30, Ended: "it kept <2 GiB>"}}
	}
	f.now = f.now.Add(time.Minute) // the figures are read anew
	metrics = get(t, f.Handler(), "/metrics").Body.String()
	for _, want := range []string{"walhook_upgrade_running 1\n", `walhook_reserved_slot_retained_bytes{slot="try"} 5.24288e+06`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	if strings.Contains(metrics, `slot="old"`) {
		t.Error("a slot that is gone keeps nothing")
	}
	var d Document
	if err := json.Unmarshal(get(t, f.Handler(), "/status").Body.Bytes(), &d); err != nil {
		t.Fatal(err)
	}
	if d.Upgrade == nil || *d.Upgrade != (UpgradeState{Since: u.Begun, Seen: u.Seen, Waiting: 2, Modules: 9, Held: 4, Dropped: 7}) {
		t.Errorf("upgrade %+v", d.Upgrade)
	}
	if len(d.Reserved) != 2 || *d.Reserved[0].Retained != kept || d.Reserved[1].Retained != nil || d.Reserved[1].Ended == "" {
		t.Errorf("reserved %+v", d.Reserved)
	}
	page := get(t, f.Handler(), "/").Body.String()
	for _, want := range []string{"2 of 9 modules wait; 4 events held, 7 dropped", "try keeps 5.0 MiB of at most 1.0 GiB of WAL", "it kept &lt;2 GiB&gt;"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	u.Ended = noon
	if NewUpgradeState(&u) != nil || NewUpgradeState(&delivery.Upgrade{}) != nil {
		t.Error("an upgrade that is over, or none, is told as one under way")
	}
}
