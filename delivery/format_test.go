package delivery

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"walhook/delivery/payload"
	"walhook/delivery/signature"
	"walhook/rules"
)

func TestFormatConfig(t *testing.T) {
	const url = "url = \"https://erp.example.com\"\n"
	for text, want := range map[string]string{
		`format = "standard"`:    "",
		`format = "cloudevents"`: "",
		"format = \"cloudevents-binary\"\nencoding = \"xml\"\nsource = \"https://odoo.example.com\"":                  "",
		"format = \"raw\"\nencoding = \"form\"\ncontent_type = \"application/x-www-form-urlencoded; charset=utf-8\"":  "",
		"format = \"odoo\"\nredact = [\"email\", \"lines.*.price\"]\ncompress = \"gzip\"":                             "",
		"format = \"template\"\ntemplate_text = '{{.id}}'":                                                            "",
		"format = \"template\"\ntemplate_text = '{{.id}}'\ncontent_type = \"application/json\"\nbatch = { size = 2 }": "",
		"format = \"cloudevents\"\nbatch = { size = 2 }":                                                              "",
		`format = "cloudevent"`:                                               `format "cloudevent" is none of its values`,
		`encoding = "yaml"`:                                                   `encoding "yaml" is none of its values`,
		`compress = "br"`:                                                     `compress "br" is none of its values`,
		"format = \"cloudevents\"\nencoding = \"form\"":                       `encoding format "cloudevents" cannot be written as form a structured CloudEvent is JSON`,
		"format = \"cloudevents-binary\"\nencoding = \"form\"":                "encoding format \"cloudevents-binary\" cannot be written as form",
		"format = \"odoo\"\nencoding = \"xml\"":                               "Odoo posts JSON",
		"format = \"template\"\nencoding = \"xml\"\ntemplate_text = \"x\"":    "a template says itself",
		`format = "template"`:                                                 "format there is no template",
		"format = \"template\"\ntemplate_text = \"x\"\ntemplate = \"y\"":      "template_text template says it already",
		`template_text = "x"`:                                                 `template_text format "standard" uses no template`,
		`template = "x"`:                                                      `template format "standard" uses no template`,
		"format = \"template\"\ntemplate_text = \"a\\n{{if}}\"":               "template_text template_text2 missing value for if",
		`content_type = "json"`:                                               `content_type "json" is no media type`,
		"format = \"cloudevents\"\ncontent_type = \"text/plain\"":             "content_type the media type of a CloudEvent is fixed",
		"content_type = \"text/plain\"\nheaders = { content-type = \"a/b\" }": "content_type headers sets it too",
		"format = \"cloudevents\"\nheaders = { content-type = \"a/b\" }":      "headers.content-type the media type of a CloudEvent is fixed",
		"format = \"cloudevents-binary\"\nheaders = { ce-id = \"1\" }":        "headers.ce-id headers that begin with ce-",
		`source = "/x"`:                                                       `source format "standard" has no source`,
		"format = \"cloudevents\"\nsource = \"a b\"":                          "source it is no URI reference",
		`redact = ["a..b"]`:                                                   `redact[0] "a..b" names no member`,
		"compress = \"gzip\"\nmethod = \"GET\"":                               "compress a GET request has no body to compress",
		"compress = \"gzip\"\nheaders = { Content-Encoding = \"br\" }":        "compress headers sets Content-Encoding too",
		"encoding = \"form\"\ncompress = \"gzip\"\nauth = { type = \"oauth1\", consumer_key = \"k\", consumer_secret = \"s\" }": "compress OAuth 1.0a signs the fields of a form",
		"encoding = \"xml\"\nbatch = { size = 2 }":                              "batch a batch is a JSON array, and the encoding is xml",
		"encoding = \"form\"\nbatch = { size = 2 }":                             "batch a batch is a JSON array, and the encoding is form",
		"format = \"cloudevents-binary\"\nbatch = { size = 2 }":                 "batch a CloudEvent in binary mode",
		"format = \"template\"\ntemplate_text = \"x\"\nbatch = { size = 2 }":    "batch a batch is a JSON array, and bodies are text/plain",
		"format = \"raw\"\ncontent_type = \"text/plain\"\nbatch = { size = 2 }": "batch a batch is a JSON array, and bodies are text/plain",
	} {
		err := decodeEndpoint(t, url+text).Validate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), ":", ""), want)) {
			t.Errorf("%s:\n got %v\nwant %s", text, err, want)
		}
	}
}

