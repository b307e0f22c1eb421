package delivery

import (
	"fmt"
	"time"
)

// RateConfig bounds how many requests an endpoint gets, of all processes together. Limit without the others is enough.
type RateConfig struct {
	Limit float64  `toml:"limit"` // requests in each Per; default none
	Per   Duration `toml:"per"`   // default 1s
	Burst int      `toml:"burst"` // requests that may come at once after a quiet time; default Limit, at least 1
}

// BreakerConfig says when an endpoint that only fails is left alone for a while, and for how long.
type BreakerConfig struct {
	Failures *int     `toml:"failures"`  // failed attempts in a row that open it; default 20; 0: only Retry-After does
	Pause    Duration `toml:"pause"`     // before the first probe; each further pause is twice as long; default 10s
	MaxPause Duration `toml:"max_pause"` // longest pause, before jitter; default 5m
	Jitter   *float64 `toml:"jitter"`    // pauses vary by this part, up and down; 0 to 1, default 0.2
}

// DisableConfig says when an endpoint that only fails is given up, until a person resumes it. Its deliveries wait.
type DisableConfig struct {
	Failures *int     `toml:"failures"` // at least so many failed attempts in a row; default 20; 0: never
	After    Duration `toml:"after"`    // over at least this time; default 5d
}

const (
	defaultBreakerFailures = 20
	defaultDisableFailures = 20
)

// WithDefaults fills what is zero.
func (c RateConfig) WithDefaults() RateConfig {
	if c.Limit > 0 {
		fill(&c.Per, Duration(time.Second))
		fill(&c.Burst, max(int(c.Limit), 1))
	}
	return c
}

// PerSecond is the limit in requests per second; 0 when there is none.
func (c RateConfig) PerSecond() float64 {
	if c = c.WithDefaults(); c.Limit <= 0 || c.Per <= 0 {
		return 0
	}
	return c.Limit / c.Per.Std().Seconds()
}

// String is the limit as people read it: "50 per 1s"; "" when there is none.
func (c RateConfig) String() string {
	if c = c.WithDefaults(); c.Limit <= 0 {
		return ""
	}
	return fmt.Sprintf("%v per %s", c.Limit, c.Per)
}

func (c *RateConfig) validate(p *problems) {
	if c.Limit == 0 {
		if c.Per != 0 {
			p.add("rate.per", "there is no rate.limit", "set rate.limit: how many requests in each rate.per")
		}
		if c.Burst != 0 {
			p.add("rate.burst", "there is no rate.limit", "set rate.limit: how many requests in each rate.per")
		}
		return
	}
	if !(c.Limit > 0 && c.Limit <= 1e6) {
		p.add("rate.limit", fmt.Sprintf("%v is out of range", c.Limit), "use a number up to 1000000, as in { limit = 50, per = \"1s\" }")
	}
	p.atLeast("rate.per", c.Per, 100*time.Millisecond)
	if c.Per.Std() > 24*time.Hour {
		p.add("rate.per", fmt.Sprintf("%s is too long", c.Per), "use 24h or less")
	}
	if c.Burst < 1 || c.Burst > 1_000_000 {
		p.add("rate.burst", fmt.Sprintf("%d is out of range", c.Burst), "use 1 to 1000000")
	}
}

// WithDefaults fills what is zero.
func (c BreakerConfig) WithDefaults() BreakerConfig {
	fill(&c.Pause, Duration(10*time.Second))
	fill(&c.MaxPause, Duration(max(5*time.Minute, c.Pause.Std())))
	return c
}

func (c *BreakerConfig) limit() int {
	if c.Failures != nil {
		return *c.Failures
	}
	return defaultBreakerFailures
}

func (c *BreakerConfig) validate(p *problems) {
	if n := c.limit(); n < 0 || n > 1_000_000 {
		p.add("breaker.failures", fmt.Sprintf("%d is out of range", n), "use 1 to 1000000, or 0 for none")
	}
	p.atLeast("breaker.pause", c.Pause, 100*time.Millisecond)
	if c.MaxPause.Std() > maxWait {
		p.add("breaker.max_pause", fmt.Sprintf("%s is too long", c.MaxPause), "use 30d or less")
	}
	if c.Pause > c.MaxPause {
		p.add("breaker.pause", fmt.Sprintf("%s is longer than breaker.max_pause, %s", c.Pause, c.MaxPause), "")
	}
	if c.Jitter != nil && !(*c.Jitter >= 0 && *c.Jitter <= 1) {
		p.add("breaker.jitter", fmt.Sprintf("%v is out of range", *c.Jitter), "use 0 to 1; 0.2 varies pauses by 20 %")
	}
}

// WithDefaults fills what is zero.
func (c DisableConfig) WithDefaults() DisableConfig {
	fill(&c.After, Duration(5*24*time.Hour))
	return c
}

func (c *DisableConfig) limit() int {
	if c.Failures != nil {
		return *c.Failures
	}
	return defaultDisableFailures
}

func (c *DisableConfig) validate(p *problems) {
	if n := c.limit(); n < 0 || n > 1_000_000 {
		p.add("disable.failures", fmt.Sprintf("%d is out of range", n), "use 1 to 1000000, or 0 for never")
	}
	p.atLeast("disable.after", c.After, time.Second)
}
