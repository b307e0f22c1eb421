package payload

import (
	"walhook/cdc"
	"walhook/cdc/catalog"
)

// A custom event is about what its sender says: its id and model are those of the message, and its whole record is the message's data.

// about writes the model that an event is about; null of a message that names none.
func (b *body) about() {
	if model := b.rule.About(b.change); model != "" {
		b.text(model)
		return
	}
	b.raw("null")
}

// messageID writes the id that a message names: a number where it is one.
func (b *body) messageID() {
	rel := b.change.Rel
	id := b.change.After.Value(rel.Column(cdc.MessageID))
	switch {
	case id.State != cdc.Present:
		b.raw("null")
	case b.change.After.Value(rel.Column(cdc.MessageRecord)).State == cdc.Present:
		b.out = append(b.out, id.Text...)
	default:
		b.text(string(id.Text))
	}
}

// messageData writes a message's data as the record.
func (b *body) messageData() {
	data := b.change.After.Value(b.change.Rel.Column(cdc.MessageData))
	if data.State != cdc.Present {
		b.raw("{}")
		return
	}
	b.put(data, catalog.ContentPlain)
}