// Endpoints of one rule get the same event, each in its format; the same format is written once.
func TestPlanFormats(t *testing.T) {
	endpoints := map[string]EndpointConfig{
		"plain": {}, "binary": {Format: payload.FormatBinary, Source: "/odoo/x"}, "binary2": {Format: payload.FormatBinary, Source: "/odoo/x"}, "events": {Format: payload.FormatCloudEvents},
		"odoo": {Format: payload.FormatOdoo}, "xml": {Format: payload.FormatRaw, Encoding: payload.EncodingXML}, "tmpl": {Format: payload.FormatTemplate, TemplateText: `{{.id}} {{.record.name}}`},
	}
	names := []string{"plain", "binary", "binary2", "events", "odoo", "xml", "tmpl"}
	set := compileRules(t, rules.Config{Name: "all", Model: "sale.order", On: []string{"create"}, Endpoints: names, Fields: []string{"name", "state"}})
	tx := newWAL(t, set, 0).tx(order(2, "S2", "sale"))
	got := planAll(t, NewPlanner(testIdentity, set, endpoints, nil), 0, tx)
	if len(got.Deliveries) != len(names) || len(got.Parked) != 0 {
		t.Fatalf("%d deliveries, parked %v", len(got.Deliveries), got.Parked)
	}
	by := map[string]*Delivery{}
	for _, d := range got.Deliveries {
		by[d.Endpoint] = d
	}
	type summary struct{ Format, Type, Body string }
	for name, want := range map[string]summary{
		"plain":  {"", "application/json", `{"type":"sale.order.create"`},
		"binary": {"cloudevents-binary", "application/json", `{"id":2,"model":"sale.order"`},
		"events": {"cloudevents", "application/cloudevents+json", `{"specversion":"1.0","id":"` + by["events"].ID + `","source":"/walhook","type":"sale.order.create","subject":"sale.order/2"`},
		"odoo":   {"odoo", "application/json", `{"_action": "all(#`},
		"xml":    {"raw+xml", "application/xml", `<?xml version="1.0" encoding="UTF-8"?>` + "\n" + `<record type="object"><name>S2</name><state>sale</state></record>`},
		"tmpl":   {"template", "text/plain; charset=utf-8", by["tmpl"].ID + " S2"},
	} {
		d := by[name]
		if d.Format != want.Format || d.ContentType != want.Type || !strings.HasPrefix(string(d.Body), want.Body) {
			t.Errorf("%s: %s, %s, %s", name, d.Format, d.ContentType, d.Body)
		}
	}
	want := map[string]string{"Ce-Id": by["binary"].ID, "Ce-Source": "/odoo/x", "Ce-Specversion": "1.0", "Ce-Type": "sale.order.create", "Ce-Subject": "sale.order/2", "Ce-Time": commitTime.UTC().Format(time.RFC3339Nano)}
	if diff := cmp.Diff(want, by["binary"].Headers); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
	if &by["binary"].Body[0] != &by["binary2"].Body[0] || by["binary2"].Headers["Ce-Id"] != by["binary2"].ID {
		t.Error("the same format was written twice, or with another's id")
	}
	again := planAll(t, NewPlanner(testIdentity, set, endpoints, nil), 0, tx)
	for i, d := range again.Deliveries { // invariant 6
		if string(d.Body) != string(got.Deliveries[i].Body) || !maps.Equal(d.Headers, got.Deliveries[i].Headers) {
			t.Errorf("%s is written another way when it is read again", d.Endpoint)
		}
	}
}

