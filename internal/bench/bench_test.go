package bench

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"walhook/internal/harness"
)

// bench is one run.
type bench struct {
	*world
	report  *report
	rounds  int
	events  int // of a backlog
	records int // that they are spread over
	seconds int // of a stream
}

// scenarios by their letters.
var scenarios = []struct {
	letter string
	run    func(*bench)
}{
	{"a", (*bench).backlogFast},
	{"b", (*bench).backlogSlow},
	{"c", (*bench).stream},
	{"d", (*bench).neighbours},
	{"e", (*bench).waiting},
	{"f", (*bench).besideIdle},
	{"g", (*bench).related},
	{"h", (*bench).wal},
	{"j", (*bench).start},
	{"k", (*bench).images},
}

// TestBench is the long form: WALHOOK_BENCH names the scenarios. BENCH_ROUNDS, BENCH_EVENTS, BENCH_RECORDS, BENCH_ROWS and BENCH_SECONDS change its size,
// BENCH_JSON names a file for the figures, and BENCH_RECEIVER=net/http makes the receiver an ordinary one.
func TestBench(t *testing.T) {
	chosen := os.Getenv("WALHOOK_BENCH")
	if chosen == "" {
		t.Skip("takes minutes and a quiet machine: make bench")
	}
	r := &report{t: t, began: time.Now()}
	r.say("building walhook, starting PostgreSQL")
	harness.Binary(t, "")
	b := &bench{world: newWorld(t, true), report: r, rounds: setting(t, "BENCH_ROUNDS", 5), events: setting(t, "BENCH_EVENTS", 50_000),
		records: setting(t, "BENCH_RECORDS", 10_000), seconds: setting(t, "BENCH_SECONDS", 10)}
	r.machine = machine(b.server.Major())
	r.say("%s", r.machine)
	for _, s := range scenarios {
		if strings.Contains(chosen, s.letter) && !t.Failed() {
			s.run(b)
		}
	}
	r.print()
}

// TestShort goes through scenarios with few events, for what is right rather than how fast it is.
func TestShort(t *testing.T) {
	r := &report{t: t, began: time.Now(), quiet: true}
	b := &bench{world: newWorld(t, false), report: r, rounds: 1, events: 400, records: 50, seconds: 1}
	b.backlogFast()
	b.mark()
	b.backlog(b.events, b.records)
	b.drain(b.events, "/slow/10/walhook", slowConcurrency)
	t.Log(r)
}

// setting is a number of the environment.
func setting(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s: %q is not a positive number", name, text)
	}
	return n
}

func decode(t *testing.T, text string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}

// backlogFast empties a backlog into a receiver that answers at once.
func (b *bench) backlogFast() {
	s := b.report.scenario("a", "a backlog of %d single-row transactions over %d records, a receiver that answers at once", b.events, b.records)
	for range b.rounds {
		b.mark()
		b.backlog(b.events, b.records)
		s.add("floor", b.floor(b.events, "/ok/floor", floorWorkers).figures()...)
		s.add("walhook", b.drain(b.events, "/ok/walhook", 32).figures()...)
		s.add("queue table", b.queueTable(b.events)...)
	}
	s.target("share of the floor's rate", s.ratio("walhook", "floor", "webhooks/s"), true, 0.5)
	s.target("CPU in us per delivery, walhook and its backends", s.median("walhook", "CPU"), false, 200)
}
