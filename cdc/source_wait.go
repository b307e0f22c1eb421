package cdc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// probeEvery is how often the server is asked whether it still accepts connections, while
// reading waits for the handler.
const probeEvery = 5 * time.Second

// waitForSpace keeps the connection alive while the handler is behind (trap 3): it sends status
// messages and reads nothing.
//
// Reading nothing, it cannot see that the server is shutting down and waits for us. If the
// state lies in that server too, the handler waits for it as well, and both
// would wait for ever. A connection attempt tells.
func (c *session) waitForSpace(ctx context.Context) error {
	c.track.update(func(p *Progress) { p.Blocked = true })
	defer c.track.update(func(p *Progress) { p.Blocked = false })
	ctx, cancel := context.WithCancel(ctx)
	ticker := time.NewTicker(probeEvery)
	defer ticker.Stop()
	probe := make(chan error, 1)
	running := false
	defer func() {
		cancel()
		if running {
			<-probe
		}
	}()
	for c.feed.full() && !c.stopping() {
		timer := time.NewTimer(time.Until(c.due()))
		var err error
		select {
		case <-c.feed.space:
		case <-c.stop:
		case <-c.stopped:
		case <-c.gate.Shut():
			err = net.ErrClosed // which a reader would find
		case <-timer.C:
			err = c.status(false)
		case <-ticker.C:
			if !running {
				running = true
				go func() { probe <- c.probe(ctx) }()
			}
		case err = <-probe:
			running = false
		}
		timer.Stop()
		if err != nil {
			return err
		}
	}
	c.heard = time.Now() // the silence was ours
	return nil
}

// probe connects to the server of this session like anybody else. It returns an error only
// when the server does not take new connections any more.
func (c *session) probe(ctx context.Context) error {
	cfg, err := parseDSN(c.cfg.DSN)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	toward(&cfg.Config, c.stream.sock.RemoteAddr())
	pg, err := pgconn.ConnectConfig(ctx, &cfg.Config)
	if err == nil {
		return ignoreClosed(closeConn(pg))
	}
	if ctx.Err() == nil && (sqlState(err) == "57P03" || errors.Is(err, syscall.ECONNREFUSED)) {
		return fmt.Errorf("%w: %w", errShutdown, err)
	}
	return nil
}
