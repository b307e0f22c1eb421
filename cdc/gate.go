package cdc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Gate keeps all sessions of this process out of one database while somebody else must have it alone.
//
// Odoo ends every session before it duplicates, renames or drops a database, and all of these fail while anybody is
// connected: the server looks for 5 s and gives up. So once one session was ended by an administrator (57P01), the
// others go too, whatever they are doing, and none comes back before a while has passed. `walhook detach` asks for
// the same beforehand, and for longer.
//
// It works on the network connections below pgx, of every configuration that was given to [Gate.Guard]: while it is
// shut they are closed, and dialling fails with an *[AwayError]. What was under way fails in ways that are retried;
// nothing is lost, as with every other connection that breaks. It does not know who uses the connections, and says
// nothing to the server: a statement that the server is executing ends there by itself.
//
// A nil Gate is always open and guards nothing. A Gate is safe for concurrent use.
type Gate struct {
	min, max time.Duration
	notice   func(*AwayError)

	mu      sync.Mutex
	away    *AwayError    // why it is shut; nil while it is open
	shut    chan struct{} // closed while it is shut
	opened  chan struct{} // closed while it is open
	timer   *time.Timer
	members map[*member]struct{}
}

// AwayError says that walhook stays out of the database for a while, on purpose.
type AwayError struct {
	Until time.Time
	Why   string
}

// Error says why and until when.
func (e *AwayError) Error() string {
	return fmt.Sprintf("walhook stays away from the database until %s: %s", instantText(e.Until), e.Why)
}

// Temporary says that it comes back by itself.
func (e *AwayError) Temporary() bool { return true }

// Kicked says that an administrator's ending our sessions is the reason.
func (e *AwayError) Kicked() bool { return e.Why == whyKicked }

// Hint says that nothing need be done.
func (e *AwayError) Hint() string {
	return "nothing is lost meanwhile: the slot keeps the changes; walhook comes back by itself"
}

// whyKicked is the reason after 57P01.
const whyKicked = "an administrator ended our sessions, as Odoo does before it duplicates, renames or drops a database"

// NewGate returns an open gate. min and max bound the random time that it is shut after an administrator ended
// a session; zeros mean 10 s and 30 s. notice, which may be nil, is called whenever the gate shuts; it must not block.
func NewGate(min, max time.Duration, notice func(*AwayError)) *Gate {
	setDefault(&min, 10*time.Second)
	setDefault(&max, 30*time.Second)
	g := &Gate{min: min, max: max, notice: notice, shut: make(chan struct{}), opened: make(chan struct{}), members: make(map[*member]struct{})}
	close(g.opened)
	return g
}

// Guard makes the connections of a configuration the gate's. Call it before the configuration is used.
func (g *Gate) Guard(cfg *pgconn.Config) {
	if g == nil {
		return
	}
	plain := cfg.Copy() // to look from outside
	dial, judge := cfg.DialFunc, cfg.OnPgError
	cfg.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		if away := g.Away(); away != nil {
			return nil, away
		}
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return g.admit(conn)
	}
	cfg.OnPgError = func(pg *pgconn.PgConn, e *pgconn.PgError) bool {
		if (e.Code == adminShutdown || e.Code == databaseDropped) && !g.stale(pg.Conn()) {
			g.kicked(plain)
		}
		return judge == nil || judge(pg, e)
	}
}

// SQLSTATEs of a session that somebody ended on purpose.
const (
	adminShutdown   = "57P01"
	databaseDropped = "57P04"
)

// StayAway shuts the gate for d, or leaves it shut if that is longer already: or as long, as the same end told again and again by another's clock
// is never quite the same.
func (g *Gate) StayAway(d time.Duration, why string) {
	g.mu.Lock()
	until := time.Now().Add(d)
	if d <= 0 || g.away != nil && until.Sub(g.away.Until) < time.Second {
		g.mu.Unlock()
		return
	}
	if g.away == nil {
		close(g.shut)
		g.opened = make(chan struct{})
	} else {
		g.timer.Stop()
	}
	away := &AwayError{Until: until, Why: why}
	g.away = away
	g.timer = time.AfterFunc(d, func() { g.open(away) })
	leaving := make([]*member, 0, len(g.members))
	for m := range g.members {
		leaving = append(leaving, m)
	}
	g.mu.Unlock()
	for _, m := range leaving {
		_ = m.Close() // its user learns it from the next read or write
	}
	if g.notice != nil {
		g.notice(away)
	}
}

// Open ends the present time away before its end.
func (g *Gate) Open() {
	if away := g.Away(); away != nil {
		g.open(away)
	}
}

// open ends one time away, unless it was replaced by a longer one.
func (g *Gate) open(which *AwayError) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.away != which {
		return
	}
	g.timer.Stop()
	g.away = nil
	g.shut = make(chan struct{})
	close(g.opened)
}

// Away tells why the gate is shut; nil when it is open.
func (g *Gate) Away() *AwayError {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.away
}

// Shut returns a channel that is closed when the gate shuts; nil, which blocks for ever, for a nil gate.
func (g *Gate) Shut() <-chan struct{} {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shut
}

// Wait blocks until the gate is open. It reports false when ctx or stop ended the wait.
func (g *Gate) Wait(ctx context.Context, stop <-chan struct{}) bool {
	if g == nil {
		return true
	}
	g.mu.Lock()
	opened := g.opened
	g.mu.Unlock()
	select {
	case <-opened:
		return true
	case <-ctx.Done():
		return false
	case <-stop:
		return false
	}
}

// kicked shuts the gate after a session was ended. A server that stops or restarts ends its sessions in the same words, but
// nobody needs the database for himself then: the ordinary back-off is enough.
func (g *Gate) kicked(cfg *pgconn.Config) {
	if g.Away() != nil {
		return
	}
	g.StayAway(between(g.min, g.max), whyKicked)
	go func() {
		if away := g.Away(); away != nil && away.Why == whyKicked && stopping(cfg) {
			g.open(away)
		}
	}()
}

// nowhere is a database that does not exist.
const nowhere = "walhook/is the server stopping?"

// stopping asks the server whether it is about to stop, without entering any database: one that is not about to
// says that there is no database of such a name, or lets nobody in.
func stopping(cfg *pgconn.Config) bool {
	cfg = cfg.Copy()
	cfg.Database, cfg.ConnectTimeout, cfg.ValidateConnect = nowhere, 3*time.Second, nil
	cfg.RuntimeParams = map[string]string{"application_name": ApplicationName + "/gate"}
	ctx, cancel := context.WithTimeout(context.Background(), cfg.ConnectTimeout)
	defer cancel()
	pg, err := pgconn.ConnectConfig(ctx, cfg)
	if err == nil {
		_ = closeConn(pg) // a pooler that knows every name; it tells nothing
		return false
	}
	state := sqlState(err)
	return state == "57P03" || state == "" && errors.Is(err, syscall.ECONNREFUSED)
}
