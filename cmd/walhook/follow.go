package main

import (
	"context"
	"maps"
	"slices"
	"time"

	"walhook/cdc"
	"walhook/rules"
)

// follow comes to terms with a schema that has changed while the process runs: the same configuration, compiled against the database as it
// is now, is taken over as a configuration that was read anew is. Rules that do not fit any more go on watching, and
// park what they match. It returns nil when there is nothing to take over, or not yet.
func (p *pipeline) follow(ctx context.Context) *member {
	began := time.Now()
	next, err := p.followed(ctx)
	switch {
	case err != nil && ctx.Err() == nil:
		withHint(p.warn(err), err).Msg("the database's metadata may have changed, and cannot be read: the rules go on as they are compiled")
		p.metadata.again()
		return nil
	case next == nil:
		p.metadata.later(len(p.survey.kept) > 0)
		p.log.Debug().Dur("took_ms", time.Since(began)).Msg("the database's metadata has changed in nothing that rules depend on")
		return nil
	}
	p.noteUnfit(p.survey.unfit, next.survey)
	p.terms = next.terms
	p.metadata.later(len(p.survey.kept) > 0)
	p.log.Info().Int("rules", len(next.cfg.Rules)).Int("unfit", len(next.survey.unfit)).Dur("took_ms", time.Since(began)).Msg("the database's metadata has changed: the rules were compiled anew")
	return next
}

// followed joins anew when the catalog means something else to the rules.
func (p *pipeline) followed(ctx context.Context) (*member, error) {
	if away := p.gate.Away(); away != nil {
		return nil, environmentError(away, "")
	}
	conn, err := connect(ctx, "source.dsn", p.cfg.Source.DSN.reveal())
	if err != nil {
		return nil, err
	}
	s, err := p.cfg.understand(ctx, conn, true, p.survey)
	closeConn(conn)
	if err != nil || s.sum == p.survey.sum && sameUnfit(s.unfit, p.survey.unfit) {
		return nil, err
	}
	t := terms{cfg: p.cfg, sender: p.sender}
	if t.survey, err = p.inspect(ctx, p.cfg, true); err != nil {
		return nil, err
	}
	return p.join(ctx, t, false)
}

func sameUnfit(a, b []*rules.Unfit) bool {
	return slices.EqualFunc(a, b, func(x, y *rules.Unfit) bool { return x.Name == y.Name && x.Error() == y.Error() })
}

// noteUnfit logs which rules do not fit any more, and which do again, and tells the status pages.
func (p *pipeline) noteUnfit(before []*rules.Unfit, now *survey) {
	was, is := unfitOf(before), unfitOf(now.unfit)
	for _, u := range now.unfit {
		if was[u.Name] == is[u.Name] {
			continue
		}
		event := p.log.Error().Str("rule", u.Name).Str("error", u.Error())
		if now.kept[u.Name] {
			event.Str("hint", orElse(u.Hint(), "correct the rule")).Msg("the table of a rule is gone: what was written to it before is sent, and what is written when it is back")
		} else if u.Parks {
			event.Str("hint", orElse(u.Hint(), "correct the rule")+"; then walhook reload, and walhook deliveries retry --parked --rule "+u.Name).
				Msg("a rule does not fit the database any more: its events are parked, and the other rules go on")
		} else {
			event.Str("hint", orElse(u.Hint(), "correct the rule")).Msg("a rule does not fit the database any more: it watches nothing, and the other rules go on")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(was)) {
		if is[name] == "" {
			p.log.Info().Str("rule", name).Str("hint", "walhook deliveries retry --parked --rule "+name).Msg("a rule fits the database again: what was parked can be evaluated again")
		}
	}
	if p.server != nil {
		info := p.server.Info()
		info.Unfit = is
		p.server.SetInfo(info)
	}
}

func unfitOf(all []*rules.Unfit) map[string]string {
	texts := map[string]string{}
	for _, u := range all {
		texts[u.Name] = u.Error()
	}
	return texts
}

// tableFindings are the findings about single tables, which stand in nobody else's way once the process runs.
var tableFindings = []string{"table_missing", "not_a_table", "table_unlogged", "table_temporary", "no_primary_key", "not_published", "column_list", "row_filter",
	"partitioned", "via_root", "identity", "identity_unusable", "identity_index", "no_usage", "no_select"}

// stops says that a finding stops a process from starting, or, when it runs already, from going on by a schema that has changed.
func stops(f cdc.Finding, running bool) bool {
	return f.Severity == cdc.SeverityError && f.Code != "slot_unreserved" && f.Code != "writes_fail" && !(running && slices.Contains(tableFindings, f.Code))
}
