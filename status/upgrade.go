package status

import (
	"time"

	"walhook/delivery"
)

// UpgradeState is an installation, upgrade or removal of Odoo's modules that is under way at the position.
type UpgradeState struct {
	Since   time.Time `json:"since"`           // when the first modules were marked
	Seen    time.Time `json:"last_change_at"`  // when a module last changed its state
	Waiting int       `json:"modules_waiting"` // that are still to be done
	Modules int       `json:"modules"`         // that were marked in all
	Held    int64     `json:"held"`            // events that rules hold until it is over
	Dropped int64     `json:"dropped"`         // events that rules have dropped
}

// NewUpgradeState says so in the words of the pages; nil when none is under way.
func NewUpgradeState(u *delivery.Upgrade) *UpgradeState {
	if !u.Running() {
		return nil
	}
	return &UpgradeState{Since: u.Begun.UTC(), Seen: u.Seen.UTC(), Waiting: len(u.Modules), Modules: u.Total, Held: u.Held, Dropped: u.Dropped}
}

var upgradeRunning = gauge("upgrade_running", "1 while Odoo's modules are being installed, upgraded or removed.")
