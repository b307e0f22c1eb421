package bench

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"walhook/internal/harness"
	"walhook/internal/pgtest"
)

// beStarter is the role that starts walhook, prints after how many microseconds it streams, and ends it in order with its own standard input.
func beStarter() error {
	cmd := exec.Command(os.Getenv("BENCH_PROGRAM"), "run", "--config", os.Getenv("BENCH_CONFIG"), "--log-format", "json")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = cmd.Stdout
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	var said strings.Builder
	lines, streams := bufio.NewScanner(out), false
	for !streams && lines.Scan() {
		streams = strings.Contains(lines.Text(), `"message":"streaming"`)
		said.WriteString(lines.Text() + "\n")
	}
	took := time.Since(began)
	if !streams {
		return fmt.Errorf("walhook has ended: %w\n%s", cmd.Wait(), &said)
	}
	fmt.Println(took.Microseconds(), cmd.Process.Pid)
	go func() {
		_ = orphaned()                          // whatever ends it
		_ = cmd.Process.Signal(syscall.SIGTERM) // unless it has ended
	}()
	for lines.Scan() { // lest it wait for a reader
	}
	return cmd.Wait()
}

// shipped builds the program as `make build` does.
func (b *bench) shipped() string {
	b.t.Helper()
	if path := os.Getenv(harness.EnvBinary); path != "" {
		return path
	}
	path := filepath.Join(b.t.TempDir(), "walhook")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "walhook/cmd/walhook")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.t.Fatalf("build walhook: %v\n%s", err, out)
	}
	return path
}

// start measures how long walhook takes from being executed to streaming, on Odoo 18's own database with every recipe that fits it.
func (b *bench) start() {
	if !pgtest.HasOdoo("18") {
		b.report.say("j: there is no recorded Odoo database (set %s)", pgtest.EnvOdoo)
		return
	}
	program := b.shipped()
	info, err := os.Stat(program)
	if err != nil {
		b.t.Fatal(err)
	}
	w := startWorld(b.t, true)
	pgtest.LoadOdoo(b.t, w.server.DSN(database), "18")
	const same = database + "_same"
	if err := w.super.Close(b.t.Context()); err != nil { // a template must not be in use
		b.t.Fatal(err)
	}
	pgtest.Exec(b.t, w.server.DSN("postgres"), "CREATE DATABASE "+same+" TEMPLATE "+database)
	w.super = pgtest.Connect(b.t, w.server.DSN(database))
	apart, rules := w.installOdoo(database, true)
	within, _ := w.installOdoo(same, false)
	s := b.report.scenario("j", "ms from exec to streaming from the slot, Odoo 18's database (548 tables), %d rules; the program has %.1f MiB", rules, float64(info.Size())/(1<<20))
	for range b.rounds {
		s.add("state apart", w.started(program, apart)...)
		s.add("state in Odoo's database", w.started(program, within)...)
	}
	s.target("ms with the state apart", s.median("state apart", "ms"), false, 300)
	s.target("ms with the state in Odoo's database", s.median("state in Odoo's database", "ms"), false, 300)
}

// installOdoo sets walhook up with every recipe that fits, and returns how many rules these are.
func (w *world) installOdoo(name string, apart bool) (in *harness.Installation, rules int) {
	w.t.Helper()
	config := strings.ReplaceAll(endpoint("erp", "/ok/start", 16), "{{receiver}}", w.addr)
	if apart {
		config = fmt.Sprintf("[state]\ndsn = %q\n%s", w.server.DSNFor("walhook_"+name, "", state), config)
	}
	in = harness.Install(w.t, w.server.DSN(name), harness.Options{Server: w.server, Config: config})
	if apart {
		pgtest.Exec(w.t, w.server.DSN("postgres"), "CREATE DATABASE "+state+" OWNER walhook_"+name)
	}
	in.Must("setup", "--dsn", in.Owner) // grants what recipes are held against
	var all []struct {
		Name string
		Fits bool
	}
	if err := json.Unmarshal([]byte(in.Must("recipes", "list", "--available", "--json")), &all); err != nil {
		w.t.Fatal(err)
	}
	add := []string{"recipes", "add"}
	for _, r := range all {
		if r.Fits {
			add = append(add, r.Name)
			rules++
		}
	}
	in.Must(add...)
	in.Must("setup", "--dsn", in.Owner)
	return in, rules
}

// started is what one start has shown.
func (w *world) started(program string, in *harness.Installation) []figure {
	w.t.Helper()
	c := spawn(w.t, "starter", "BENCH_PROGRAM="+program, "BENCH_CONFIG="+in.Config)
	var us float64
	var pid int
	if _, err := fmt.Sscan(c.line(), &us, &pid); err != nil {
		w.t.Fatal(err)
	}
	cpu, _ := cpuOf(pid)
	_, peak := memoryOf(pid)
	if n := w.number(w.super, "SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1 AND active", in.Slot); n != 1 {
		w.t.Error("it said that it streams, and nobody streams from the slot")
	}
	c.end()
	return []figure{{"ms", us / 1000}, {"CPU ms", cpu * 1000}, {"peak MiB", peak}}
}
