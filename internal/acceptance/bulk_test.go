package acceptance

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/internal/harness"
	"walhook/internal/pgtest"
)

// envBulk is how many deliveries TestBulk works on in place of 2,500.
const envBulk = "WALHOOK_BULK"

// ledger is a receiver that refuses everything until it is told to take it, and remembers in which order it took what.
type ledger struct {
	*httptest.Server
	mu    sync.Mutex
	takes bool
	ids   map[string]int64   // the number of each id
	times map[string]int     // how often each was taken
	order map[string][]int64 // numbers by record, as taken
	late  int
	wrong []string
	total int
}

func newLedger(t *testing.T) *ledger {
	l := &ledger{ids: map[string]int64{}, times: map[string]int{}, order: map[string][]int64{}}
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Data struct {
				ID json.Number `json:"id"`
			} `json:"data"`
		}
		text, err := io.ReadAll(r.Body)
		if err == nil {
			err = json.Unmarshal(text, &body)
		}
		id := r.Header.Get("Webhook-Id")
		number, e := strconv.ParseInt(r.Header.Get("Webhook-Sequence"), 10, 64)
		l.mu.Lock()
		defer l.mu.Unlock()
		if !l.takes {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if was, known := l.ids[id]; err != nil || e != nil || known && was != number {
			l.wrong = append(l.wrong, fmt.Sprintf("%s: number %d after %d: %v %v", id, number, was, err, e))
		}
		l.ids[id] = number
		l.times[id]++
		l.total++
		l.order[body.Data.ID.String()] = append(l.order[body.Data.ID.String()], number)
		if r.Header.Get("Webhook-Late") == "true" {
			l.late++
		}
	}))
	t.Cleanup(l.Close)
	return l
}

func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}

// bulkResult is what a bulk command prints with --json.
type bulkResult struct {
	Selected, Done, After, Before int64
	Preview                       bool
}

// bulk runs a command to its end.
func (in *installation) bulk(args ...string) (r bulkResult) {
	in.t.Helper()
	if err := json.Unmarshal([]byte(in.must(append(args, "--json")...)), &r); err != nil {
		in.t.Fatal(err)
	}
	return r
}

// interrupted runs a command that comes to a stop at a lane that somebody holds, and interrupts it there, once it has done something.
func (in *installation) interrupted(lane string, working func() bool, p *process, args ...string) (r bulkResult) {
	in.t.Helper()
	ctx := context.Background()
	conn := pgtest.Connect(in.t, in.super)
	defer conn.Close(ctx)
	tx, err := conn.Begin(ctx)
	if err != nil {
		in.t.Fatal(err)
	}
	if _, err := tx.Exec(ctx, "INSERT INTO walhook.lane (endpoint, key, due) VALUES ('erp', $1, now())", lane); err != nil {
		in.t.Fatal(err)
	}
	cmd := exec.Command(binary(in.t), append(args, "--json", "--config", in.config)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		in.t.Fatal(err)
	}
	in.wait("the command to wait for the lane", 30*time.Second, func() bool { return in.blocked() && working() }, p)
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		in.t.Fatal(err)
	}
	err = cmd.Wait()
	if e := tx.Rollback(ctx); e != nil {
		in.t.Fatal(e)
	}
	if cmd.ProcessState.ExitCode() != 1 || !bytes.Contains(errs.Bytes(), []byte("interrupted")) || !bytes.Contains(errs.Bytes(), []byte("hint: ")) {
		in.t.Fatalf("%v\n%s%s", err, out.String(), errs.String())
	}
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		in.t.Fatalf("%v: %s", err, out.String())
	}
	return r
}

// blocked says whether a session of walhook waits for another transaction.
func (in *installation) blocked() bool {
	in.t.Helper()
	return in.number("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'walhook%' AND wait_event = 'transactionid'") > 0
}

func (in *installation) number(sql string) (n int64) {
	in.t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, in.super)
	if err != nil {
		in.t.Fatal(err)
	}
	defer conn.Close(ctx)
	if err := conn.QueryRow(ctx, sql).Scan(&n); err != nil {
		in.t.Fatal(err)
	}
	return n
}

