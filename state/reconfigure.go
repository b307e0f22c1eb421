package state

// renewed is the part of a [Config] that can change while sessions are open.
type renewed struct {
	limits Limits
	alerts Alerts
}

// Reconfigure takes over limits and alerts of a configuration that was read anew; they count from the next transaction on. The rest of
// it needs another [Open].
func (db *DB) Reconfigure(limits Limits, alerts Alerts) error {
	if err := limits.validate(); err != nil {
		return err
	}
	db.renewed.Store(&renewed{limits, alerts})
	return nil
}

// limits are those in force.
func (db *DB) limits() Limits {
	if r := db.renewed.Load(); r != nil {
		return r.limits
	}
	return db.cfg.Limits
}

// alerts are those in force.
func (db *DB) alerts() Alerts {
	if r := db.renewed.Load(); r != nil {
		return r.alerts
	}
	return db.cfg.Alerts
}
