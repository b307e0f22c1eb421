package receivers

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"walhook/delivery"
	"walhook/delivery/signature"
)

// The programs of docs/receivers.md are started as they stand there, and get what walhook sends.
func TestReceivers(t *testing.T) {
	files, _ := page(t)
	for _, l := range languages() {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			testReceiver(t, l, files)
		})
	}
}

func secret(t *testing.T, text string) signature.Secret {
	t.Helper()
	s, err := signature.ParseSecret(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func testReceiver(t *testing.T, l language, files map[string]string) {
	const older, newer, foreign, plain = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "correct-horse-battery-staple", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "a plain old hmac secret"
	publicKey, privateKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	known := []string{older, newer}
	if l.public() {
		known = append(known, "whpk_"+base64.StdEncoding.EncodeToString(publicKey))
	} else {
		t.Logf("NOT TESTED: ed25519 in %s, which lacks its package here", l.name)
	}
	p := start(t, l, files, known, plain)

	signed := func(secrets ...string) (c delivery.EndpointConfig) {
		for _, s := range secrets {
			c.Secrets = append(c.Secrets, secret(t, s))
		}
		return c
	}
	private := "whsk_" + base64.StdEncoding.EncodeToString(privateKey.Seed())
	hmac := delivery.EndpointConfig{HMAC: delivery.HMAC{Secrets: []delivery.Sensitive{delivery.NewSensitive("another"), delivery.NewSensitive(plain)}, Prefix: "sha256=", Signs: "{timestamp}.{body}"}}
	foreignHMAC := delivery.EndpointConfig{HMAC: delivery.HMAC{Secrets: []delivery.Sensitive{delivery.NewSensitive("another")}, Prefix: "sha256=", Signs: "{timestamp}.{body}"}}

	var want []string
	n := int64(0)
	fresh := func() *delivery.Delivery {
		n++
		return event(fmt.Sprintf("msg_%032d", n), n)
	}
	taken := func(d *delivery.Delivery) { want = append(want, d.ID+" sale.order.confirmed") }
	expect := func(what string, status int, a *delivery.Attempt) {
		t.Helper()
		if a.Status != status {
			t.Errorf("%s: answered %d (%s), want %d", what, a.Status, a.Error, status)
		}
	}

	for what, c := range map[string]delivery.EndpointConfig{
		"one secret": signed(older), "the other secret": signed(newer), "rotation": signed(foreign, newer), "rotation, the other way round": signed(newer, foreign), "hmac header": hmac,
	} {
		d := fresh()
		taken(d)
		expect(what, http.StatusNoContent, send(t, p.url, c, d))
		d.Attempts++
		expect(what+", again", http.StatusNoContent, send(t, p.url, c, d))
	}
	if l.public() {
		d := fresh()
		taken(d)
		expect("ed25519", http.StatusNoContent, send(t, p.url, signed(private), d))
		other := make([]byte, ed25519.SeedSize)
		expect("ed25519 by somebody else", http.StatusUnauthorized, send(t, p.url, signed("whsk_"+base64.StdEncoding.EncodeToString(other)), fresh()))
	}
	expect("a foreign secret", http.StatusUnauthorized, send(t, p.url, signed(foreign), fresh()))
	expect("a foreign hmac secret", http.StatusUnauthorized, send(t, p.url, foreignHMAC, fresh()))
	expect("no signature", http.StatusUnauthorized, send(t, p.url, delivery.EndpointConfig{}, fresh()))

	changed := newRecorder(t)
	changed.to = p.url
	for what, change := range map[string]func(h http.Header, body []byte) []byte{
		"a changed body":      func(_ http.Header, b []byte) []byte { b[len(b)-3]++; return b },
		"a body written anew": func(_ http.Header, b []byte) []byte { return append(b, '\n') },
		"a changed id":        func(h http.Header, b []byte) []byte { h.Set("Webhook-Id", "msg_x"); return b },
		"no id":               func(h http.Header, b []byte) []byte { h.Del("Webhook-Id"); return b },
		"no timestamp":        func(h http.Header, b []byte) []byte { h.Del("Webhook-Timestamp"); return b },
		"a changed timestamp": func(h http.Header, b []byte) []byte {
			h.Set("Webhook-Timestamp", strconv.FormatInt(time.Now().Unix()+60, 10))
			return b
		},
		"a timestamp of no sort": func(h http.Header, b []byte) []byte { h.Set("Webhook-Timestamp", "yesterday"); return b },
		"an empty signature":     func(h http.Header, b []byte) []byte { h.Set("Webhook-Signature", "v1,"); return b },
		"no base64":              func(h http.Header, b []byte) []byte { h.Set("Webhook-Signature", "v1,*** v1a v2,x"); return b },
	} {
		changed.change = change
		expect(what, http.StatusUnauthorized, changed.send(t, signed(older), fresh()))
	}
	changed.change = func(h http.Header, b []byte) []byte {
		h.Set("X-Webhook-Signature", "sha256=00")
		b[len(b)-3]++
		return b
	}
	expect("a changed body with an hmac header", http.StatusUnauthorized, changed.send(t, hmac, fresh()))

	// Genuine, and recorded: too old, or of a clock that is wrong.
	for what, off := range map[string]time.Duration{"an old request": -6 * time.Minute, "one from the future": 6 * time.Minute} {
		d, at := fresh(), time.Now().Add(off)
		h := http.Header{"Webhook-Id": {d.ID}, "Webhook-Timestamp": {signature.Timestamp(at)}, "Webhook-Signature": {signature.Sign(signed(older).Secrets, d.ID, at, d.Body)}}
		if got := post(t, p.url, h, d.Body); got != http.StatusUnauthorized {
			t.Errorf("%s: answered %d", what, got)
		}
	}

	// A test is verified, answered, and no event: its id is not taken, nor is anything printed.
	for range 2 {
		test, err := delivery.NewTest("erp", "", nil, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		for s, status := range map[string]int{older: http.StatusNoContent, foreign: http.StatusUnauthorized} {
			c := signed(s)
			c.Headers = map[string]delivery.Sensitive{"Webhook-Test": delivery.NewSensitive("true")} // as send-test sets it
			expect("a test", status, send(t, p.url, c, test))
		}
	}

	// Two of one id at the same time.
	d := fresh()
	taken(d)
	var both sync.WaitGroup
	for range 4 {
		both.Go(func() { expect("at the same time", http.StatusNoContent, send(t, p.url, signed(older), d)) })
	}
	both.Wait()

	// A batch, of which one event has come before.
	one, two := fresh(), fresh()
	taken(one)
	taken(two)
	expect("a batch", http.StatusNoContent, send(t, p.url, signed(older), delivery.NewBatch([]*delivery.Delivery{d, one, two})))
	expect("the batch again", http.StatusNoContent, send(t, p.url, signed(older), delivery.NewBatch([]*delivery.Delivery{d, one, two})))

	// What is no event is refused; a batch with it is refused whole, and the half without it is taken.
	bad := fresh()
	bad.Body = []byte(`{"no":"type"}`)
	three, four := fresh(), fresh()
	expect("no event", http.StatusUnprocessableEntity, send(t, p.url, signed(older), bad))
	expect("a batch with it", http.StatusUnprocessableEntity, send(t, p.url, signed(older), delivery.NewBatch([]*delivery.Delivery{three, bad, four})))
	taken(three)
	taken(four)
	expect("the rest of the batch", http.StatusNoContent, send(t, p.url, signed(older), delivery.NewBatch([]*delivery.Delivery{three, four})))
	p.took(t, want)
}
