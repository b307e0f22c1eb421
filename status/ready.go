package status

import (
	"fmt"
	"time"

	"walhook/cdc"
)

// reasons tells why the process is not ready; none means ready. It is pure. An
// idle stream is ready; so is one that is behind and moves.
func reasons(now time.Time, f figures, role Role, stream cdc.Progress, handler HandlerState, slot SlotState, clock *LagClock, stallAfter time.Duration, blockers []string) []string {
	all := append([]string(nil), blockers...)
	switch {
	case f.err != nil:
		all = append(all, "the state database does not answer: "+f.err.Error())
	case f.at.IsZero():
		all = append(all, "the state database has not been asked yet")
	case !f.position.Bound:
		all = append(all, "the state is not bound to a source yet")
	}
	if role.Name == RoleStandby {
		return append(all, standbyReasons(role, slot)...)
	}
	switch {
	case slot.WALStatus == "lost":
		all = append(all, slotLost)
	case role.Name == RoleJoining && role.Problem != "":
		all = append(all, "it cannot join: "+role.Problem)
	case !stream.Connected && stream.LastError != "":
		all = append(all, "the stream is not connected: "+stream.LastError)
	case !stream.Connected:
		all = append(all, "the stream is not connected")
	}
	if e := end(stream, slot); stream.Connected && clock.stalled(now, e, stallAfter) {
		why := ""
		if handler.Error != "" {
			why = ": " + handler.words()
		}
		all = append(all, fmt.Sprintf("the stream has stood still at %s for %s although WAL goes on to %s%s",
			stream.Handled, now.Sub(clock.moved).Round(time.Second), e, why))
	} else if handler.Error != "" && now.Sub(handler.Since) >= failingAfter {
		all = append(all, fmt.Sprintf("events have not been committed for %s: %s", now.Sub(handler.Since).Round(time.Second), handler.words()))
	}
	return all
}

// failingAfter is how long commits may fail before that is a reason: a restart of the state database takes no longer.
const failingAfter = 5 * time.Second

// words says what is wrong and what to do about it.
func (h HandlerState) words() string {
	if h.Hint == "" {
		return h.Error
	}
	return h.Error + " (" + h.Hint + ")"
}
