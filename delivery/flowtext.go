package delivery

import "fmt"

// String says in words when the breaker opens, and for how long.
func (c BreakerConfig) String() string {
	c = c.WithDefaults()
	if c.limit() == 0 {
		return fmt.Sprintf("when the receiver asks for it; probed after %s up to %s", c.Pause, c.MaxPause)
	}
	return fmt.Sprintf("after %d failures in a row; probed after %s up to %s", c.limit(), c.Pause, c.MaxPause)
}

// String says in words when the endpoint is disabled.
func (c DisableConfig) String() string {
	c = c.WithDefaults()
	if c.limit() == 0 {
		return "when the receiver answers 410"
	}
	return fmt.Sprintf("when the receiver answers 410, or after %d failures in a row over %s", c.limit(), c.After)
}
