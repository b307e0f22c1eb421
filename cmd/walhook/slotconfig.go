package main

import (
	"errors"
	"time"

	"walhook/cdc"
	"walhook/delivery"
)

// AlarmSection is [source.alarm]: from where on the slot needs a person. "0" switches one off.
type AlarmSection struct {
	Retained *size              `toml:"retained"` // WAL that the slot keeps on the server's disk; default 4GiB
	Lag      *delivery.Duration `toml:"lag"`      // how long ago the slot's position was the end of WAL; default 5m
}

// config is the section in cdc's words, where less than zero means off.
func (a AlarmSection) config() cdc.AlarmConfig {
	var c cdc.AlarmConfig
	if a.Retained != nil {
		if c.Retained = int64(*a.Retained); c.Retained == 0 {
			c.Retained = -1
		}
	}
	if a.Lag != nil {
		if c.Lag = a.Lag.Std(); c.Lag == 0 {
			c.Lag = -1
		}
	}
	return c
}

// GuardSection is [source.guard]: the limit of the WAL that the slot may keep. Without max_retained there is none.
type GuardSection struct {
	MaxRetained size              `toml:"max_retained"`
	Action      cdc.GuardAction   `toml:"action"` // "drop" or "stop"
	After       delivery.Duration `toml:"after"`  // how long the limit must be exceeded; default 1m, at least twice idle_advance
}

func (g GuardSection) config() cdc.GuardConfig {
	return cdc.GuardConfig{MaxRetained: int64(g.MaxRetained), Action: g.Action, After: g.After.Std()}
}

// validateWatch looks at what the slot watch goes by.
func (s SourceSection) validateWatch() error {
	idle := s.IdleAdvance.Std()
	if idle == 0 {
		idle = 30 * time.Second
	}
	return errors.Join(s.Alarm.config().Validate(idle), s.Guard.config().Validate(idle))
}
