package state

import (
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"walhook/cdc"
)

// answerWithin is how long a statement may take as seen from here: a little longer than the session's statement_timeout, so that it
// matters only when the server, or the network, has fallen silent.
const answerWithin = 130 * time.Second

// network makes sure that a server that has vanished without a word is left within a bounded time, and that of several hosts the one that
// can be written to is taken.
func (c Config) network(pc *pgxpool.Config) {
	cfg := pc.ConnConfig
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = 10 * time.Second
	}
	cfg.DialFunc = (&net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}}).DialContext
	cfg.Tracer = cdc.Deadline(c.patience)
	pc.PingTimeout = min(5*time.Second, c.patience) // of a connection that was idle, before it is used
	cdc.PreferPrimary(&cfg.Config, c.DSN)
}
