package main

import "syscall"

// Magic numbers of filesystems in memory (statfs(2)).
const (
	tmpfsMagic = 0x01021994
	ramfsMagic = 0x858458f6
)

// roomIn says how many bytes this user may still write below a folder, and whether it lies in memory.
func roomIn(dir string) (free int64, inMemory, ok bool) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, false, false
	}
	kind := uint32(s.Type)
	return int64(s.Bavail) * int64(s.Bsize), kind == tmpfsMagic || kind == ramfsMagic, true
}
