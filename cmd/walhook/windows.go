package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// debouncing returns the names of the rules whose deliveries wait for a window to end.
func (c *Config) debouncing() []string {
	names := []string{}
	for _, r := range c.Rules {
		if r.Debounce != "" && !r.Test && (r.Active == nil || *r.Active) {
			names = append(names, r.Name)
		}
	}
	return names
}

// settleWindows queues what waits for rules that, by the configuration as it is now, wait no more: before the stream begins, so that
// nothing newer of theirs overtakes it. It goes on until it has succeeded, as the stream does.
func (m *member) settleWindows(ctx context.Context) error {
	for {
		n, err := m.process.ReleaseExcept(ctx, m.cfg.debouncing())
		if n > 0 {
			m.p.log.Info().Int("deliveries", n).Msg("what waited for rules without debounce was queued")
		}
		var failure interface{ Temporary() bool }
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil || !errors.As(err, &failure) || !failure.Temporary():
			return fmt.Errorf("queue what waits for rules without debounce: %w", err)
		}
		withHint(m.p.warn(err), err).Msg("cannot queue what waits for rules without debounce")
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}
