package pgserver

import "syscall"

// childAttr puts a child into a process group of its own, so that Ctrl-C on our
// terminal does not reach it, and ends it when we die.
func childAttr(cred *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: cred, Setpgid: true, Pdeathsig: syscall.SIGQUIT}
}
