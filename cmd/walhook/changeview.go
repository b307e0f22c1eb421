package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"walhook/cdc"
	"walhook/cdc/catalog"
)

// changeView is a change as `walhook tail --json` prints it, one in a line.
type changeView struct {
	At      time.Time            `json:"at"`
	XID     uint32               `json:"xid"`
	LSN     string               `json:"lsn"`
	Op      string               `json:"op"`
	Model   string               `json:"model,omitempty"`
	Table   string               `json:"table"`
	Record  string               `json:"record,omitempty"`
	Name    string               `json:"name,omitempty"` // what Odoo shows as the record's name
	UserID  int64                `json:"user_id,omitempty"`
	User    string               `json:"user,omitempty"`
	Changes map[string]valuePair `json:"changes,omitempty"` // of a write
	Values  map[string]any       `json:"values,omitempty"`  // of a create or unlink: what is not NULL
	Rules   []string             `json:"rules,omitempty"`   // that match
	Ignored []string             `json:"ignored,omitempty"` // that match, and leave out what this user changes
	Error   string               `json:"error,omitempty"`   // a condition failed
	Note    string               `json:"note,omitempty"`

	fields []fieldView
	silent bool // nothing that counts has changed
}

type valuePair struct {
	Before any `json:"before"`
	After  any `json:"after"`
}

// fieldView is one field for people.
type fieldView struct{ name, label, before, after string }

// viewer knows how to show changes.
type viewer struct {
	catalog *catalog.Catalog
	logins  map[int64]string
	lang    string
	images  map[string]bool // tables that images are kept of, as schema.table
}

// untold are columns that Odoo writes by itself.
var untold = map[string]bool{"create_uid": true, "create_date": true, "write_uid": true, "write_date": true}

// view describes a change. Columns that hold secrets are left out altogether.
func (v *viewer) view(tx *cdc.Tx, c *cdc.Change) *changeView {
	out := &changeView{At: tx.CommitTime, XID: tx.XID, LSN: tx.CommitLSN.String(), Op: c.Op.String(), Table: c.Rel.Schema + "." + c.Rel.Name, Record: c.Key}
	table := v.catalog.Table(c.Rel.Schema, c.Rel.Name)
	var model *catalog.Model
	if table != nil {
		model = v.catalog.ModelOf(table)
	}
	row := c.Row()
	if model != nil {
		out.Model = model.Name
		out.Name = v.display(model, row)
		if out.UserID = v.user(row); out.UserID != 0 && c.Op != cdc.Unlink {
			out.User = v.logins[out.UserID]
		} else {
			out.UserID = 0
		}
	}
	switch {
	case c.Op == cdc.Write && c.Before.Image != cdc.ImageFull:
		out.Note = "no values before: " + v.noBefore(c)
	case c.Op == cdc.Unlink && c.Before.Image != cdc.ImageFull:
		out.Note = "no values: " + v.noBefore(c)
	}
	out.Changes, out.Values = map[string]valuePair{}, map[string]any{}
	for i, column := range c.Rel.Columns {
		content := catalog.ContentPlain
		if table != nil {
			content = table.Content(column.Name)
		}
		if content == catalog.ContentSecret || catalog.Secret(c.Rel.Name, column.Name) {
			continue
		}
		now := row.Value(i)
		if of := row.Relation(); of != nil && of != c.Rel {
			now = row.Value(of.Column(column.Name))
		}
		if c.Op != cdc.Write {
			if now.State == cdc.Present && !column.Key && !untold[column.Name] {
				out.Values[column.Name] = viewedJSON(now)
				out.fields = append(out.fields, fieldView{column.Name, v.label(model, column.Name), "", v.shown(model, column.Name, now)})
			}
			continue
		}
		was := cdc.Value{}
		if of := c.Before.Relation(); of != nil {
			was = c.Before.Value(of.Column(column.Name))
		}
		if untold[column.Name] || was.State == cdc.Unknown || now.State == cdc.Unknown || sameValue(was, now, content) {
			continue
		}
		out.Changes[column.Name] = valuePair{viewedJSON(was), viewedJSON(now)}
		before, after := v.shown(model, column.Name, was), v.shown(model, column.Name, now)
		if before == after {
			before, after = valueText(was), valueText(now)
		}
		out.fields = append(out.fields, fieldView{column.Name, v.label(model, column.Name), before, after})
	}
	out.silent = c.Op == cdc.Write && c.Before.Image == cdc.ImageFull && len(out.fields) == 0
	return out
}

// noBefore says why there is no old row, and what gives one.
func (v *viewer) noBefore(c *cdc.Change) string {
	switch {
	case v.images[c.Rel.String()] && c.Rel.Identity != 'f':
		return "[images] keeps the rows of " + c.Rel.Name + ", and walhook run takes what was before from there; tail, which reads by itself, has none of them"
	}
	switch c.Rel.Identity {
	case 'f':
		return "the row was written before REPLICA IDENTITY FULL took effect"
	case 'd':
		return fmt.Sprintf("REPLICA IDENTITY of %s is DEFAULT; as its owner: ALTER TABLE %s REPLICA IDENTITY FULL", c.Rel.Name, quoteName(c.Rel.Schema)+"."+quoteName(c.Rel.Name))
	}
	return fmt.Sprintf("REPLICA IDENTITY of %s is not FULL", c.Rel.Name)
}

// sameValue says that two values are the same to people.
func sameValue(a, b cdc.Value, content catalog.Content) bool {
	if content == catalog.ContentBoolean {
		return (a.State == cdc.Present && string(a.Text) == "t") == (b.State == cdc.Present && string(b.Text) == "t")
	}
	if a.State == cdc.Present && b.State == cdc.Present && a.Type != nil && a.Type.Kind == cdc.KindNumeric {
		return cdc.Numeric(a.Text).Cmp(cdc.Numeric(b.Text)) == 0
	}
	return a.Equal(b)
}

