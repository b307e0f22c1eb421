package main

import (
	"context"

	"github.com/jackc/pgx/v5"

	"walhook/cdc"
	"walhook/state"
)

// stateAhead opens the state while the source is looked at, which takes most of the time of a start. What went wrong is told when the state's turn has come:
// of two faults, the source's is the one to hear of first.
type stateAhead struct {
	source chan cdc.Identity // of the source, as soon as it is known; holds one
	done   chan struct{}
	cancel context.CancelFunc

	db    *state.DB // nil when it was not opened; read after done
	check error     // why the schema cannot be used, if it was
	err   error     // why it was not
}

// openStateAhead begins.
func (p *pipeline) openStateAhead(ctx context.Context, cfg state.Config) *stateAhead {
	ctx, cancel := context.WithCancel(ctx)
	a := &stateAhead{source: make(chan cdc.Identity, 1), done: make(chan struct{}), cancel: cancel}
	go func() {
		defer close(a.done)
		if cfg.Gate, a.err = p.stateGate(ctx, cfg, a.source); a.err != nil {
			return
		}
		if a.db, a.err = state.Open(ctx, cfg); a.err == nil {
			a.check = a.db.Check(ctx)
		}
	}()
	return a
}

// looked says over a connection to the source who that is. When it cannot be told, take says it.
func (a *stateAhead) looked(ctx context.Context, conn *pgx.Conn) {
	if id, err := cdc.ReadIdentity(ctx, conn, ""); err == nil {
		a.source <- id
	}
}

// take waits for the state. Whoever takes it closes it.
func (a *stateAhead) take(source *cdc.Facts) (db *state.DB, check, err error) {
	select {
	case a.source <- cdc.Identity{SystemID: source.SystemID, DatabaseOID: source.DatabaseOID}:
	default: // it was told
	}
	<-a.done
	db, a.db = a.db, nil
	return db, a.check, a.err
}

// abandon gives back what nobody has taken.
func (a *stateAhead) abandon() {
	a.cancel()
	<-a.done
	if a.db != nil {
		closeState(a.db)
	}
}

// stateGate is the gate of the state's sessions: the source's when both share a database, whatever the connection strings call
// it, and none otherwise.
func (p *pipeline) stateGate(ctx context.Context, cfg state.Config, source <-chan cdc.Identity) (*cdc.Gate, error) {
	if p.cfg.stateInSource() {
		return p.gate, nil
	}
	system, oid, err := state.Locate(ctx, cfg)
	if err != nil {
		return nil, environmentError(err, "")
	}
	select {
	case id := <-source:
		if system == id.SystemID && oid == id.DatabaseOID {
			return p.gate, nil
		}
		return nil, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
