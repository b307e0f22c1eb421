package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"walhook/cdc"
	"walhook/cdc/catalog"
	"walhook/state"
	"walhook/status"
)

// state finds a schema that is missing, of another version, or another database's. facts is nil when the source could not
// be looked at: then only the schema itself is judged.
func (k *checker) state(ctx context.Context, facts *cdc.Facts, cat *catalog.Catalog) {
	c, r := k.cfg, k.report
	judged := false
	defer func() {
		if !judged && cat != nil && cat.Odoo != nil && cat.Odoo.Neutralized { // nothing says that this was accepted
			r.fault(cdc.SeverityError, "neutralized", state.Binding{}.Mismatch(c.State.Schema, state.Binding{Neutralized: true}), "")
		}
	}()
	db, err := state.Open(ctx, c.state(currentBuild().Version))
	if err != nil {
		k.unreachable(err)
		return
	}
	defer closeState(db)
	to := targetOf(c.State.DSN.reveal())
	r.State = fmt.Sprintf("schema %s in %s, as %s", c.State.Schema, to.database, to.user)
	if c.stateInSource() {
		r.add(cdc.SeverityInfo, "state_in_source", "the state is kept in the source's database",
			`for production a database of its own is better: its own disk and vacuum, not in Odoo's backups ([state] dsn)`)
	}
	server, err := db.Server(ctx, k.now)
	if err != nil {
		r.fault(cdc.SeverityError, "state_unreadable", err, "")
		return
	}
	k.stateServer(server)
	if err := db.Check(ctx); err != nil {
		var version *state.VersionError
		if !errors.As(err, &version) {
			r.fault(cdc.SeverityError, "state_unreadable", err, "")
			return
		}
		if facts != nil {
			err = c.lostState(err, facts)
		}
		code := standingCode(err)
		r.fault(cdc.SeverityError, code, err, "").Setup = version.Have < version.Want && code == "state_schema" // of a lost state setup makes only the schema
		return
	}
	if facts != nil {
		judged = true
		k.position(ctx, db, facts, cat)
	}
	k.endpointsOff(ctx, db)
	k.reserved(ctx, db)
	k.images(ctx, db)
}

// unreachable says why the state's database does not answer.
func (k *checker) unreachable(err error) {
	hint, err := k.cfg.stateUnreachable(err)
	k.report.fault(cdc.SeverityError, "state_unreachable", err, hint)
}

// stateUnreachable words an error of connecting to the state as one of source.dsn, with what to do; others stay as they are.
func (c *Config) stateUnreachable(err error) (hint string, _ error) {
	var failed *pgconn.ConnectError
	if !errors.As(err, &failed) {
		return "", err
	}
	if cfg, e := pgx.ParseConfig(c.State.DSN.reveal()); e == nil {
		hint = connectHint(err, "state.dsn", cfg)
	}
	return hint, &connectError{key: "state.dsn", err: failed}
}

// stateServer judges the server that keeps the state.
func (k *checker) stateServer(s *state.Server) {
	c, r := k.cfg, k.report
	if s.ReadOnly {
		r.add(cdc.SeverityError, "state_standby", fmt.Sprintf("the state's server (%s) is a standby: nothing can be written there", s.Address), "point state.dsn at the primary")
	}
	if s.Volatile {
		r.add(cdc.SeverityWarning, "state_fsync", "fsync or full_page_writes is off on the state's server: when its machine fails, position and queue may be lost or destroyed",
			"ALTER SYSTEM SET fsync = on; ALTER SYSTEM SET full_page_writes = on; SELECT pg_reload_conf()")
	}
	if k.sameServer() {
		return // the source's findings say the rest
	}
	if s.Pooled {
		r.add(cdc.SeverityWarning, "state_pooler", "a connection pooler stands between walhook and the state: in transaction mode it breaks advisory locks and session settings",
			"write the address of PostgreSQL itself in state.dsn (port 5432 rather than 6432)")
	}
	if s.Free < s.Needed {
		r.add(cdc.SeverityWarning, "state_connections", fmt.Sprintf("walhook may open %d connections to the state's server, and needs up to %d: state.pool_size and one more", max(s.Free, 0), s.Needed),
			fmt.Sprintf("raise the limit of the server, the database or the role (as a superuser: ALTER ROLE %s CONNECTION LIMIT -1), or lower state.pool_size", quoteName(targetOf(c.State.DSN.reveal()).user)))
	}
	k.clock("the state's server", s.ClockAhead)
}

