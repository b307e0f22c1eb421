package delivery

// upgradeStored is what an [Ingest] knows of the upgrade in the store: it moves with the position, in one SQL transaction (invariant 2).
type upgradeStored struct {
	stored Upgrade // as committed
	tried  Upgrade // what a failed Enqueue wanted to store; it may have
	held   bool    // events may be parked until it is over
}

// Resume sets the upgrade that was under way at the position that ingest goes on from. Events may be parked until it is over even if it has held none itself: an
// earlier one's may not have been released yet.
func (i *Ingest) Resume(u Upgrade) {
	i.upgrade.stored, i.planner.upgrade.now = u, u
	i.upgrade.held = u.Running()
}

// batch is what a batch says of the upgrade; nil when nothing is new.
func (s *upgradeStored) batch(w *upgradeWatch) *Upgrade {
	s.tried = s.stored
	if !w.changed {
		return nil
	}
	u := w.now
	s.tried = u
	return &u
}

// reportUpgrade takes note of a commit, and tells what it means.
func (i *Ingest) reportUpgrade(batch *Batch) {
	s, w := &i.upgrade, &i.planner.upgrade
	before := s.stored
	s.stored, w.changed = s.tried, false
	for _, p := range batch.Parked {
		s.held = s.held || p.Held
	}
	now := s.stored
	s.held = s.held || now.Running() // what an earlier one has held may be left
	if changed := before.LSN != now.LSN || before.Running() != now.Running(); changed && i.trace.Upgrade != nil {
		i.trace.Upgrade(now)
	}
	if s.held && !now.Running() && batch.To.Open == 0 {
		s.held = false
		if i.trace.Released != nil {
			i.trace.Released()
		}
	}
}

// resolve takes note of whether a batch was committed whose answer was lost.
func (s *upgradeStored) resolve(w *upgradeWatch, committed bool) {
	if committed {
		s.stored = s.tried
	}
	s.back(w)
}

// back forgets what was planned and not stored.
func (s *upgradeStored) back(w *upgradeWatch) { w.now, w.changed, w.within = s.stored, false, false }
