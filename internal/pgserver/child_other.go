//go:build unix && !linux

package pgserver

import "syscall"

// guard puts a child into a process group of its own, so that Ctrl-C on our
// terminal does not reach it. Only Linux can end it when we are killed.
func guard(attr *syscall.SysProcAttr) { attr.Setpgid = true }
