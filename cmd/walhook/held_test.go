package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"walhook/status"
)

// What waits behind dead letters is told with what lets it go on, wherever endpoints are shown.
func TestHeldLanesAreTold(t *testing.T) {
	held := status.EndpointState{Name: "erp", Pending: 5, HeldLanes: 2}
	const want = "2 lanes wait behind dead letters: walhook deliveries retry --endpoint erp, or discard\n"
	var out bytes.Buffer
	a := &app{stdout: &out}
	for what, show := range map[string]func() error{
		"status": func() error {
			d := &status.Document{At: time.Now(), Endpoints: []status.Endpoint{{EndpointState: held, Configured: true}, {EndpointState: status.EndpointState{Name: "quiet"}, Configured: true, Inactive: true}}}
			return printStatus(&out, d, "")
		},
		"list": func() error { return a.printEndpoints([]status.EndpointLine{{EndpointState: held, Configured: true}}) },
		"show": func() error {
			return a.printEndpoint(&status.EndpointDetail{EndpointLine: status.EndpointLine{EndpointState: held, Configured: true}})
		},
	} {
		out.Reset()
		if err := show(); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s:\n%s", what, out.String())
		}
		if what == "status" && !strings.Contains(out.String(), "quiet (not active) ") {
			t.Errorf("status:\n%s", out.String())
		}
	}
	if got := heldText(&status.EndpointState{Name: "erp", HeldLanes: 1}); !strings.HasPrefix(got, "held: 1 lane waits ") {
		t.Error(got)
	}
	if got := plural(2, "test delivery"); got != "2 test deliveries" {
		t.Error(got)
	}
}
