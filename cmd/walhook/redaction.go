package main

import (
	"slices"

	"walhook/cdc"
	"walhook/delivery"
	"walhook/delivery/payload"
	"walhook/rules"
	"walhook/state"
)

// shownBody is a delivery's body as people may see it: without what its endpoint's redact hides, as it is configured now. The body itself
// stays whole in the state schema, to be sent again.
func (c *Config) shownBody(l *state.Listed) []byte {
	endpoint := c.Endpoints[l.Endpoint]
	return payload.NewRedaction(endpoint.Redact).Body(l.Body, l.Format, c.renames(l.Rule))
}

// renames says that a rule's record may show columns under other names than theirs; of a rule that is not known any more, it is assumed.
func (c *Config) renames(rule string) bool {
	r := c.ruleNamed(rule)
	return r == nil || r.Payload != nil
}

func (c *Config) ruleNamed(name string) *rules.Config {
	i := slices.IndexFunc(c.Rules, func(r rules.Config) bool { return r.Name == name })
	if i < 0 {
		return nil
	}
	return &c.Rules[i]
}

// masks says which columns people do not see of a parked event's change: those that an endpoint of its rule hides, and all but the key where
// the rule's payload may show them under other names. It is nil when nothing is hidden, as of a malformed message, which no endpoint gets.
func (c *Config) masks(rule string) func(rel *cdc.Relation, column string) bool {
	if rule == delivery.NoticeRule {
		return nil
	}
	var hidden []*payload.Redaction
	for _, name := range c.endpointsOf(rule) {
		if r := payload.NewRedaction(c.Endpoints[name].Redact); r != nil {
			hidden = append(hidden, r)
		}
	}
	if len(hidden) == 0 {
		return nil
	}
	renamed := c.renames(rule)
	return func(rel *cdc.Relation, column string) bool {
		if i := rel.Column(column); i >= 0 && rel.Columns[i].Key {
			return false
		}
		return renamed || slices.ContainsFunc(hidden, func(r *payload.Redaction) bool { return r.Column(column) })
	}
}

// shownChange is a parked event's change as people may see it, without what [Config.masks] hides.
func (c *Config) shownChange(p *state.ParkedEvent) []byte {
	masked := c.masks(p.Rule)
	if masked == nil {
		return p.Change
	}
	change, err := cdc.DecodeChange(p.Change)
	if err != nil {
		return []byte(`"` + payload.Masked + `"`)
	}
	shown, err := cdc.EncodeEvent(change, func(rel *cdc.Relation, column string) bool {
		if rel != change.Rel { // of a line that was gathered with it: which member of the body a column becomes is not known here
			i := rel.Column(column)
			return i >= 0 && rel.Columns[i].Key
		}
		return !masked(rel, column)
	})
	if err != nil {
		return []byte(`"` + payload.Masked + `"`)
	}
	return shown
}

// endpointsOf are the endpoints that a rule sends to; all, when it is not known any more.
func (c *Config) endpointsOf(rule string) (names []string) {
	if r := c.ruleNamed(rule); r != nil {
		return r.EndpointNames()
	}
	for name := range c.Endpoints {
		names = append(names, name)
	}
	return names
}
