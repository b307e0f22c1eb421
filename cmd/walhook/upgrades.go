package main

import (
	"context"
	"slices"
	"time"

	"walhook/cdc"
	"walhook/cdc/catalog"
	"walhook/delivery"
	"walhook/rules"
	"walhook/state"
)

// upgradeNeeds asks for the table of modules to be streamed: rules that hold or drop events of upgrades go by it.
func upgradeNeeds(set *rules.Set, cat *catalog.Catalog, needs []cdc.TableNeed) []cdc.TableNeed {
	if cat.Odoo == nil || !set.MindsUpgrades() {
		return needs
	}
	need := cdc.TableNeed{Schema: cat.Odoo.Schema, Table: delivery.ModuleTable, Why: []string{"rules hold or drop events of module upgrades"}}
	for i := range needs {
		if n := &needs[i]; n.Schema == need.Schema && n.Table == need.Table {
			n.Optional, n.ReadOnly, n.Why = false, false, append(n.Why, need.Why...)
			return needs
		}
	}
	return append(needs, need)
}

// loginNeeds asks for the two columns that tell who the users are whom rules name by their login.
func loginNeeds(cat *catalog.Catalog, logins []string, needs []cdc.TableNeed) []cdc.TableNeed {
	if cat.Odoo == nil || len(logins) == 0 {
		return needs
	}
	columns, why := []string{"id", "login"}, "rules ignore users by their login"
	for i := range needs {
		n := &needs[i]
		if n.Schema != cat.Odoo.Schema || n.Table != "res_users" {
			continue
		}
		for _, c := range columns {
			if n.Columns != nil && !slices.Contains(n.Columns, c) {
				n.Columns = append(n.Columns, c)
			}
		}
		n.Why = append(n.Why, why)
		return needs
	}
	return append(needs, cdc.TableNeed{Schema: cat.Odoo.Schema, Table: "res_users", ReadOnly: true, Columns: columns, Why: []string{why}})
}

// noteUpgrade logs that an upgrade has begun or ended.
func (p *pipeline) noteUpgrade(u delivery.Upgrade) {
	switch {
	case u.Running():
		p.log.Warn().Time("since", u.Begun).Stringer("lsn", u.LSN).Int("modules", u.Total).Msg("modules are being installed, upgraded or removed: rules hold or drop events as their key upgrades says")
	case u.Outcome == delivery.UpgradeGivenUp:
		p.log.Error().Time("since", u.Begun).Int("modules", u.Total).Int64("held", u.Held).Int64("dropped", u.Dropped).
			Str("hint", "see in Odoo's log what became of it; modules may be left in the state \"to upgrade\"").Msg("no module has changed for an hour: the upgrade counts as given up")
	default:
		p.log.Info().Time("since", u.Begun).Dur("took_ms", u.Ended.Sub(u.Begun)).Int("modules", u.Total).Int64("held", u.Held).Int64("dropped", u.Dropped).Msg("the upgrade of modules is over")
	}
}

// release asks for held events to be sent.
func (m *member) release() {
	select {
	case m.held <- struct{}{}:
	default:
	}
}

// releaseHeld evaluates events anew that waited for the end of an upgrade, when it is over, in the order in which they came.
func (m *member) releaseHeld(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-m.held:
		}
		select { // invariant 5: what is released is sent
		case <-ctx.Done():
			return nil
		case <-m.verified:
		}
		if m.retired.Load() {
			continue // the membership that follows looks for itself
		}
		d := m.p.desk()
		err := d.own(ctx)
		var u delivery.Upgrade
		if err == nil {
			u, err = m.p.db.Upgrade(ctx)
		}
		if err == nil && u.Running() {
			continue // this was asked for again after a failure, and the next one has begun: its end asks, too
		}
		var taken, failed int64
		if err == nil {
			taken, failed, err = d.retryParked(ctx, state.Filter{Error: delivery.HeldError})
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			withHint(m.p.warn(err), err).Str("hint", "walhook deliveries retry --parked --error 'modules are being upgraded'").Msg("held events were not all released: trying again")
			time.AfterFunc(10*time.Second, m.release)
		case taken > 0:
			m.p.log.Info().Int64("events", taken).Int64("failed", failed).Msg("events that were held for the upgrade are queued")
		}
	}
}

// resumeUpgrade lets the ingest go on with the upgrade that was under way at its position, and releases what the last reader had no time to. What upgrades have held
// says nothing of that: an earlier one's events may be left, or those of a transaction that was part of none.
func (m *member) resumeUpgrade(ctx context.Context, ingest *delivery.Ingest) error {
	u, err := m.p.db.Upgrade(ctx)
	if err != nil {
		return err
	}
	if ingest.Resume(u); !u.Running() {
		m.release()
	}
	return nil
}
