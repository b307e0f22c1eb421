//go:build unix && !linux

package pgserver

import "syscall"

// childAttr puts a child into a process group of its own, so that Ctrl-C on our
// terminal does not reach it. Other systems than Linux do not end it when we are killed.
func childAttr(cred *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: cred, Setpgid: true}
}
