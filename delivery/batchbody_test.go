package delivery

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"walhook/delivery/signature"
)

func TestBatchBody(t *testing.T) {
	list := []*Delivery{
		{ID: "msg_1", Endpoint: "erp", Body: []byte(`{"type":"a","n":1.10}`), ContentType: "application/json", Epoch: 1795212345678, Sequence: 41},
		{ID: "msg_2", Endpoint: "erp", Body: []byte(`{ "type" : "b" }`), ContentType: "application/problem+json; charset=utf-8", Epoch: 1795212345678, Sequence: 42, Attempts: 2, Late: true},
		{ID: "msg_3", Endpoint: "erp", Body: []byte(`"a"`)},
	}
	d := NewBatch(list)
	const want = `[{"id":"msg_1","epoch":1795212345678,"sequence":41,"event":{"type":"a","n":1.10}},` +
		`{"id":"msg_2","epoch":1795212345678,"sequence":42,"attempt":3,"late":true,"event":{ "type" : "b" }},` +
		`{"id":"msg_3","event":"a"}]`
	if diff := cmp.Diff(want, string(d.Body)); diff != "" || !json.Valid(d.Body) {
		t.Errorf("body (-want +got):\n%s", diff)
	}
	// Receivers deduplicate requests by the id for ever: it never changes.
	if d.ID != "bat_9d3174fff1bdccaafe7674abdd1bbe6b" || d.Batched != 3 || d.ContentType != "application/json" || d.Endpoint != "erp" {
		t.Errorf("batch %+v", d)
	}
	if other := NewBatch(list[:2]); other.ID == d.ID {
		t.Error("another batch has the same id")
	}
	if other := NewBatch([]*Delivery{{ID: "msg_1msg_2", ContentType: "application/json", Body: []byte("{}")}}); other.ID == NewBatch(list[:2]).ID {
		t.Error("ids run into one another")
	}
	size := 2
	for _, d := range list {
		size += elementSize(d)
	}
	if len(d.Body) > size {
		t.Errorf("the body has %d bytes, more than the bound %d", len(d.Body), size)
	}
	worst := &Delivery{ID: "i", Body: []byte(strings.Repeat("\x01", 1000)), ContentType: "application/json", Epoch: 1<<63 - 1, Sequence: 1<<63 - 1, Attempts: 1<<31 - 2, Late: true}
	if got, bound := len(NewBatch([]*Delivery{worst}).Body), 2+elementSize(worst); got > bound {
		t.Errorf("the worst body has %d bytes, more than the bound %d", got, bound)
	}
}

// A batch is one signed request, with an id and a key of its own.
func TestBatchRequest(t *testing.T) {
	secret, err := signature.ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	var header http.Header
	var body []byte
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header = r.Header
		body, _ = io.ReadAll(r.Body)
	}))
	defer server.Close()
	sender, err := NewHTTPSender(map[string]EndpointConfig{"erp": {URL: URL(server.URL), Secrets: []signature.Secret{secret}, MaxBody: 400}}, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	list := []*Delivery{
		{ID: "msg_1", Endpoint: "erp", Body: []byte(`{"n":1}`), Epoch: 5, Sequence: 1, Attempts: 3},
		{ID: "msg_2", Endpoint: "erp", Body: []byte(`{"n":2}`), Epoch: 5, Sequence: 2},
	}
	d := NewBatch(list)
	if a := sender.Send(context.Background(), d); a.Status != 200 || a.Error != "" {
		t.Fatalf("attempt: %+v", a)
	}
	if err := signature.Verify([]signature.Secret{secret}, header, body, time.Now(), 0); err != nil {
		t.Error(err)
	}
	want := map[string]string{"Webhook-Id": d.ID, "Idempotency-Key": d.ID, "Webhook-Batch": "2", "Content-Type": "application/json", "Webhook-Attempt": "", "Webhook-Sequence": "", "Webhook-Epoch": ""}
	for name, value := range want {
		if got := header.Get(name); got != value {
			t.Errorf("%s: %q, want %q", name, got, value)
		}
	}
	if string(body) != string(d.Body) {
		t.Errorf("body %s, want %s", body, d.Body)
	}
	list[0].Body = []byte(`"` + strings.Repeat("x", 400) + `"`)
	if a := sender.Send(context.Background(), NewBatch(list)); a.Class != ClassTooLarge || !divides(a) {
		t.Errorf("a batch larger than max_body: %+v", a)
	}
}