// A template that fails on an event parks it for all of its endpoints: none gets it now, and all when it is evaluated again (C5).
func TestPlanTemplateFails(t *testing.T) {
	endpoints := map[string]EndpointConfig{"plain": {}, "tmpl": {Format: payload.FormatTemplate, Template: "erp.tmpl", TemplateFile: "\n{{.record.nix}}"}}
	set := compileRules(t, rules.Config{Name: "all", Model: "sale.order", On: []string{"create"}, Endpoints: []string{"plain", "tmpl"}, Fields: []string{"name"}})
	tx := newWAL(t, set, 0).tx(order(2, "S2", "sale"), order(3, "S3", "sale"))
	got := planAll(t, NewPlanner(testIdentity, set, endpoints, nil), 0, tx)
	if len(got.Deliveries) != 0 || len(got.Parked) != 2 || !strings.Contains(got.Parked[0].Error, `endpoints.tmpl: erp.tmpl:2:9: executing "erp.tmpl" at <.record.nix>: map has no entry for key "nix"`) {
		t.Errorf("%d deliveries, %d parked: %s", len(got.Deliveries), len(got.Parked), got.Parked[0].Error)
	}
}

// What goes over the wire: content type, attributes, compressed bytes, and a signature of just these.
func TestSendFormats(t *testing.T) {
	secret, err := signature.ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	var header http.Header
	var raw []byte
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		header = r.Header
		raw, _ = io.ReadAll(r.Body)
	}))
	defer server.Close()
	sender := newSender(t, map[string]EndpointConfig{
		"zip": {URL: URL(server.URL), Secrets: []signature.Secret{secret}, Compress: CompressGzip, MaxBody: 5000}, "plain": {URL: URL(server.URL), Secrets: []signature.Secret{secret}},
	})
	for _, size := range []int{10, leastCompressed - 1, leastCompressed, 4999} {
		d := testDelivery("zip")
		d.Body, d.ContentType, d.Headers = []byte(strings.Repeat("a", size)), "application/xml", map[string]string{"Ce-Id": "1"}
		a := sender.Send(t.Context(), d)
		if a.Status != 200 {
			t.Fatalf("%+v", a)
		}
		body := string(raw)
		if zipped := header.Get("Content-Encoding") == "gzip"; zipped != (size >= leastCompressed) {
			t.Errorf("%d bytes: Content-Encoding %q", size, header.Get("Content-Encoding"))
		} else if zipped {
			r, err := gzip.NewReader(strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			plain, err := io.ReadAll(r)
			if err != nil || len(raw) >= size {
				t.Fatalf("%d bytes: %d on the wire, %v", size, len(raw), err)
			}
			body = string(plain)
		}
		if body != string(d.Body) || header.Get("Content-Type") != "application/xml" || header.Get("Ce-Id") != "1" || a.RequestHeaders["Ce-Id"][0] != "1" {
			t.Errorf("%d bytes: %v", size, header)
		}
		if err := signature.Verify([]signature.Secret{secret}, header, raw, time.Now(), 0); err != nil {
			t.Errorf("%d bytes: the signature is not of what was received: %v", size, err)
		}
	}
	d := testDelivery("zip")
	if d.Body = []byte(strings.Repeat("a", 5001)); sender.Send(t.Context(), d).Class != ClassTooLarge {
		t.Error("max_body is about the body before it is compressed")
	}
}

// redact: an answer that repeats what was sent is masked in the log; what is sent is whole.
func TestSendRedacts(t *testing.T) {
	var got string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = string(body)
		w.Header().Set("X-Echo", "zoe.mueller@example.com")
		_, _ = w.Write(append([]byte("got "), body...))
	}))
	defer server.Close()
	sender := newSender(t, map[string]EndpointConfig{"erp": {URL: URL(server.URL), Redact: []string{"email"}}})
	one, two := testDelivery("erp"), testDelivery("erp")
	one.Body = []byte(`{"type":"x","data":{"record":{"email":"zoe.mueller@example.com","name":"Zoë"}}}`)
	two.Body = []byte(`{"type":"x","data":{"record":{"email":"max.power@example.com","name":"Max"}}}`)
	for _, d := range []*Delivery{one, NewBatch([]*Delivery{one, two})} {
		a := sender.Send(t.Context(), d)
		if got != string(d.Body) {
			t.Errorf("sent %s", got)
		}
		if shown := string(a.ResponseBody) + a.ResponseHeaders["X-Echo"][0]; strings.Contains(shown, "@example.com") || !strings.Contains(shown, "Zoë") {
			t.Errorf("kept %s", shown)
		}
	}
}

