package status

import (
	"time"

	"walhook/cdc"
)

// What a process does about the slot. Of several processes on one state one reads; all deliver.
const (
	RoleReader  = "reader"  // it has the right to read the slot
	RoleStandby = "standby" // another process has, and this one takes over when that ends or hangs
	RoleJoining = "joining" // not known yet: it starts, or joins again after another process took its place
)

// Role is what a process does about the slot.
type Role struct {
	Name    string
	Problem string // why it could not become the reader if that were needed; "" when it could
}

// standbyReasons tells why a stand-by is not ready. Its part is to deliver and to be able to take over; the stream is the
// reader's.
func standbyReasons(role Role, slot SlotState) []string {
	var all []string
	if role.Problem != "" {
		all = append(all, "it cannot take over the slot: "+role.Problem)
	}
	if slot.WALStatus == "lost" {
		all = append(all, slotLost)
	}
	return all
}

const slotLost = "the slot is lost: the server has removed WAL that was still needed"

// seenBy is the stream as a process that does not read sees it: handled is what is committed.
func (r Role) seenBy(stream cdc.Progress, figures figures) cdc.Progress {
	if r.Name == RoleStandby {
		stream.Handled = figures.position.Position.LSN
	}
	return stream
}

// lag is how long ago the position was the end of WAL, for a process that does not read: as far as the look at the slot tells.
func (r Role) lag(slot SlotState, measured time.Duration) time.Duration {
	if r.Name == RoleStandby {
		return slot.BehindFor
	}
	return measured
}
