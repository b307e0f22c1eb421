package acceptance

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"walhook/internal/harness"
	"walhook/internal/pgtest"
)

// walhook is killed again and again, at random and in the middle of commits, while records change that a rule with debounce watches: what waits
// survives, the last of each record arrives, nothing that was superseded does, and every number is accounted for.
func TestDebounceSurvivesKill(t *testing.T) {
	t.Parallel()
	const records = 25
	super := pgtest.Database(t)
	pgtest.Exec(t, super, fmt.Sprintf("CREATE TABLE item (id int PRIMARY KEY, n int NOT NULL); INSERT INTO item SELECT i, 0 FROM generate_series(1, %d) i", records))
	r := newReceiver(t)
	h := harness.Install(t, super, harness.Options{Tags: "failpoint", Config: strings.ReplaceAll(`
[endpoints.last]
url = "{{receiver}}/last"
secrets = ["`+secret+`"]
[endpoints.each]
url = "{{receiver}}/each"
secrets = ["`+secret+`"]
[[rules]]
name = "last"
table = "item"
on = ["write"]
endpoint = "last"
debounce = "300ms"
debounce_max = "1s"
[[rules]]
name = "each"
table = "item"
on = ["write"]
endpoint = "each"
`, "{{receiver}}", r.URL)})
	h.Must("setup", "--dsn", h.Owner)
	start := func(point string) *process {
		p := &process{cmd: h.Command("run", "--log-format", "json"), log: &strings.Builder{}}
		p.cmd.Env = append(os.Environ(), "WALHOOK_FAILPOINT="+point)
		if point == "" {
			p.cmd.Env = os.Environ()
		}
		p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
		if err := p.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return p
	}
	stop := make(chan struct{})
	written := make(chan int, 1)
	go func() {
		conn := pgtest.Connect(t, super)
		n := 0
		defer func() { written <- n }()
		for {
			select {
			case <-stop:
				return
			case <-time.After(3 * time.Millisecond):
			}
			if _, err := conn.Exec(context.Background(), "UPDATE item SET n = n + 1 WHERE id = $1", 1+rand.IntN(records)); err != nil {
				t.Error(err)
				return
			}
			n++
		}
	}()
	deaths := 0
	for life := range 8 {
		point := ""
		if life%2 == 1 {
			point = fmt.Sprintf("commit-sent:%d", 5+rand.IntN(80))
		}
		p := start(point)
		done := make(chan error, 1)
		go func() { done <- p.cmd.Wait() }()
		select {
		case err := <-done:
			if point == "" {
				t.Fatalf("it ended by itself: %v\n%s", err, last(p.log.String(), 4000))
			}
			deaths++
		case <-time.After(time.Duration(700+rand.IntN(600)) * time.Millisecond):
			_ = p.cmd.Process.Kill()
			<-done
		}
	}
	close(stop)
	changes := <-written
	p := start("")
	conn := pgtest.Connect(t, super)
	ask := func(sql string) (n int) {
		if err := conn.QueryRow(context.Background(), sql).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		left := ask("SELECT (SELECT count(*) FROM walhook.waiting) + (SELECT count(*) FROM walhook.queue)")
		if logged := ask("SELECT count(*) FROM walhook.delivery WHERE rule = 'each'"); left == 0 && logged == changes {
			break
		} else if time.Now().After(end) {
			_ = p.cmd.Process.Kill()
			t.Fatalf("%d wait, %d of %d are logged\n%s", left, logged, changes, last(p.log.String(), 8000))
		}
	}
	if out, err := h.Walhook("deliveries", "verify"); err != nil {
		t.Errorf("deliveries verify: %v\n%s", err, out)
	}
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, last(p.log.String(), 4000))
	}

	superseded := map[string]bool{}
	rows, err := conn.Query(context.Background(), `SELECT d.id FROM walhook.delivery d JOIN walhook.gap g ON g.endpoint = d.endpoint AND g.epoch = d.epoch
		AND d.sequence BETWEEN g.first AND g.last WHERE g.reason = 'superseded'`)
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		superseded[id] = true
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	newest, seen := map[string]int{}, map[string]bool{}
	for _, e := range r.all() {
		n, err := strconv.Atoi(string(e.Data.Record["n"]))
		if err != nil {
			t.Fatal(err)
		}
		key := e.Path + " " + e.Data.ID.String()
		switch {
		case superseded[e.ID]:
			t.Errorf("%s of record %s arrived, and was superseded", e.ID, key)
		case seen[e.ID]: // after a kill
		case n <= newest[key]:
			t.Errorf("%s: %d arrived after %d", key, n, newest[key])
		}
		seen[e.ID] = true
		newest[key] = max(newest[key], n)
	}
	for id := 1; id <= records; id++ {
		want := ask(fmt.Sprintf("SELECT n FROM item WHERE id = %d", id))
		for _, path := range []string{"/last", "/each"} {
			if got := newest[fmt.Sprint(path, " ", id)]; got != want {
				t.Errorf("%s: the last of record %d is %d, want %d", path, id, got, want)
			}
		}
	}
	sent := 0
	for _, e := range r.all() {
		if e.Path == "/last" && seen[e.ID] {
			seen[e.ID] = false
			sent++
		}
	}
	if sent+len(superseded) != changes || len(superseded) == 0 {
		t.Errorf("%d sent and %d superseded of %d changes", sent, len(superseded), changes)
	}
	t.Logf("%d changes, %d sent, %d superseded, %d deaths in a commit", changes, sent, len(superseded), deaths)
}