// CloudEvents make a batch of their own kind, in which each says its number; what has another kind goes alone.
func TestBatchFormats(t *testing.T) {
	events := []*Delivery{
		{ID: "msg_1", Format: payload.FormatCloudEvents, ContentType: "application/cloudevents+json", Body: []byte(`{"specversion":"1.0","id":"msg_1"}`), Epoch: 1795212345678, Sequence: 41},
		{ID: "msg_2", Format: payload.FormatCloudEvents, ContentType: "application/cloudevents+json", Body: []byte(`{"specversion":"1.0","id":"msg_2"}`), Epoch: 1795212345678, Sequence: 42, Attempts: 1, Late: true},
		{ID: "msg_3", Format: payload.FormatCloudEvents, ContentType: "application/cloudevents+json", Body: []byte(`{"specversion":"1.0","id":"msg_3"}`)},
	}
	b := NewBatch(events)
	const want = `[{"webhooksequence":"41","webhookepoch":"1795212345678","specversion":"1.0","id":"msg_1"},` +
		`{"webhooksequence":"42","webhookepoch":"1795212345678","webhookattempt":2,"webhooklate":true,"specversion":"1.0","id":"msg_2"},{"specversion":"1.0","id":"msg_3"}]`
	if string(b.Body) != want || b.ContentType != "application/cloudevents-batch+json" || b.Batched != 3 || !json.Valid(b.Body) {
		t.Errorf("%s as %s", b.Body, b.ContentType)
	}
	worst := *events[1]
	worst.Epoch, worst.Sequence, worst.Attempts = 1<<63-1, 1<<63-1, 1<<31-2
	if got, bound := len(NewBatch([]*Delivery{&worst}).Body), 2+elementSize(&worst); got > bound {
		t.Errorf("the worst event has %d bytes, more than the bound %d", got, bound)
	}
	form := &Delivery{ID: "msg_4", Format: "raw+form", ContentType: "application/x-www-form-urlencoded", Body: []byte("a=b")}
	binary := &Delivery{ID: "msg_5", Format: payload.FormatBinary, ContentType: "application/json", Body: []byte("{}"), Headers: map[string]string{"Ce-Id": "msg_5"}}
	plain := testDelivery("erp")
	for _, alone := range []*Delivery{form, binary} {
		if NewBatch([]*Delivery{alone}) != alone || companions(alone, alone) || companions(plain, alone) || companions(alone, plain) {
			t.Errorf("%s is put into a batch", alone.Format)
		}
	}
	if companions(plain, events[0]) || !companions(plain, plain) || !companions(events[0], events[1]) {
		t.Error("companions")
	}
}

// After a reload to batches what waits goes as it was made: a form alone, CloudEvents with their like, and the lanes keep their order.
func TestBatchAfterFormatChanged(t *testing.T) {
	type request struct{ media, ids string }
	requests := make(chan request, 20)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var list []struct{ ID string }
		ids := r.Header.Get("Webhook-Id")
		if json.Unmarshal(body, &list) == nil {
			ids = ""
			for _, one := range list {
				ids += one.ID
			}
		}
		requests <- request{r.Header.Get("Content-Type"), ids}
	}))
	defer server.Close()
	endpoints := map[string]EndpointConfig{"erp": {URL: URL(server.URL), Proxy: ProxyOff, Concurrency: 1, Batch: BatchConfig{Size: 10}}}
	sender := newSender(t, endpoints)
	e := NewEngine(nil, sender, endpoints, EngineOptions{})
	o := e.outlets["erp"]
	kinds := map[string]*Delivery{"f": {Format: "raw+form", ContentType: "application/x-www-form-urlencoded", Body: []byte("a=b")}, "c": {Format: "cloudevents", ContentType: "application/cloudevents+json"},
		"j": {ContentType: "application/json", Body: []byte(`{}`)}}
	lane := &heldLane{}
	for i, kind := range []string{"j", "j", "c", "c", "f", "f", "j"} {
		d := *kinds[kind]
		d.ID, d.Endpoint, d.Seq = kind+string(rune('1'+i)), "erp", int64(i+1)
		if kind == "c" {
			d.Body = []byte(`{"specversion":"1.0","id":"` + d.ID + `"}`)
		}
		lane.rest = append(lane.rest, &d)
	}
	var got []request
	for len(lane.rest) > 0 {
		o.mu.Lock()
		shares := o.bundle(lane)
		o.mu.Unlock()
		if len(shares) != 1 || shares[0].n == 0 {
			t.Fatalf("shares %v", shares)
		}
		message := NewBatch(lane.rest[:shares[0].n])
		if a := sender.Send(t.Context(), message); a.Status != 200 {
			t.Fatalf("%+v", a)
		} else if outcomes := decideBatch(&o.cfg, message, lane.rest[:shares[0].n], a, time.Now()); (outcomes[0].Attempt.Batch == "") != (message.Batched == 0) {
			t.Errorf("an attempt of %s says batch %q", message.ID, outcomes[0].Attempt.Batch)
		}
		got = append(got, <-requests)
		lane.rest = lane.rest[shares[0].n:]
	}
	want := []request{{"application/json", "j1j2"}, {"application/cloudevents-batch+json", "c3c4"}, {"application/x-www-form-urlencoded", "f5"}, {"application/x-www-form-urlencoded", "f6"}, {"application/json", "j7"}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(request{})); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// Tests and notices come in the endpoint's format too, and in the standard one where a template is made for records only.