// sameServer says whether source and state are on one server.
func (k *checker) sameServer() bool {
	a, b := targetOf(k.cfg.Source.DSN.reveal()), targetOf(k.cfg.State.DSN.reveal())
	return a.host == b.host && a.port == b.port
}

// position compares what the state says of the source with what was found there (invariants 1, 5 and 8).
func (k *checker) position(ctx context.Context, db *state.DB, facts *cdc.Facts, cat *catalog.Catalog) {
	c, r := k.cfg, k.report
	for _, e := range flatten(c.tellStoredGap(ctx, db, c.judge(ctx, db, facts, cat))) {
		if code := standingCode(e); !r.has(code) {
			r.fault(cdc.SeverityError, code, e, "")
		}
	}
	position, err := db.Position(ctx)
	slot := facts.Slot
	switch {
	case err != nil:
		r.fault(cdc.SeverityError, "state_unreadable", err, "")
		return
	case !position.Bound && slot == nil:
		r.add(cdc.SeverityInfo, "state_new", "the state is new: it belongs to no source yet", "walhook setup")
		return
	case !position.Bound || slot == nil || slot.Lost(): // a slot that is being invalidated is the checkpointer's for a moment
		return
	}
	if r.has("slot_foreign") || r.has("state_of_another_source") {
		return // on a copy it is the original's reader, which is to be left alone
	}
	if slot.PID != 0 && position.Processes == 0 {
		r.add(cdc.SeverityError, "slot_in_use", fmt.Sprintf("process %d of the server streams from slot %q, and no walhook of this state runs: it is somebody else's, or was left behind", slot.PID, slot.Name),
			fmt.Sprintf("stop the other program; if it is gone and its connection lingers: SELECT pg_terminate_backend(%d)", slot.PID))
	}
}

// standingCode is the code of what is wrong with the state as a whole.
func standingCode(err error) string {
	var version *state.VersionError
	var mismatch *state.MismatchError
	var position *cdc.PositionError
	switch {
	case errors.As(err, &version):
		return "state_schema"
	case errors.As(err, &mismatch) && mismatch.Neutralized():
		return "neutralized"
	case errors.As(err, &mismatch):
		return "state_of_another_source"
	case !errors.As(err, &position):
		return "state_unreadable"
	}
	switch position.Problem {
	case cdc.PositionBehind:
		return "position_behind"
	case cdc.PositionAhead:
		return "position_ahead"
	}
	return "state_lost"
}

// endpointsOff finds endpoints to which nothing is sent.
func (k *checker) endpointsOff(ctx context.Context, db *state.DB) {
	list, err := db.Endpoints(ctx)
	if err != nil {
		k.report.fault(cdc.SeverityError, "state_unreadable", err, "")
		return
	}
	for _, e := range list {
		if _, known := k.cfg.Endpoints[e.Name]; !known {
			k.endpointGone(&e)
			continue
		}
		if e.Since().IsZero() {
			continue
		}
		k.report.add(cdc.SeverityWarning, "endpoint_disabled", fmt.Sprintf("endpoint %s is %s since %s", e.Name, e.Condition(), e.Since().Format("2006-01-02 15:04 UTC")),
			"walhook endpoints resume "+e.Name)
	}
}

// endpointGone finds what waits for an endpoint that nothing is sent to any more.
func (k *checker) endpointGone(e *status.EndpointState) {
	if e.Pending == 0 {
		return
	}
	verb := "wait"
	if e.Pending == 1 {
		verb = "waits"
	}
	var kinds []string
	if e.Pending > e.Waiting {
		kinds = append(kinds, "walhook deliveries discard --endpoint "+e.Name+" --pending --retrying")
	}
	if e.Waiting > 0 {
		kinds = append(kinds, "walhook deliveries discard --endpoint "+e.Name+" --waiting")
	}
	k.report.add(cdc.SeverityWarning, "endpoint_gone", fmt.Sprintf("%s %s for endpoint %q, which is not configured", plural(int(e.Pending), "delivery"), verb, e.Name),
		"add it again, or give them up: "+strings.Join(kinds, "; "))
}

func closeState(db *state.DB) {
	_ = db.Close() // only statistics could be left, and this command made none
}