// TestBulk is E4 at scale: thousands of dead letters are retried while walhook runs, then everything that was delivered is replayed. Either command is interrupted
// and begun again. Every delivery arrives once for each, under its id and number, in the order of its record.
func TestBulk(t *testing.T) {
	t.Parallel()
	n := 2_500
	if text := os.Getenv(envBulk); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil || n < 2_500 {
			t.Fatalf("%s=%q: want at least 2500", envBulk, text)
		}
	}
	const rounds = 5
	records := n / rounds
	super := pgtest.Database(t)
	pgtest.Exec(t, super, "CREATE TABLE thing (id int PRIMARY KEY, n int)")
	l := newLedger(t)
	h := harness.Install(t, super, harness.Options{Config: fmt.Sprintf("[endpoints.erp]\nurl = %q\n[[rules]]\nname = \"r\"\ntable = \"thing\"\non = [\"create\", \"write\"]\nendpoint = \"erp\"\n", l.URL)})
	in := &installation{t: t, super: h.Super, owner: h.Owner, role: h.Role, config: h.Config, listen: h.Listen}
	in.must("setup", "--dsn", h.Owner)
	p := in.run()
	pgtest.Exec(t, super, fmt.Sprintf("INSERT INTO thing SELECT i, 0 FROM generate_series(1, %d) i", records))
	for round := 1; round < rounds; round++ {
		pgtest.Exec(t, super, "UPDATE thing SET n = n + 1")
		if round == 2 {
			pgtest.Exec(t, super, "INSERT INTO thing VALUES (0, 0)") // behind the first thousands
		}
	}
	total := int64(records*rounds + rounds - 2)
	dead := func() int64 { return in.number("SELECT count(*) FROM walhook.dead_letter") }
	in.wait("everything to die", 2*time.Minute, func() bool { return dead() == total }, p)
	if r := in.bulk("deliveries", "retry", "--class", "status_4xx", "--preview"); r.Selected != total || !r.Preview || r.Done != 0 {
		t.Fatalf("preview: %+v", r)
	}

	l.mu.Lock()
	l.takes = true
	l.mu.Unlock()
	began := time.Now()
	first := in.interrupted("thing/0", func() bool { return dead() < total }, p, "deliveries", "retry", "--endpoint", "erp", "--yes")
	if left := dead(); first.Done == 0 || first.Done != total-left {
		t.Fatalf("interrupted: %+v, %d left", first, left)
	}
	if r := in.bulk("deliveries", "retry", "--endpoint", "erp", "--yes"); r.Done != total-first.Done {
		t.Fatalf("the rest: %+v after %+v", r, first)
	}
	in.wait("all of them", 2*time.Minute, func() bool { return int64(l.count()) >= total }, p)
	in.drained(p, 30*time.Second)
	t.Logf("%d dead letters: retried in two parts and delivered in %s", total, time.Since(began).Round(time.Millisecond))
	l.check(t, total, 1)

	began = time.Now()
	first = in.interrupted("thing/0", func() bool { return in.number("SELECT count(*) FROM walhook.delivery") > 2*total }, p, "replay", "--all", "--yes")
	if first.Done == 0 || first.After == 0 || first.Before == 0 || first.Done >= total {
		t.Fatalf("interrupted: %+v", first)
	}
	in.wait("the first part", 2*time.Minute, func() bool { return int64(l.count()) == total+first.Done }, p) // what was replayed is delivered, and not met again
	if r := in.bulk("replay", "--all", "--yes", "--after", strconv.FormatInt(first.After, 10), "--before", strconv.FormatInt(first.Before, 10)); r.Done != total-first.Done {
		t.Fatalf("the rest: %+v after %+v", r, first)
	}
	in.wait("all of them again", 2*time.Minute, func() bool { return int64(l.count()) >= 2*total }, p)
	in.drained(p, 30*time.Second)
	t.Logf("%d deliveries: replayed in two parts and delivered in %s", total, time.Since(began).Round(time.Millisecond))
	l.check(t, total, 2)
	in.must("deliveries", "verify")
}

// check wants every delivery taken so many times, marked late, in the order of its record.
func (l *ledger) check(t *testing.T, total int64, times int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if int64(len(l.ids)) != total || l.total != times*int(total) || l.late != l.total {
		t.Errorf("%d ids were taken %d times, %d of them marked late; want %d ids, %d times each", len(l.ids), l.total, l.late, total, times)
	}
	for id, n := range l.times {
		if n != times {
			t.Errorf("%s was taken %d times, want %d", id, n, times)
			break
		}
	}
	for record, numbers := range l.order {
		each := len(numbers) / times
		for i := range times {
			if !slices.IsSorted(numbers[i*each : (i+1)*each]) {
				t.Errorf("record %s: numbers %d", record, numbers)
				return
			}
		}
	}
	for _, w := range l.wrong[:min(len(l.wrong), 5)] {
		t.Error(w)
	}
}
