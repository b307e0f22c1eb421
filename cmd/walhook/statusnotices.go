package main

import (
	"fmt"
	"time"

	"walhook/status"
)

// upgradeSlow is how long no module has to change until that is worth a word.
const upgradeSlow = 15 * time.Minute

// noticeLines tell of what is not there most of the time: an upgrade of modules, slots that are reserved for backtests.
func noticeLines(d *status.Document) (lines []string) {
	if u := d.Upgrade; u != nil {
		lines = append(lines, fmt.Sprintf("upgrade\tmodules are being installed, upgraded or removed since %s (%s): %d of %d wait, %d events held, %d dropped",
			u.Since.UTC().Format("2006-01-02 15:04:05 UTC"), ago("", d.At, u.Since), u.Waiting, u.Modules, u.Held, u.Dropped))
		if quiet := d.At.Sub(u.Seen); quiet > upgradeSlow {
			lines = append(lines, fmt.Sprintf("\tno module has changed for %s: see in Odoo's log whether it goes on", status.Age(quiet)))
		}
	}
	for _, r := range d.Reserved {
		text := "at most " + status.Bytes(r.MaxRetained) + " of WAL"
		if r.Retained != nil {
			text = status.Bytes(*r.Retained) + " of " + text
		}
		text = "keeps " + text + " for backtests"
		if r.Ended != "" {
			text = "is not there any more: " + r.Ended
		}
		lines = append(lines, fmt.Sprintf("reserved\tslot %s %s (walhook rules backtest --release %s)", r.Slot, text, r.Slot))
	}
	return lines
}
