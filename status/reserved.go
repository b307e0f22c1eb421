package status

import "time"

// ReservedSlot is a slot that was reserved for backtests (walhook rules backtest --reserve). It keeps WAL until it is released, or dropped at its limit.
type ReservedSlot struct {
	Slot        string    `json:"slot"`
	Since       time.Time `json:"reserved_at"`
	Retained    *int64    `json:"retained_bytes,omitempty"` // WAL that it keeps on the server's disk; absent when nobody has looked
	MaxRetained int64     `json:"max_retained_bytes"`       // a running walhook drops it beyond that
	Ended       string    `json:"ended,omitempty"`          // why it is not there any more
}

var reservedRetained = gauge("reserved_slot_retained_bytes", "WAL that a slot reserved for backtests keeps on the server's disk.", "slot")

// noticeFamilies are the metrics of what is not there most of the time.
var noticeFamilies = []family{upgradeRunning, reservedRetained}

// collectNotices sends their figures.
func (d *Document) collectNotices(send func(f family, v float64, labels ...string)) {
	send(upgradeRunning, truth(d.Upgrade != nil))
	for _, r := range d.Reserved {
		if r.Retained != nil {
			send(reservedRetained, float64(*r.Retained), r.Slot)
		}
	}
}
