package delivery

import (
	"errors"
	"slices"
	"time"

	"walhook/cdc"
	"walhook/rules"
)

// ModuleTable is where Odoo keeps the states of its modules.
const ModuleTable = "ir_module_module"

// upgradeQuiet is how long no module has to change its state until an upgrade counts as given up: Odoo was killed in the middle of it. Of an orderly
// end, and of a failed one, the states of the modules tell.
const upgradeQuiet = time.Hour

// Upgrade is an installation, upgrade or removal of Odoo's modules that is under way. It is part of the position: what it says holds at that very place of
// the stream. The zero value means that there is none.
type Upgrade struct {
	Begun   time.Time // commit of the transaction that marked the first modules
	LSN     cdc.LSN   // of it
	Seen    time.Time // commit of the last one that changed the state of a module
	Modules []int32   // ids of the modules that are still to be done, sorted
	Total   int       // how many were marked in all

	Ended   time.Time // zero while it is under way
	Outcome string    // UpgradeDone or UpgradeGivenUp
	Held    int64     // events that rules hold
	Dropped int64     // events that rules dropped
}

// How upgrades end.
const (
	UpgradeDone    = "done"
	UpgradeGivenUp = "given up"
)

// Running says that it is under way.
func (u *Upgrade) Running() bool { return !u.Begun.IsZero() && u.Ended.IsZero() }

// upgradeWatch recognises upgrades by what the stream says of modules, and by nothing else: however many records a transaction writes, it is no
// upgrade unless modules are marked. The zero value watches nothing.
type upgradeWatch struct {
	schema string // of Odoo's tables; "" where there are none
	rel    *cdc.Relation
	column int // of state, in rel

	now     Upgrade
	within  bool // the transaction at hand is part of an upgrade
	changed bool // now differs from what is stored
}

// begin looks at a transaction before any of it is planned, and says whether it is part of an upgrade: one is under way before it or after it, or
// ends with it. To look at it again makes no difference (invariant 6).
func (w *upgradeWatch) begin(tx *cdc.Tx) error {
	w.within = false
	if w.schema == "" {
		return nil
	}
	quiet := w.now.Running() && tx.CommitTime.Sub(w.now.Seen) > upgradeQuiet
	for c, err := range tx.ChangesOf(w.modules) {
		if err != nil {
			return err
		}
		if w.module(c) {
			w.note(tx, c)
		}
	}
	if quiet && w.now.Seen.Before(tx.CommitTime) { // one that changes a module at last proves the upgrade alive: that module took so long
		w.end(tx.CommitTime, UpgradeGivenUp)
	}
	// It may have been looked at before the last restart, and have ended the upgrade then.
	again := w.now.Outcome == UpgradeDone && w.now.Ended.Equal(tx.CommitTime)
	w.within = w.now.Running() || again
	if w.now.Running() && len(w.now.Modules) == 0 {
		w.end(tx.CommitTime, UpgradeDone)
	}
	return nil
}

// modules says that a table is that of the modules.
func (w *upgradeWatch) modules(rel *cdc.Relation) bool {
	return rel == w.rel || rel.Name == ModuleTable && rel.Schema == w.schema
}

// module says that a change of their table is one of a module.
func (w *upgradeWatch) module(c *cdc.Change) bool {
	if c.Rel != w.rel {
		w.rel, w.column = c.Rel, c.Rel.Column("state")
	}
	return c.Op >= cdc.Create && c.Op <= cdc.Unlink
}

// note takes down the state that a module is in now.
func (w *upgradeWatch) note(tx *cdc.Tx, c *cdc.Change) {
	id, ok := c.ID()
	state := ""
	if v := c.After.Value(w.column); v.State == cdc.Present {
		state = string(v.Text)
	}
	at, marked := slices.BinarySearch(w.now.Modules, int32(id))
	switch to := ok && (state == "to install" || state == "to upgrade" || state == "to remove"); {
	case to && !w.now.Running():
		w.now = Upgrade{Begun: tx.CommitTime, LSN: tx.CommitLSN, Seen: tx.CommitTime, Modules: []int32{int32(id)}, Total: 1}
	case to && !marked:
		w.now.Modules = slices.Insert(slices.Clone(w.now.Modules), at, int32(id))
		w.now.Total++
	case !to && marked && w.now.Running():
		w.now.Modules = slices.Delete(slices.Clone(w.now.Modules), at, at+1)
	default:
		return
	}
	w.now.Seen, w.changed = tx.CommitTime, true
}

func (w *upgradeWatch) end(at time.Time, outcome string) {
	w.now.Ended, w.now.Outcome, w.now.Modules, w.changed = at, outcome, nil, true
}

// HeldError begins the error of events that are parked until an upgrade is over.
const HeldError = "held: modules are being upgraded"

// setAside does with an event what its rule says of upgrades, while there is one. It reports true when the event is not to be sent now.
func (p *Planner) setAside(tx *cdc.Tx, info rules.TxInfo, c *cdc.Change, r *rules.Rule) (bool, error) {
	w := &p.upgrade
	if !w.within || r.Handling.Upgrades == "" {
		return false, nil
	}
	w.changed = true
	if r.Handling.Upgrades == rules.UpgradesDrop {
		w.now.Dropped++
		p.step.Dropped = append(p.step.Dropped, r.Name)
		return true, nil
	}
	w.now.Held++
	if err := p.park(tx, info, c, r, errors.New(HeldError)); err != nil {
		return true, err
	}
	p.step.Parked[len(p.step.Parked)-1].Held = true
	return true, nil
}