func TestNoticeAndTestFormats(t *testing.T) {
	notice := Notice{Event: NoticeDisabled, Endpoint: "shop", At: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC), Reason: "410 Gone"}
	for _, tc := range []struct {
		c            EndpointConfig
		format, part string
	}{
		{EndpointConfig{}, "", `"type":"walhook.endpoint.disabled"`},
		{EndpointConfig{Format: payload.FormatCloudEvents, Source: "/odoo/x"}, "cloudevents", `"subject":"walhook.endpoint/shop"`},
		{EndpointConfig{Format: payload.FormatTemplate, TemplateText: `{"text": {{json .data.reason}}}`}, "template", `{"text": "410 Gone"}`},
		{EndpointConfig{Format: payload.FormatTemplate, TemplateText: `{{.record.name}}`}, "", `"type":"walhook.endpoint.disabled"`},
		{EndpointConfig{Format: payload.FormatRaw, Encoding: payload.EncodingForm}, "raw+form", "endpoint=shop&reason=410+Gone"},
	} {
		d, err := notice.Delivery(testIdentity, 7, "ops", tc.c)
		if err != nil || d.Format != tc.format || !strings.Contains(string(d.Body), tc.part) {
			t.Errorf("%s: %s, %s, %v", tc.c.Format, d.Format, d.Body, err)
		}
	}
	d, err := NewTest("erp", "", nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	d.Dress(EndpointConfig{Format: payload.FormatBinary}, true)
	if d.Headers["Ce-Type"] != TestEvent || d.Headers["Ce-Id"] != d.ID || !strings.HasPrefix(string(d.Body), `{"test":true`) {
		t.Errorf("%+v %s", d, d.Body)
	}
	if d, err = NewTest("erp", "", []byte("<mine/>"), time.Now()); err != nil {
		t.Fatal(err)
	}
	if d.Dress(EndpointConfig{Encoding: payload.EncodingXML}, false); d.ContentType != "application/xml" || string(d.Body) != "<mine/>" {
		t.Errorf("%+v %s", d, d.Body)
	}
}

// A preview shows the body as it is, and the headers that are true of it; of compression it tells.
func TestPreviewOfCompressed(t *testing.T) {
	c := EndpointConfig{URL: "http://127.0.0.1:1/", Compress: CompressGzip}
	for size, packed := range map[int]bool{leastCompressed - 1: false, leastCompressed: true} {
		d := &Delivery{ID: "msg_1", Endpoint: "e", ContentType: "application/json", Body: bytes.Repeat([]byte("1"), size)}
		p, err := PreviewOf(c, "test", d)
		if err != nil {
			t.Fatal(err)
		}
		if p.Packed > 0 != packed || p.Packed >= int64(size) || len(p.Body) != size || p.Headers["Content-Encoding"] != nil || p.Headers["Content-Type"] == nil {
			t.Errorf("%d bytes: packed %d, body %d, %v", size, p.Packed, len(p.Body), p.Headers)
		}
	}
}
