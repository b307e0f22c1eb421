//go:build unix

package receivers

import (
	"os/exec"
	"syscall"
)

// own gives a program a process group of its own, as it may have children.
func own(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// end kills a program and its children.
func end(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // it may have ended by itself
