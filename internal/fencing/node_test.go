package fencing

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"walhook/internal/harness"
)

// node is a process of walhook.
type node struct {
	t      *testing.T
	site   *site
	name   string
	config string
	listen string

	cmd *exec.Cmd
	log *lines
}

// lines collects what a process prints.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start runs the node; env is added to its environment.
func (n *node) start(env ...string) {
	n.t.Helper()
	n.log = &lines{}
	n.cmd = exec.Command(harness.Binary(n.t, tags), "run", "--config", n.config, "--log-format", "json")
	n.cmd.Env = append(os.Environ(), env...)
	n.cmd.Stdout, n.cmd.Stderr = n.log, n.log
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	cmd := n.cmd
	n.t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill() // also one that is stopped
			_ = cmd.Wait()
		}
		if n.t.Failed() {
			n.t.Logf("%s's log:\n%s", n.name, notable(n.log.String()))
		}
	})
}

// notable leaves out the lines about single attempts.
func notable(log string) string {
	var b strings.Builder
	for line := range strings.Lines(log) {
		if !strings.Contains(line, `"message":"attempt"`) {
			b.WriteString(line)
		}
	}
	return b.String()
}

func (n *node) signal(s syscall.Signal) {
	n.t.Helper()
	if err := n.cmd.Process.Signal(s); err != nil {
		n.t.Fatal(err)
	}
}

// kill ends the node without a word.
func (n *node) kill() {
	n.t.Helper()
	n.signal(syscall.SIGKILL)
	_ = n.cmd.Wait() // it was killed
}

// stop ends the node in order.
func (n *node) stop() {
	n.t.Helper()
	n.signal(syscall.SIGTERM)
	if err := n.cmd.Wait(); err != nil {
		n.t.Errorf("%s: %v", n.name, err)
	}
}

// answer is what of /status counts here.
type answer struct {
	Ready   bool     `json:"ready"`
	Reasons []string `json:"reasons"`
	Process struct {
		Role string `json:"role"`
		PID  int    `json:"pid"`
	} `json:"process"`
	Reader *struct {
		PID int `json:"pid"`
	} `json:"reader"`
}

// status asks the node; the zero answer when it gives none.
func (n *node) status() (a answer) {
	client := http.Client{Timeout: time.Second}
	r, err := client.Get("http://" + n.listen + "/status")
	if err != nil {
		return a
	}
	defer r.Body.Close()
	if err := json.NewDecoder(r.Body).Decode(&a); err != nil {
		return answer{}
	}
	return a
}

// becomes waits until the node has a role, and says how long that took.
func (n *node) becomes(role string) time.Duration {
	n.t.Helper()
	began := time.Now()
	until(n.t, n.name+" to become "+role, func() bool { return n.status().Process.Role == role })
	return time.Since(began)
}

// stopped says that the process was stopped by a signal.
func (n *node) stopped() bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.cmd.Process.Pid))
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(after, "T")
}
