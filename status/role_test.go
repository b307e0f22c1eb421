package status

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"walhook/cdc"
)

// A stand-by is ready when it delivers and could take over; the stream is not its part.
func TestStandby(t *testing.T) {
	f := newFixture(t, Config{})
	role := Role{Name: RoleStandby}
	f.sources.Role = func() Role { return role }
	f.stream = cdc.Progress{}
	f.slot.CurrentWAL, f.slot.BehindFor = 1100, 3*time.Second
	var d Document
	look := func() {
		t.Helper()
		d = Document{}
		f.now = f.now.Add(time.Minute)
		if err := json.Unmarshal(get(t, f.Handler(), "/status").Body.Bytes(), &d); err != nil {
			t.Fatal(err)
		}
	}
	look()
	if !d.Ready || d.Process.Role != "standby" || d.Source.Connected || d.Reader == nil || d.Reader.PID != 99 || d.Reader.Host != "other" {
		t.Errorf("stand-by: %v %+v, reader %+v", d.Reasons, d.Process, d.Reader)
	}
	if d.Position.LagBytes != 1000 || d.Position.LagSeconds != 3 {
		t.Errorf("lag: %d bytes, %v s", d.Position.LagBytes, d.Position.LagSeconds)
	}
	metrics := get(t, f.Handler(), "/metrics").Body.String()
	if !strings.Contains(metrics, "\nwalhook_reader 0\n") || !strings.Contains(metrics, "\nwalhook_ready 1\n") {
		t.Errorf("metrics:\n%s", metrics)
	}
	if page := get(t, f.Handler(), "/").Body.String(); !strings.Contains(page, "standing by; process 99 on other reads the slot") {
		t.Errorf("page:\n%s", page)
	}

	role.Problem = "permission denied"
	look()
	if d.Ready || len(d.Reasons) != 1 || !strings.Contains(d.Reasons[0], "cannot take over the slot: permission denied") {
		t.Errorf("reasons: %q", d.Reasons)
	}
	role.Problem, f.slot.WALStatus = "", "lost"
	look()
	if d.Ready || len(d.Reasons) != 1 || d.Reasons[0] != slotLost {
		t.Errorf("reasons: %q", d.Reasons)
	}

	role, f.slot.WALStatus = Role{Name: RoleJoining, Problem: "connection refused"}, "reserved"
	look()
	if d.Ready || len(d.Reasons) != 1 || !strings.Contains(d.Reasons[0], "cannot join: connection refused") {
		t.Errorf("reasons: %q", d.Reasons)
	}
	role = Role{Name: RoleReader}
	f.stream = cdc.Progress{Connected: true, Handled: 1100, ServerEnd: 1100}
	look()
	if !d.Ready || d.Process.Role != "reader" || !strings.Contains(get(t, f.Handler(), "/metrics").Body.String(), "\nwalhook_reader 1\n") {
		t.Errorf("reader: %q %+v", d.Reasons, d.Process)
	}
}
