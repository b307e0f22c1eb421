package delivery

import (
	"fmt"

	"walhook/cdc"
	"walhook/rules"
)

// MessageModel stands in the place of a model's name for custom events that name none.
const MessageModel = "message"

// modelOf is the model that an event is about: with the record it names the lane.
func modelOf(r *rules.Rule, c *cdc.Change) string {
	if model := r.About(c); model != "" {
		return model
	}
	return MessageModel
}

// malformed parks a message that says nothing that a rule could be asked about, so that somebody sees it. There is one event of it, whatever the
// number of rules, under the name that no rule has.
func (p *Planner) malformed(tx *cdc.Tx, c *cdc.Change, problem string) error {
	change, err := cdc.EncodeChange(c, nil)
	if err != nil {
		return fmt.Errorf("park a malformed message: %w", err)
	}
	p.step.Parked = append(p.step.Parked, &Parked{
		ID: parkedID(p.id, tx, c, NoticeRule), Rule: NoticeRule, Model: MessageModel, Record: c.Key,
		CommitLSN: tx.CommitLSN, XID: tx.XID, CommitAt: tx.CommitTime, Error: problem, Change: change,
	})
	return nil
}
