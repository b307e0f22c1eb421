package bench

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"walhook/internal/harness"
)

// beKeeper is the role that runs walhook, so that it never outlives the tests, however they end: it prints
// walhook's process id, and its exit status when it has ended.
func beKeeper() error {
	log, err := os.Create(os.Getenv("BENCH_LOG"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(os.Getenv("BENCH_PROGRAM"), "run", "--config", os.Getenv("BENCH_CONFIG"), "--log-format", "json")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	fmt.Println(cmd.Process.Pid)
	go func() {
		_ = orphaned()         // whatever ends it
		_ = cmd.Process.Kill() // unless it has ended
	}()
	_ = cmd.Wait() // its status tells
	fmt.Println(cmd.ProcessState.ExitCode())
	return nil
}

// life is a running walhook.
type life struct {
	w      *world
	keeper *child
	pid    int
	log    string        // its path
	ended  chan struct{} // closed when it has ended
	code   int           // then
}

// walhook starts it with a configuration.
func (w *world) walhook(endpoints ...string) *life {
	w.t.Helper()
	dir := w.t.TempDir()
	config := filepath.Join(dir, "walhook.toml")
	text := fmt.Sprintf("[source]\ndsn = %q\nslot = %q\n%s\n[http]\nlisten = %q\n%s", w.in.Role, w.in.Slot, w.source, w.in.Listen, w.tail(endpoints...))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	l := &life{w: w, log: filepath.Join(dir, "log"), ended: make(chan struct{})}
	l.keeper = spawn(w.t, "keeper", "BENCH_PROGRAM="+harness.Binary(w.t, ""), "BENCH_CONFIG="+config, "BENCH_LOG="+l.log)
	decode(w.t, l.keeper.line(), &l.pid)
	out := l.keeper.out
	go func() {
		defer close(l.ended)
		l.code = exitCode(out)
	}()
	return l
}

// exitCode reads the keeper's last line; -1 when there is none.
func exitCode(out *bufio.Reader) (code int) {
	text, err := out.ReadString('\n')
	if err != nil {
		return -1
	}
	if _, err := fmt.Sscan(strings.TrimSpace(text), &code); err != nil {
		return -1
	}
	return code
}

// said is what it logged last.
func (l *life) said() string {
	text, err := os.ReadFile(l.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-4000):])
}

// alive fails the test when walhook has ended.
func (l *life) alive() {
	l.w.t.Helper()
	select {
	case <-l.ended:
		l.w.t.Fatalf("walhook has ended with %d\n%s", l.code, l.said())
	default:
	}
}

// end sends a signal and waits until walhook has ended.
func (l *life) end(s syscall.Signal) {
	l.w.t.Helper()
	l.alive()
	if err := syscall.Kill(l.pid, s); err != nil {
		l.w.t.Fatal(err)
	}
	select {
	case <-l.ended:
	case <-time.After(time.Minute):
		l.w.t.Fatalf("walhook does not stop\n%s", l.said())
	}
	l.keeper.end()
}

// kill ends it without a word.
func (l *life) kill() {
	l.w.t.Helper()
	l.end(syscall.SIGKILL)
}

// stop ends it in order.
func (l *life) stop() {
	l.w.t.Helper()
	l.end(syscall.SIGTERM)
	if l.code != 0 {
		l.w.t.Errorf("walhook ended with %d\n%s", l.code, l.said())
	}
}
