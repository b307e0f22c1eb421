package status

import (
	"fmt"
	"time"

	"walhook/cdc"
)

// reasons tells why the process is not ready; none means ready. It is pure. An
// idle stream is ready; so is one that is behind and moves.
func reasons(now time.Time, f figures, stream cdc.Progress, handler HandlerState, slot SlotState, clock *lagClock, stallAfter time.Duration, blockers []string) []string {
	all := append([]string(nil), blockers...)
	switch {
	case f.err != nil:
		all = append(all, "the state database does not answer: "+f.err.Error())
	case f.at.IsZero():
		all = append(all, "the state database has not been asked yet")
	case !f.position.Bound:
		all = append(all, "the state is not bound to a source yet")
	}
	switch {
	case slot.WALStatus == "lost":
		all = append(all, "the slot is lost: the server has removed WAL that was still needed")
	case !stream.Connected && stream.LastError != "":
		all = append(all, "the stream is not connected: "+stream.LastError)
	case !stream.Connected:
		all = append(all, "the stream is not connected")
	}
	if e := end(stream, slot); stream.Connected && clock.stalled(now, e, stallAfter) {
		why := ""
		if handler.Error != "" {
			why = ": " + handler.Error
		}
		all = append(all, fmt.Sprintf("the stream has stood still at %s for %s although WAL goes on to %s%s",
			stream.Handled, now.Sub(clock.moved).Round(time.Second), e, why))
	}
	return all
}
