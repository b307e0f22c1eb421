package delivery

import (
	"fmt"

	"walhook/cdc"
	"walhook/rules"
)

// maxSplitBytes bounds the bodies that are made of one event: the effects of a change are enqueued together (invariant 9).
const maxSplitBytes = 8 << 20

// deliverGroups plans deliveries for each group of the record's lines. They are in the record's lane, in the order of the groups.
func (p *Planner) deliverGroups(tx *cdc.Tx, info rules.TxInfo, c *cdc.Change, r *rules.Rule) error {
	groups, err := p.matcher.Groups(r, info, c)
	if err != nil {
		return err
	}
	bytes := 0
	for _, g := range groups {
		planned := len(p.step.Deliveries)
		if err := p.deliverTo(g.Endpoints, tx, info, c, r, g); err != nil {
			return err
		}
		for _, d := range p.step.Deliveries[planned:] {
			bytes += len(d.Body)
		}
		if bytes > maxSplitBytes {
			return &rules.EvalError{Rule: r.Name, Path: "split", Offset: -1,
				Err: fmt.Errorf("the bodies of %d groups of lines are larger than %d MiB, which is the limit for one event: send fewer fields, or group the lines by what fewer values have", len(groups), maxSplitBytes>>20)}
		}
	}
	return nil
}
