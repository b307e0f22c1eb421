//go:build !linux

package acceptance

import "testing"

// smallDisk is a place for temporary files that has too little room.
type smallDisk struct {
	dir, message string
	limit, grow  func(pid int)
}

func newSmallDisk(t *testing.T) *smallDisk {
	t.Skip("no small disk on this system")
	return nil
}
