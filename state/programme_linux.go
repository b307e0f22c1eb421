package state

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// place returns boot id and pid namespace; "" when /proc does not tell.
func place() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	ns, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(boot)) + " " + ns
}

// birth returns when the process with a pid started, in clock ticks since boot (proc(5), field 22 of
// stat), "zombie" for one that has ended, and "" when /proc does not tell.
func birth(pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	// The name, in parentheses, may contain anything.
	text := string(stat)
	f := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	switch {
	case len(f) < 20:
		return ""
	case f[0] == "Z" || f[0] == "X":
		return "zombie"
	}
	return f[19]
}

// gone says that no process with this pid and birth runs. /proc may hide other users' processes, a
// signal finds them.
func gone(pid int, born string) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return true
	}
	now := birth(pid)
	return now != "" && now != born
}
