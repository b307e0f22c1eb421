//go:build unix

package main

import (
	"os/signal"
	"syscall"
)

// toleratesFileLimit makes writing past a limit on the size of files (ulimit -f) an error of the write. By default the
// signal that comes with it ends the process.
func toleratesFileLimit() { signal.Ignore(syscall.SIGXFSZ) }
