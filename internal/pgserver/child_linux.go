package pgserver

import "syscall"

// guard puts a child into a process group of its own, so that Ctrl-C on our
// terminal does not reach it, and ends it when we die.
func guard(attr *syscall.SysProcAttr) {
	attr.Setpgid = true
	attr.Pdeathsig = syscall.SIGQUIT
}
