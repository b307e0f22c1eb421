package main

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"walhook/delivery"
	"walhook/state"
	"walhook/status"
)

// AlertsSection is [alerts]: who is told when an endpoint needs a person.
type AlertsSection struct {
	Endpoint string            `toml:"endpoint"` // name of an endpoint; default nobody is told
	After    delivery.Duration `toml:"after"`    // how long an endpoint fails before that is told; default 15m
}

const defaultAlertAfter = 15 * time.Minute

// alerts name the alert endpoint for the state.
func (c *Config) alerts() state.Alerts {
	if c.Alerts.Endpoint == "" {
		return state.Alerts{}
	}
	return state.Alerts{Endpoint: c.Alerts.Endpoint, Config: c.Endpoints[c.Alerts.Endpoint]}
}

// alertAfter is how long an endpoint fails before that is told; 0 when nobody is.
func (c *Config) alertAfter() time.Duration {
	switch {
	case c.Alerts.Endpoint == "":
		return 0
	case c.Alerts.After == 0:
		return defaultAlertAfter
	}
	return c.Alerts.After.Std()
}

// checkAlerts complains about an alert endpoint that is none.
func (c *Config) checkAlerts() (problems []error) {
	name, after := c.Alerts.Endpoint, c.Alerts.After
	switch endpoint, ok := c.Endpoints[name]; {
	case name == "" && after != 0:
		problems = append(problems, c.Doc.problem("alerts.after", true, "after: there is no alerts.endpoint", "set alerts.endpoint to the name of an endpoint, or leave this out"))
	case name == "":
	case !ok:
		hint := fmt.Sprintf("add [endpoints.%s] with a url", name)
		if s := nearest(name, slices.Sorted(maps.Keys(c.Endpoints))); s != "" {
			hint = fmt.Sprintf("did you mean %q?", s)
		}
		problems = append(problems, c.Doc.problem("alerts.endpoint", true, fmt.Sprintf("there is no endpoint %q", name), hint))
	case !endpoint.IsActive():
		problems = append(problems, c.Doc.problem("alerts.endpoint", true, fmt.Sprintf("endpoint %q is not active: nobody would be told", name), "name another one, or set active = true"))
	}
	if after < 0 || after > 0 && after.Std() < time.Second {
		problems = append(problems, c.Doc.problem("alerts.after", true, fmt.Sprintf("after: %s is too short", after), "use 1s or more"))
	}
	return problems
}

// flowLimits are how much endpoints are sent at most, for the status pages.
func (c *Config) flowLimits() map[string]status.FlowLimits {
	limits := make(map[string]status.FlowLimits, len(c.Endpoints))
	for name, e := range c.Endpoints {
		e = e.WithDefaults()
		limits[name] = status.FlowLimits{Concurrency: e.Concurrency, Rate: e.Rate.PerSecond()}
	}
	return limits
}
