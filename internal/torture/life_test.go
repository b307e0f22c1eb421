package torture

import (
	"bytes"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"walhook/internal/failpoint"
)

// life is a process of walhook.
type life struct {
	n    int
	cmd  *exec.Cmd
	log  *tail
	done chan struct{} // closed when the process is gone
	err  error         // of Wait, after done
}

// begin starts a process.
func begin(t *testing.T, cmd *exec.Cmd, n int, env []string) *life {
	t.Helper()
	l := &life{n: n, cmd: cmd, log: &tail{}, done: make(chan struct{})}
	cmd.Env, cmd.Stdout, cmd.Stderr = env, l.log, l.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(l.done)
		l.err = cmd.Wait()
	}()
	t.Cleanup(l.kill)
	return l
}

// kill ends the process with SIGKILL, if it still runs, and waits until it is gone.
func (l *life) kill() {
	_ = l.cmd.Process.Kill() // its only failure is that there is nothing to kill
	<-l.done
}

// wait waits for the end.
func (l *life) wait(limit time.Duration) (ended bool) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-l.done:
		return true
	case <-timer.C:
		return false
	}
}

// signal is what ended the process, which is gone; 0 if it ended by itself.
func (l *life) signal() syscall.Signal {
	status, ok := l.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() {
		return 0
	}
	return status.Signal()
}

// hit says at which fail point the process ended; "" if at none.
func (l *life) hit() failpoint.Point {
	text := l.log.String()
	i := strings.LastIndex(text, "failpoint ")
	if i < 0 || i > 0 && text[i-1] != '\n' {
		return ""
	}
	name, _, _ := strings.Cut(text[i+len("failpoint "):], "\n")
	return failpoint.Point(name)
}

// tail keeps the end of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (w *tail) Write(p []byte) (int, error) {
	const keep = 32 << 10
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf.Write(p)
	if w.buf.Len() > 2*keep {
		w.buf.Next(w.buf.Len() - keep)
	}
	return len(p), nil
}

func (w *tail) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}