// display is the record's name, if its own row has one.
func (v *viewer) display(m *catalog.Model, row cdc.Row) string {
	if row.Relation() == nil {
		return ""
	}
	for _, name := range []string{m.Display, "name"} { // Odoo fills in what it computes later
		value := row.Value(row.Relation().Column(name))
		if value.State == cdc.Present && !m.Table.Secret(name) {
			return shorten(plainLine(v.translated(m, name, value)), 60)
		}
	}
	return ""
}

// user is who wrote the row.
func (v *viewer) user(row cdc.Row) int64 {
	if row.Relation() == nil {
		return 0
	}
	for _, name := range []string{"write_uid", "create_uid"} {
		if value := row.Value(row.Relation().Column(name)); value.State == cdc.Present {
			id, _ := strconv.ParseInt(string(value.Text), 10, 64) // 0 for what is none
			return id
		}
	}
	return 0
}

func (v *viewer) label(m *catalog.Model, column string) string {
	if m == nil {
		return ""
	}
	if f := m.Field(column); f != nil {
		return f.Label
	}
	return ""
}

// shown writes a value for people: the label of a selection, the text of a translated field in one language.
func (v *viewer) shown(m *catalog.Model, column string, value cdc.Value) string {
	if value.State != cdc.Present {
		return "NULL"
	}
	if value.Type != nil && value.Type.Kind == cdc.KindBool {
		return map[bool]string{true: "true", false: "false"}[string(value.Text) == "t"]
	}
	if value.Type != nil && value.Type.Kind == cdc.KindBytes {
		return cdc.BytesText(int64(max(len(value.Text)-2, 0) / 2))
	}
	if m != nil {
		if f := m.Field(column); f != nil {
			for _, o := range f.Selection {
				if o.Value == string(value.Text) && o.Label != "" {
					return plainLine(o.Label)
				}
			}
			if f.Translated {
				return shorten(plainLine(v.translated(m, column, value)), longestValue)
			}
		}
	}
	return shorten(plainLine(valueText(value)), longestValue)
}

// translated reads a text in the configuration's language.
func (v *viewer) translated(m *catalog.Model, column string, value cdc.Value) string {
	var languages map[string]string
	if f := m.Field(column); f == nil || !f.Translated || json.Unmarshal(value.Text, &languages) != nil {
		return string(value.Text)
	}
	for _, lang := range []string{v.lang, "en_US"} {
		if text, ok := languages[lang]; ok {
			return text
		}
	}
	return string(value.Text)
}

// viewedJSON is a value with all its digits, as JSON has it.
func viewedJSON(value cdc.Value) any {
	x, err := value.Any()
	if err != nil {
		return string(value.Text)
	}
	return jsonValue(x)
}

// longestList is how many values of a new record are shown to people.
const longestList = 24

// change prints a change for people.
func (t *terminal) change(b *strings.Builder, c *changeView) {
	op := map[string]colour{"create": green, "write": yellow, "unlink": red}[c.Op]
	of := c.Model
	if of == "" {
		of = c.Table
	}
	fmt.Fprintf(b, "  %s %s", t.paint(op, fmt.Sprintf("%-6s", c.Op)), t.paint(bold, of))
	if c.Record != "" {
		fmt.Fprintf(b, " %s", c.Record)
	}
	if c.Name != "" {
		fmt.Fprintf(b, "  %s", c.Name)
	}
	if len(c.Rules) > 0 {
		fmt.Fprintf(b, "  %s", t.paint(cyan, "matches "+strings.Join(c.Rules, ", ")))
	}
	if len(c.Ignored) > 0 {
		fmt.Fprintf(b, "  %s", t.paint(dim, "matches "+strings.Join(c.Ignored, ", ")+" (ignored)"))
	}
	b.WriteByte('\n')
	if c.Error != "" {
		fmt.Fprintf(b, "         %s\n", t.paint(red, c.Error))
	}
	if c.Note != "" {
		fmt.Fprintf(b, "         %s\n", t.paint(dim, c.Note))
	}
	if c.Op == "unlink" && c.Name != "" {
		return // the name says it; --json has the row
	}
	wide := 0
	for i, f := range c.fields {
		if i < longestList {
			wide = max(wide, displayWidth(f.title()))
		}
	}
	wide = min(wide, 40)
	for i, f := range c.fields {
		if i == longestList && c.Op != "write" {
			fmt.Fprintf(b, "         %s\n", t.paint(dim, fmt.Sprintf("and %s more", plural(len(c.fields)-i, "field"))))
			break
		}
		title := f.title()
		pad := strings.Repeat(" ", max(0, wide-displayWidth(title)))
		room := 0
		if t.columns > 0 {
			room = max(20, t.columns-11-wide)
		}
		if c.Op != "write" {
			fmt.Fprintf(b, "         %s%s  %s\n", t.paint(dim, title), pad, fit(f.after, room))
			continue
		}
		before, after := f.before, f.after
		if room > 0 && displayWidth(before)+displayWidth(after)+4 > room {
			before, after = fit(before, (room-4)/2), fit(after, (room-4)/2)
		}
		fmt.Fprintf(b, "         %s%s  %s → %s\n", t.paint(dim, title), pad, t.paint(red, before), t.paint(green, after))
	}
}

// title is the field's label with its name, or the name alone.
func (f *fieldView) title() string {
	if f.label == "" || f.label == f.name {
		return f.name
	}
	return f.name + " (" + plainLine(f.label) + ")"
}
