package acceptance

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"walhook/internal/harness"
	"walhook/internal/pgtest"
)

// batches is a receiver that wants arrays. It refuses every one that holds a certain record.
type batches struct {
	*httptest.Server
	poison string

	mu       sync.Mutex
	sizes    []int
	times    map[string]int   // how often each event was taken, by id
	numbers  map[int64]string // of what was taken: sequence → id
	versions map[string][]int // record → n, in the order of arrival
	wrong    []string
}

func newBatches(t *testing.T, poison string) *batches {
	b := &batches{poison: poison, times: map[string]int{}, numbers: map[int64]string{}, versions: map[string][]int{}}
	b.Server = httptest.NewServer(http.HandlerFunc(b.receive))
	t.Cleanup(b.Close)
	return b
}

func (b *batches) receive(w http.ResponseWriter, r *http.Request) {
	var elements []struct {
		ID       string
		Epoch    int64
		Sequence int64
		Event    received
	}
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = harness.VerifySignature(r.Header, body)
	}
	if err == nil {
		err = json.Unmarshal(body, &elements)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil || r.Header.Get("Webhook-Batch") != fmt.Sprint(len(elements)) || !strings.HasPrefix(r.Header.Get("Webhook-Id"), "bat_") || r.Header.Get("Idempotency-Key") != r.Header.Get("Webhook-Id") {
		b.wrong = append(b.wrong, fmt.Sprintf("%v: %v %.200s", err, r.Header, body))
	}
	b.sizes = append(b.sizes, len(elements))
	for _, e := range elements {
		if e.Event.Data.ID.String() == b.poison {
			w.WriteHeader(http.StatusUnprocessableEntity)
			return
		}
	}
	for _, e := range elements {
		if was := b.numbers[e.Sequence]; was != "" && was != e.ID || e.Epoch == 0 {
			b.wrong = append(b.wrong, fmt.Sprintf("number %d is %s and %s", e.Sequence, was, e.ID))
		}
		b.numbers[e.Sequence] = e.ID
		b.times[e.ID]++
		var n int
		_ = json.Unmarshal(e.Event.Data.Record["n"], &n) // a wrong one is out of order
		record := e.Event.Data.ID.String()
		b.versions[record] = append(b.versions[record], n)
	}
}

func (b *batches) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.times)
}

// TestBatches writes to 200 records, kills walhook in the middle, and goes on: everything arrives in batches, in each record's order, and nothing twice
// but what was under way when walhook was killed. One record is refused; its events alone are dead.
func TestBatches(t *testing.T) {
	t.Parallel()
	const records, poison = 200, "77"
	super := pgtest.Database(t)
	pgtest.Exec(t, super, fmt.Sprintf("CREATE TABLE item (id int PRIMARY KEY, n int NOT NULL); INSERT INTO item SELECT i, 0 FROM generate_series(1, %d) i", records))
	b := newBatches(t, poison)
	h := harness.Install(t, super, harness.Options{Config: `
[state]
lease = "5s"

[endpoints.erp]
url = "` + b.URL + `"
secrets = ["` + harness.Secret + `"]
concurrency = 4
batch = { size = 50, wait = "200ms" }

[[rules]]
name = "item"
table = "item"
on = ["write"]
endpoint = "erp"
`})
	in := &installation{t: t, super: h.Super, owner: h.Owner, role: h.Role, config: h.Config, listen: h.Listen}
	in.must("setup", "--dsn", in.owner)
	p := in.run()
	write := func(rounds int) { // in transactions of one row to 40
		pgtest.Exec(t, super, fmt.Sprintf(`DO $$ BEGIN
			FOR r IN 1..%d LOOP
				FOR i IN 1..%d BY 40 LOOP UPDATE item SET n = n + 1 WHERE id BETWEEN i AND i + 19; COMMIT; UPDATE item SET n = n + 1 WHERE id BETWEEN i + 20 AND i + 39; COMMIT; END LOOP;
				UPDATE item SET n = n + 1 WHERE id = r; COMMIT;
			END LOOP;
		END $$`, rounds, records))
	}
	const round = records - 1 // events a round, without the record that is refused
	write(5)
	in.wait("the first events", 30*time.Second, func() bool { return b.count() == 5*(round+1) }, p)
	b.mu.Lock()
	for id, n := range b.times {
		if n != 1 {
			t.Errorf("%s arrived %d times, and nothing was restarted", id, n)
		}
	}
	requests := len(b.sizes)
	b.mu.Unlock()
	if requests > 5*(round+1)/5 {
		t.Errorf("%d requests for %d events", requests, 5*(round+1))
	}

	write(10)
	in.wait("some more events", 30*time.Second, func() bool { return b.count() > 8*round }, p)
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Wait()
	p = in.run()
	in.wait("all events", 60*time.Second, func() bool { return b.count() == 15*(round+1) }, p)
	in.wait("the queue to be empty", 30*time.Second, func() bool { _, pending := in.position(); return pending == 0 }, p)
	in.must("deliveries", "verify")

	// Smaller ones from now on.
	text, err := os.ReadFile(in.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(in.config, []byte(strings.Replace(string(text), "size = 50", "size = 5", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	in.must("reload")
	b.mu.Lock()
	before := len(b.sizes)
	b.mu.Unlock()
	write(1)
	in.wait("events after the reload", 30*time.Second, func() bool { return b.count() == 16*(round+1) }, p)
	type letter struct {
		ID, Record, State, Reason string
		Attempts                  int
	}
	var dead []letter
	in.wait("the refused events to be dead", 30*time.Second, func() bool {
		out := in.must("deliveries", "list", "--state", "dead", "--json")
		dead = nil
		if err := json.Unmarshal([]byte(out), &dead); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return len(dead) == 16
	}, p)

	b.mu.Lock()
	defer b.mu.Unlock()
	for _, size := range b.sizes[before:] {
		if size > 5 {
			t.Errorf("after the reload: a batch of %d", size)
		}
	}
	for _, wrong := range b.wrong {
		t.Error(wrong)
	}
	again := 0
	for _, n := range b.times {
		again += n - 1
	}
	for record, versions := range b.versions {
		high := 0
		for _, n := range versions {
			if n > high+1 {
				t.Errorf("record %s: %v", record, versions)
				break
			}
			high = max(high, n)
		}
	}
	for _, size := range b.sizes {
		if size > 50 {
			t.Errorf("a batch of %d", size)
		}
	}

	for _, d := range dead {
		if d.Record != poison || d.Attempts != 1 {
			t.Errorf("dead: %+v", d)
		}
	}
	shown := in.must("deliveries", "show", dead[len(dead)-1].ID) // the oldest
	for _, want := range []string{"number 1 of 1 in batch bat_", "regrouped, 422 Unprocessable Entity, for a batch of ", "dead, 422 Unprocessable Entity"} {
		if !strings.Contains(shown, want) {
			t.Errorf("deliveries show lacks %q:\n%s", want, shown)
		}
	}
	t.Logf("%d events, %d requests, %d events again after the kill", len(b.times), len(b.sizes), again)
}
