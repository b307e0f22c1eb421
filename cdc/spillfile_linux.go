package cdc

import (
	"os"
	"syscall"
)

// tmpFile is O_TMPFILE of open(2), without the O_DIRECTORY that belongs to it. Package syscall does not have it.
const tmpFile = 0x400000

// openUnnamed makes a file that never has a name, so that not even a kill between making and removing it leaves one. Nobody can
// give it one later (O_EXCL). File systems that can't do this fail.
func openUnnamed(dir string) (*os.File, error) {
	return os.OpenFile(dir, os.O_RDWR|os.O_EXCL|syscall.O_DIRECTORY|tmpFile, 0o600)
}
