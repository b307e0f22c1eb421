package acceptance

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/internal/harness"
	"walhook/internal/pgtest"
)

// counter is a receiver that keeps the numbers of what it has taken, by path. It can be away.
type counter struct {
	*httptest.Server
	mu    sync.Mutex
	away  bool
	got   map[string]map[int64]string // path → number → id
	ids   map[string]int              // how often each was taken
	wrong []string
}

func newCounter(t *testing.T) *counter {
	c := &counter{got: map[string]map[int64]string{}, ids: map[string]int{}}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.away && r.URL.Path != "/live" {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		number, err := strconv.ParseInt(r.Header.Get("Webhook-Sequence"), 10, 64)
		id := r.Header.Get("Webhook-Id")
		if c.got[r.URL.Path] == nil {
			c.got[r.URL.Path] = map[int64]string{}
		}
		if was := c.got[r.URL.Path][number]; err != nil || len(r.Header.Get("Webhook-Epoch")) != len("1795212345678") || was != "" && was != id {
			c.wrong = append(c.wrong, fmt.Sprintf("%s: number %q, epoch %q, id %s after %s", r.URL.Path, r.Header.Get("Webhook-Sequence"), r.Header.Get("Webhook-Epoch"), id, was))
		}
		c.got[r.URL.Path][number] = id
		c.ids[id]++
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *counter) set(away bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away = away
}

func (c *counter) count(path string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.got[path])
}

// queueState is what /status tells of a queue.
type queueState struct {
	Rows    int     `json:"rows"`
	Ratio   float64 `json:"ratio"`
	Alarm   bool    `json:"alarm"`
	Parking bool    `json:"parking"`
	Parked  int64   `json:"parked_total"`
	Dropped int64   `json:"dropped_total"`
}

// queues asks the running process.
func (in *installation) queues() map[string]queueState {
	in.t.Helper()
	out, _ := in.walhook("status", "--json") // its status says whether it is ready
	var doc struct {
		Endpoints []struct {
			Name  string
			Queue queueState
		}
	}
	if err := json.Unmarshal([]byte(out), &doc); err != nil {
		in.t.Fatalf("status: %v\n%s", err, out)
	}
	all := map[string]queueState{}
	for _, e := range doc.Endpoints {
		all[e.Name] = e.Queue
	}
	return all
}

// F5 and E9: two receivers are away, the queue of each reaches its limit, and one that works notices nothing. When they are back, what they have got and what the
// gaps tell make up every number.
func TestQueueLimits(t *testing.T) {
	t.Parallel()
	r := newCounter(t)
	r.set(true)
	super := pgtest.Database(t)
	pgtest.Exec(t, super, "CREATE TABLE thing (id serial PRIMARY KEY, name text)")
	config := ""
	for name, overflow := range map[string]string{"live": "park", "parks": "park", "drops": "drop-oldest"} {
		config += fmt.Sprintf("[endpoints.%s]\nurl = \"%s/%s\"\nqueue = { max_rows = 1000, overflow = %q }\nretry = { initial = \"1s\", factor = 1, attempts = 1000 }\nbreaker = { pause = \"1s\", max_pause = \"1s\" }\n", name, r.URL, name, overflow)
	}
	h := harness.Install(t, super, harness.Options{Config: config + "[[rules]]\nname = \"r\"\ntable = \"thing\"\non = [\"create\"]\nendpoints = [\"live\", \"parks\", \"drops\"]\n"})
	in := &installation{t: t, super: h.Super, owner: h.Owner, role: h.Role, config: h.Config, listen: h.Listen}
	in.must("setup", "--dsn", h.Owner)
	p := in.run()

	insert := func(n int) {
		t.Helper()
		pgtest.Exec(t, super, fmt.Sprintf("INSERT INTO thing (name) SELECT repeat('x', 100) FROM generate_series(1, %d)", n))
	}
	for want := 400; want <= 2400; want += 400 {
		insert(400)
		in.wait("the live receiver", 30*time.Second, func() bool { return r.count("/live") == want }, p)
	}
	var q map[string]queueState
	in.wait("both limits", 30*time.Second, func() bool {
		q = in.queues()
		return q["parks"].Parking && q["parks"].Rows == 1000 && q["parks"].Parked == 1400 && q["drops"].Rows == 1000 && q["drops"].Dropped+q["drops"].Parked == 1400
	}, p)
	if !q["parks"].Alarm || !q["drops"].Alarm || q["live"].Alarm || q["parks"].Ratio != 1 || q["parks"].Dropped != 0 || q["drops"].Dropped == 0 {
		t.Errorf("queues: %+v", q)
	}
	if out, _ := in.walhook("status"); !strings.Contains(out, "parks is 100 % full: 1000 deliveries") || !strings.Contains(out, "new events are NOT queued and will not be sent, since") {
		t.Errorf("status:\n%s", out)
	}

	r.set(false)
	in.wait("the queues to drain", 60*time.Second, func() bool {
		q = in.queues()
		return q["parks"].Rows == 0 && q["drops"].Rows == 0 && !q["parks"].Parking && !q["drops"].Parking
	}, p)
	insert(300)
	in.wait("what came after", 30*time.Second, func() bool {
		q := in.queues()
		return r.count("/live") == 2700 && q["parks"].Rows+q["drops"].Rows+q["live"].Rows == 0 && r.count("/parks") == 1300
	}, p)
	in.stop(p)

	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.wrong) > 0 {
		t.Errorf("%d requests with wrong numbers: %s", len(r.wrong), r.wrong[0])
	}
	for name, gaps := range in.gaps() {
		for number := int64(1); number <= 2700; number++ {
			if _, got := r.got["/"+name][number]; got == gaps[number] {
				t.Errorf("%s: number %d was received: %v, and is in a gap: %v", name, number, got, gaps[number])
			}
		}
		if len(r.got["/"+name])+len(gaps) != 2700 {
			t.Errorf("%s: %d received, %d in gaps", name, len(r.got["/"+name]), len(gaps))
		}
	}
	log := p.log.String()
	if n := strings.Count(log, "queue is at its limit: new events are NOT queued and will not be sent"); n != 1 {
		t.Errorf("%d alarms for one crossing", n)
	}
	for _, want := range []string{"queue is at its limit: the oldest are dropped", "queue is below its limit again", "raise queue.max_rows"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log has no %q", want)
		}
	}
}