// What a delivery may have in a request of its own it may have in a batch of one: the envelope makes none dead.
func TestBatchOfOneMaxBody(t *testing.T) {
	got := make(chan int, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var elements []struct{ Event json.RawMessage }
		if err := json.NewDecoder(r.Body).Decode(&elements); err != nil || len(elements) != 1 {
			t.Errorf("%d elements: %v", len(elements), err)
			return
		}
		got <- len(elements[0].Event)
	}))
	defer server.Close()
	const limit = 10000
	sender := newSender(t, map[string]EndpointConfig{"erp": {URL: URL(server.URL), MaxBody: limit}})
	for contentType, format := range map[string]string{"application/json": "", "application/cloudevents+json": "cloudevents"} {
		d := testDelivery("erp")
		d.ContentType, d.Format, d.Body = contentType, format, []byte(`{"event":`+strings.Repeat("1", limit-10)+`}`)
		if a := sender.Send(t.Context(), NewBatch([]*Delivery{d})); a.Status != 200 {
			t.Fatalf("%d bytes of %s: %+v", len(d.Body), contentType, a)
		}
		if n := <-got; n < len(d.Body)-10 {
			t.Errorf("%s: %d of %d bytes came", contentType, n, len(d.Body))
		}
		d.Body = []byte(`{"event":` + strings.Repeat("1", limit) + `}`)
		if a := sender.Send(t.Context(), NewBatch([]*Delivery{d})); a.Class != ClassTooLarge {
			t.Errorf("%d bytes of %s: %+v", len(d.Body), contentType, a)
		}
	}
}

func TestBatchConfig(t *testing.T) {
	const url = "url = \"https://erp.example.com\"\n"
	for name, tc := range map[string]struct {
		toml string
		want string // of the error; "" is none
	}{
		"size alone":           {"batch = { size = 100 }", ""},
		"all":                  {`batch = { size = 1000, wait = "5m", bytes = "1MiB" }`, ""},
		"one":                  {"batch = { size = 1 }", ""},
		"no size":              {`batch = { wait = "2s" }`, "batch.size a batch needs a size"},
		"negative size":        {"batch = { size = -1 }", "batch.size -1 is out of range"},
		"too many":             {"batch = { size = 1001 }", "batch.size 1001 is out of range"},
		"negative wait":        {`batch = { size = 2, wait = "-1s" }`, "batch.wait -1s is out of range"},
		"too long":             {`batch = { size = 2, wait = "6m" }`, "batch.wait 6m is out of range"},
		"larger than max_body": {"max_body = 1000\nbatch = { size = 2, bytes = \"1KiB\" }", "batch.bytes 1KiB is more than max_body, 1000"},
		"default within it":    {"max_body = 1000\nbatch = { size = 2 }", ""},
		"of GET":               {"method = \"GET\"\nbatch = { size = 2 }", "batch a GET request has no body"},
		"header of its own":    {"headers = { webhook-batch = \"1\" }", "headers.webhook-batch this header cannot be configured"},
	} {
		t.Run(name, func(t *testing.T) {
			err := decodeEndpoint(t, url+tc.toml).Validate()
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), ":", ""), tc.want)) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
	c := decodeEndpoint(t, url+"batch = { size = 100 }").WithDefaults()
	if c.Batch.Bytes != 256<<10 || c.Batch.Wait != 0 {
		t.Errorf("defaults: %+v", c.Batch)
	}
	if c := (EndpointConfig{}).WithDefaults(); c.Batch != (BatchConfig{}) {
		t.Errorf("defaults without a batch: %+v", c.Batch)
	}
}
