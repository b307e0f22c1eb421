package rules

// Config is one [[rules]] table of the configuration file. cmd decodes it;
// the zero value of an optional field means its documented default.
type Config struct {
	Name      string   `toml:"name"`     // required, unique; part of every delivery's id
	Model     string   `toml:"model"`    // Odoo model, "sale.order"; exactly one of Model and Table
	Table     string   `toml:"table"`    // "my_table" (schema public) or "schema.table"
	On        []string `toml:"on"`       // create, write, unlink; required
	When      string   `toml:"when"`     // expr-lang condition; empty means always
	Endpoint  string   `toml:"endpoint"` // exactly one of Endpoint and Endpoints
	Endpoints []string `toml:"endpoints"`
	Event     string   `toml:"event"`      // default "<model>.<create|write|unlink>"
	EachWrite bool     `toml:"each_write"` // every single write of a row, not the net change; default false
	Active    *bool    `toml:"active"`     // default true; an inactive rule is validated and not matched

	// What becomes of events that match, see Handling.
	Test        bool     `toml:"test"`         // deliveries are numbered and logged, and not sent; default false
	Sample      *float64 `toml:"sample"`       // the part of the records whose events are sent; default 1, all
	Priority    string   `toml:"priority"`     // "high", "normal" (default) or "low": which deliveries of an endpoint go first
	Debounce    string   `toml:"debounce"`     // "30s": of the events of one record only the last is sent, when none has come for so long; default none
	DebounceMax string   `toml:"debounce_max"` // but at the latest so long after the first; default ten times debounce

	// What the payload's record holds. Fields is a list of field names. Payload maps keys to a field
	// name ("amount_total"), a path through one many2one field ("partner_id.name") or into a
	// JSON field ("name.en_US"), or an expression; its entries are sent sorted by key. At most one of both;
	// with neither, the whole record without secrets and large texts.
	Fields  []string          `toml:"fields"`
	Payload map[string]string `toml:"payload"`

	// Ignore lists fields whose change alone does not make a write, besides write_date, write_uid,
	// secrets and, in Odoo's models, message_main_attachment_id. Not with each_write.
	Ignore []string `toml:"ignore"`
}