// gaps reads the numbers that will never come, by endpoint.
func (in *installation) gaps() map[string]map[int64]bool {
	in.t.Helper()
	all := map[string]map[int64]bool{"live": {}, "parks": {}, "drops": {}}
	rows, err := pgtest.Connect(in.t, in.super).Query(context.Background(), "SELECT endpoint, generate_series(first, last) FROM walhook.gap")
	if err != nil {
		in.t.Fatal(err)
	}
	var name string
	var number int64
	if _, err := pgx.ForEachRow(rows, []any{&name, &number}, func() error {
		if all[name][number] {
			in.t.Errorf("%s: number %d is in two gaps", name, number)
		}
		all[name][number] = true
		return nil
	}); err != nil {
		in.t.Fatal(err)
	}
	return all
}

// F2: the state database's disk is full: walhook says so, loses nothing and goes on by itself.
func TestFullStateDisk(t *testing.T) {
	t.Parallel()
	disk := pgtest.SmallDisk(t, 32)
	stateDB, _ := disk.Database(t)
	r := newCounter(t)
	super := pgtest.Database(t)
	u, err := url.Parse(super)
	if err != nil {
		t.Fatal(err)
	}
	role := "walhook_" + strings.TrimPrefix(u.Path, "/")
	pgtest.Exec(t, super, "CREATE TABLE thing (id serial PRIMARY KEY, name text)")
	h := harness.Install(t, super, harness.Options{Config: fmt.Sprintf("[state]\ndsn = %q\n[endpoints.live]\nurl = \"%s/live\"\n[[rules]]\nname = \"r\"\ntable = \"thing\"\non = [\"create\"]\nendpoint = \"live\"\n",
		disk.Server.DSNFor(role, "", stateDB), r.URL)})
	in := &installation{t: t, super: h.Super, owner: h.Owner, role: h.Role, config: h.Config, listen: h.Listen}
	pgtest.Exec(t, disk.Server.DSN("postgres"), fmt.Sprintf("CREATE ROLE %[2]s LOGIN; ALTER DATABASE %[1]s OWNER TO %[2]s", stateDB, role))
	in.must("setup", "--dsn", h.Owner)
	p := in.run()
	insert := func(n int) {
		t.Helper()
		pgtest.Exec(t, super, fmt.Sprintf("INSERT INTO thing (name) SELECT (SELECT string_agg(md5(random()::text || i || j), '') FROM generate_series(1, 100) j) FROM generate_series(1, %d) i", n))
	}
	insert(50)
	in.wait("deliveries", 30*time.Second, func() bool { return r.count("/live") == 50 }, p)

	disk.Fill(t)
	for range 10 {
		insert(50) // each its own transaction; what fits into pages that are there is still delivered
	}
	in.wait("a word about the disk", 60*time.Second, func() bool {
		resp, err := http.Get("http://" + in.listen + "/readyz")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode == http.StatusServiceUnavailable && strings.Contains(string(body), "No space left on device") &&
			strings.Contains(string(body), "the disk of the state database") && strings.Contains(string(body), stateDB)
	}, p)
	if out, err := in.walhook("status"); err == nil || !strings.Contains(out, "not ready") || !strings.Contains(out, "free space there") {
		t.Errorf("status: %v\n%s", err, out)
	}

	disk.Free(t)
	in.wait("the rest", 60*time.Second, func() bool { return r.count("/live") == 550 }, p)
	in.wait("ready", 30*time.Second, func() bool {
		_, err := in.walhook("status", "--json")
		return err == nil
	}, p)
	in.wait("the end of the queue", 30*time.Second, func() bool { _, pending := in.position(); return pending == 0 }, p)
	r.mu.Lock()
	defer r.mu.Unlock()
	for number := int64(1); number <= 550; number++ {
		if r.got["/live"][number] == "" {
			t.Errorf("number %d was not received", number)
		}
	}
	if len(r.wrong) > 0 || len(r.ids) != 550 {
		t.Errorf("%d ids, wrong numbers: %q", len(r.ids), r.wrong)
	}
}
