package rules

// Config is one [[rules]] table of the configuration file. cmd decodes it;
// the zero value of an optional field means its documented default.
type Config struct {
	Name      string   `toml:"name"`     // required, unique; part of every delivery's id
	Model     string   `toml:"model"`    // Odoo model, "sale.order"; exactly one of Model and Table
	Table     string   `toml:"table"`    // "my_table" (schema public) or "schema.table"
	On        []string `toml:"on"`       // create, write, unlink, archive, unarchive; or message or schedule, alone; required
	When      string   `toml:"when"`     // expr-lang condition; empty means always
	Endpoint  string   `toml:"endpoint"` // exactly one of Endpoint and Endpoints
	Endpoints []string `toml:"endpoints"`
	Event     string   `toml:"event"`      // default "<model>.<create|write|unlink>"
	Lang      string   `toml:"lang"`       // language of translated fields and of labels, as "fr_FR"; default [odoo] lang
	EachWrite bool     `toml:"each_write"` // every single write of a row, not the net change; default false
	Active    *bool    `toml:"active"`     // default true; an inactive rule is validated and not matched

	// What becomes of events that match, see Handling.
	Test        bool     `toml:"test"`         // deliveries are numbered and logged, and not sent; default false
	Sample      *float64 `toml:"sample"`       // the part of the records whose events are sent; default 1, all
	Priority    string   `toml:"priority"`     // "high", "normal" (default) or "low": which deliveries of an endpoint go first
	Debounce    string   `toml:"debounce"`     // "30s": of the events of one record only the last is sent, when none has come for so long; default none
	Upgrades    string   `toml:"upgrades"`     // while Odoo installs, upgrades or removes modules: "send" (default), "hold" until it is over, or "drop"
	DebounceMax string   `toml:"debounce_max"` // but at the latest so long after the first; default ten times debounce

	// What the payload's record holds. Fields is a list of field names; Payload says more, see there. At most one of both;
	// with neither, the whole record without secrets, large texts and the fields that Exclude names.
	Fields  []string `toml:"fields"`
	Payload Payload  `toml:"payload"`
	Exclude []string `toml:"exclude"`

	// PayloadOrder are the paths of all keys in Payload in the order in which the file has them, which is that in which they are sent. Keys that it
	// does not name come after the others, sorted. cmd fills it in.
	PayloadOrder [][]string `toml:"-"`

	// Ignore lists fields whose change alone does not make a write, besides write_date, write_uid,
	// secrets and, in Odoo's models, message_main_attachment_id. Not with each_write.
	Ignore []string `toml:"ignore"`

	// Rollup names one2many and many2many fields of the model: changes of their rows raise one write of the record per transaction, with
	// what was added, changed and removed. A list of names, or a table of them with the fields of the rows that count and are sent.
	Rollup any `toml:"rollup"`

	// Split sends a delivery for each line of the record, or for each group of lines, to different endpoints.
	Split *Split `toml:"split"`

	// IgnoreUsers are users, by login or id, whose creates and writes are left out and counted: the integration's own, so that two systems
	// do not chase each other. Who unlinks a record is not known, nor who changes it past Odoo.
	IgnoreUsers []any `toml:"ignore_users"`

	// Messages are the names of the custom events that a rule on message takes, with * for any characters: "stock.low", "stock.*". Default all.
	Messages []string `toml:"messages"`

	// Of a rule on schedule: when it looks for records, "1h" or times of the day in a zone, default UTC; whether what holds at its first run
	// is sent, "send", or not, "skip", the default; and how many events one run sends at most, default 10,000.
	Every     string   `toml:"every"`
	At        []string `toml:"at"`
	Timezone  string   `toml:"timezone"`
	First     string   `toml:"first"`
	MaxPerRun int      `toml:"max_per_run"`

	// Existing is of a rule whose condition looks at rows that there are, see [Config.ForRows]: it is narrowed down for SQL.
	Existing bool `toml:"-"`

	// Traced keeps the pieces of the condition for [Matcher.Explain]; it costs a program for each of them.
	Traced bool `toml:"-"`
}
