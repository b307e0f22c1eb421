package bench

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// ticks is how many units of CPU time in /proc/PID/stat are a second: USER_HZ, 100 wherever Linux runs Go.
const ticks = 100

// meter adds up the CPU time of a server's processes by whom they serve, those that end included.
type meter struct {
	postmaster int
	roles      []string // that are told apart

	mu   sync.Mutex
	seen map[string]*backend // by pid and start
	end  chan struct{}
	done sync.WaitGroup
}

// backend is a process of the server.
type backend struct {
	role string
	cpu  float64 // seconds so far
}

// newMeter watches a server until the end of the test.
func newMeter(t *testing.T, dataDir string, roles ...string) *meter {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dataDir, "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	m := &meter{postmaster: pid, roles: roles, seen: map[string]*backend{}, end: make(chan struct{})}
	m.done.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-m.end:
				return
			case <-tick.C:
				m.sample()
			}
		}
	})
	t.Cleanup(func() {
		close(m.end)
		m.done.Wait()
	})
	return m
}

// sample looks at all processes once.
func (m *meter) sample() {
	m.mu.Lock()
	defer m.mu.Unlock()
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", m.postmaster, m.postmaster))
	if err != nil {
		return
	}
	for pid := range strings.FieldsSeq(string(children)) {
		n, err := strconv.Atoi(pid)
		if err != nil {
			continue
		}
		cpu, start := cpuOf(n)
		if start == "" {
			continue
		}
		b := m.seen[pid+"/"+start]
		if b == nil {
			b = &backend{}
			m.seen[pid+"/"+start] = b
		}
		b.cpu = cpu
		title, err := os.ReadFile("/proc/" + pid + "/cmdline")
		if err != nil || b.role != "" {
			continue
		}
		for _, role := range m.roles {
			if bytes.Contains(title, []byte(" "+role+" ")) {
				b.role = role
			}
		}
	}
}

// of is the CPU time of the server's processes so far: of those that serve a role, and of those that serve nobody, which write
// behind and clean up for all.
func (m *meter) of(role string) (serving, background float64) {
	m.sample()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range m.seen {
		switch b.role {
		case role:
			serving += b.cpu
		case "":
			background += b.cpu
		}
	}
	return serving, background
}

// cpuOf is the CPU time of a process, in seconds, and when it was started; nothing of one that has ended.
func cpuOf(pid int) (seconds float64, start string) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, ""
	}
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(f) < 20 {
		return 0, ""
	}
	for _, n := range f[11:13] {
		v, _ := strconv.ParseFloat(n, 64) // the kernel writes numbers
		seconds += v / ticks
	}
	return seconds, f[19]
}

// memoryOf is what a process has resident, now and at most so far, in MiB.
func memoryOf(pid int) (now, peak float64) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		kb, _ := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64) // other lines are not numbers
		switch name {
		case "VmRSS":
			now = kb / 1024
		case "VmHWM":
			peak = kb / 1024
		}
	}
	return now, peak
}
