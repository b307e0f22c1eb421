package storm

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Process is a walhook that is started again whenever it ends, as systemd would. Two of them are at work: one reads, the other stands by.
type Process struct {
	N int // from 0

	t       testing.TB
	command func() *exec.Cmd
	log     *os.File

	mu     sync.Mutex
	env    map[string]string // beyond the test's own; of the next life
	cmd    *exec.Cmd         // of this life; nil between two
	lives  int
	killed bool // by a signal that the test sent: its end is no news
	held   bool // not to be started again
	over   bool // the world ends
	odd    []string
	last   *os.ProcessState // of the life before this one
	done   chan struct{}    // closed when nothing is going to be started any more
	ended  chan struct{}    // closed when this life is over
}

// newProcess is not started yet.
func newProcess(t testing.TB, dir string, n int, command func() *exec.Cmd) *Process {
	t.Helper()
	log, err := os.Create(filepath.Join(dir, fmt.Sprintf("walhook%d.log", n)))
	if err != nil {
		t.Fatal(err)
	}
	p := &Process{N: n, t: t, command: command, log: log, env: map[string]string{envClock: clockFile(dir, n)}, done: make(chan struct{}), ended: make(chan struct{})}
	close(p.ended)
	return p
}

// start starts it, and keeps it running until the end of the test.
func (p *Process) start() {
	go p.run()
	p.t.Cleanup(func() {
		p.End()
		p.Signal(syscall.SIGKILL)
		<-p.done
		p.log.Close()
	})
}

func (p *Process) run() {
	defer close(p.done)
	for {
		p.mu.Lock()
		switch {
		case p.over:
			p.mu.Unlock()
			return
		case p.held:
			p.mu.Unlock()
			time.Sleep(5 * time.Millisecond)
			continue
		}
		cmd := p.command()
		cmd.Env = os.Environ()
		for k, v := range p.env {
			cmd.Env = append(cmd.Env, k+"="+v)
		}
		p.lives++
		fmt.Fprintf(p.log, "--- life %d, %s\n", p.lives, time.Now().Format(time.RFC3339Nano))
		cmd.Env = append(cmd.Env, fmt.Sprintf("WALHOOK_LIFE=%d.%d", p.N, p.lives))
		cmd.Stdout, cmd.Stderr = p.log, p.log
		p.killed = false
		if err := cmd.Start(); err != nil {
			p.t.Errorf("walhook %d: %v", p.N, err)
			p.over = true
			p.mu.Unlock()
			return
		}
		ended := make(chan struct{})
		p.cmd, p.ended = cmd, ended
		p.mu.Unlock()
		_ = cmd.Wait() // its status is looked at below
		p.mu.Lock()
		if !p.killed {
			p.odd = append(p.odd, fmt.Sprintf("life %d.%d: %s", p.N, p.lives, cmd.ProcessState))
		}
		p.cmd, p.last = nil, cmd.ProcessState
		close(ended)
		p.mu.Unlock()
		time.Sleep(150 * time.Millisecond) // what ends at once again is not to take all of the machine
	}
}

// Signal sends a signal; false if there is no process at the moment. One that ends it is expected to.
func (p *Process) Signal(s syscall.Signal) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return false
	}
	if s != syscall.SIGSTOP && s != syscall.SIGCONT && s != syscall.SIGHUP {
		p.killed = true
	}
	return p.cmd.Process.Signal(s) == nil
}

// Kill ends this life with SIGKILL and waits for it; false if there was none. Another one begins unless the process is held.
func (p *Process) Kill() bool {
	p.mu.Lock()
	ended := p.ended
	p.mu.Unlock()
	if !p.Signal(syscall.SIGKILL) {
		return false
	}
	<-ended
	return true
}

// Hold keeps the next life from beginning (and does not end this one), until Release.
func (p *Process) Hold() { p.hold(true) }

// Release takes Hold back.
func (p *Process) Release() { p.hold(false) }

func (p *Process) hold(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = on
}

// End lets no further life begin.
func (p *Process) End() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
}

// SetEnv is an environment variable of the lives to come; "" takes it away.
func (p *Process) SetEnv(name, value string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if value == "" {
		delete(p.env, name)
		return
	}
	p.env[name] = value
}

// Pid is 0 between two lives.
func (p *Process) Pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// Lives is how many there have been.
func (p *Process) Lives() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lives
}

// Last is how the last life ended; nil before that.
func (p *Process) Last() *os.ProcessState {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}

// Odd are lives that ended though the test had sent no signal, and how.
func (p *Process) Odd() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.odd...)
}

// life is what the process has written in a life, which a line of [Process.Odd] begins with.
func (p *Process) life(odd string) string {
	name, _, _ := strings.Cut(odd, ": ")
	_, n, _ := strings.Cut(name, ".")
	_, text, _ := strings.Cut(p.Log(1<<30), "--- life "+n+", ")
	text, _, _ = strings.Cut(text, "--- life ")
	return text
}

// Log is the end of what the process has written in all its lives.
func (p *Process) Log(bytes int) string {
	text, err := os.ReadFile(p.log.Name())
	if err != nil {
		return err.Error()
	}
	if len(text) > bytes {
		text = text[len(text)-bytes:]
	}
	return strings.ToValidUTF8(string(text), "?")
}
