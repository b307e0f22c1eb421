package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"walhook/cdc"
	"walhook/cdc/catalog"
	"walhook/rules"
)

// rowDraft is a row that people make up: values as they write them in TOML or JSON become what PostgreSQL would have put into WAL.
type rowDraft struct {
	rel    *cdc.Relation
	table  *catalog.Table
	model  *catalog.Model // nil for plain tables
	ignore []string       // columns whose change does not make a write
	values []cdc.Value
}

// newRowDraft begins with a row.
func newRowDraft(r *rules.Rule, row cdc.Row) *rowDraft {
	d := emptyDraft(r.Table, r.Odoo, row.Relation())
	d.ignore = r.Ignore
	for i := range d.values {
		d.values[i] = row.Value(i)
	}
	return d
}

// emptyDraft begins with NULL in every column. A nil relation is the catalog's.
func emptyDraft(t *catalog.Table, m *catalog.Model, rel *cdc.Relation) *rowDraft {
	if rel == nil {
		var columns []cdc.Column
		for i := range t.Columns {
			if !t.Columns[i].Generated {
				columns = append(columns, cdc.Column{Name: t.Columns[i].Name, Type: t.Columns[i].Type})
			}
		}
		rel = cdc.NewRelation(t.OID, t.Schema, t.Name, 'f', columns, t.PrimaryKey)
	}
	d := &rowDraft{rel: rel, table: t, model: m, values: make([]cdc.Value, len(rel.Columns))}
	for i := range d.values {
		d.values[i] = cdc.Value{State: cdc.Null, Type: rel.Columns[i].Type}
	}
	return d
}

// clone is a second draft that begins with what this one has.
func (d *rowDraft) clone() *rowDraft {
	c := *d
	c.values = slices.Clone(d.values)
	return &c
}

// row makes the row.
func (d *rowDraft) row() cdc.Row {
	row, _ := cdc.NewRow(d.rel, cdc.ImageFull, cdc.AppendTuple(nil, d.values)) // one value for each column
	return row
}

// key is the row's primary key, as changes have it.
func (d *rowDraft) key() string {
	parts := make([]string, len(d.rel.Key))
	for n, i := range d.rel.Key {
		parts[n] = string(d.values[i].Text)
		if len(d.rel.Key) > 1 {
			parts[n] = strings.NewReplacer(`\`, `\\`, ",", `\,`).Replace(parts[n])
		}
	}
	return strings.Join(parts, ",")
}

// setAll sets fields by name.
func (d *rowDraft) setAll(fields map[string]any) error {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if err := d.set(name, fields[name]); err != nil {
			return err
		}
	}
	return nil
}

// setJSON sets the fields of a JSON object. flag is for complaints.
func (d *rowDraft) setJSON(flag, text string) error {
	if text == "" {
		return nil
	}
	var fields map[string]any
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&fields); err != nil {
		return usagef(fmt.Sprintf(`write it as %s '{"state": "draft"}'`, flag), "%s is no JSON object: %v", flag, err)
	}
	if err := d.setAll(fields); err != nil {
		return usagef(hintOf(err), "%s: %v", flag, err)
	}
	return nil
}

// setText sets a field from field=value, where the value is JSON or, if it is none, text.
func (d *rowDraft) setText(flag, text string) error {
	name, value, ok := strings.Cut(text, "=")
	if !ok {
		return usagef(fmt.Sprintf("write it as %s state=sale", flag), "%s %q has no =", flag, text)
	}
	var v any
	dec := json.NewDecoder(strings.NewReader(value))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil || dec.More() {
		v = value
	}
	if i := d.rel.Column(name); i >= 0 && kindOfColumn(d.rel, i) == cdc.KindText {
		if _, number := v.(json.Number); number {
			v = value
		}
	}
	if err := d.set(name, v); err != nil {
		return usagef(hintOf(err), "%s: %v", flag, err)
	}
	return nil
}

func kindOfColumn(rel *cdc.Relation, i int) cdc.Kind {
	if t := rel.Columns[i].Type; t != nil {
		return t.Kind
	}
	return cdc.KindOther
}

// set sets one field. The error has a hint.
func (d *rowDraft) set(name string, value any) error {
	i := d.rel.Column(name)
	if i < 0 {
		var names []string
		for _, c := range d.rel.Columns {
			names = append(names, c.Name)
		}
		hint := ""
		if s := nearest(name, names); s != "" {
			hint = fmt.Sprintf("did you mean %q?", s)
		}
		of := d.table.Name
		if d.model != nil {
			of = d.model.Name
			if f := d.model.Field(name); f != nil {
				return &failure{err: fmt.Errorf("field %q of %s (%s) is not stored in its table", name, of, f.Type), code: exitUsage, hint: hint}
			}
		}
		return &failure{err: fmt.Errorf("unknown field %q of %s", name, of), code: exitUsage, hint: hint}
	}
	v, err := d.value(i, value)
	if err != nil {
		return &failure{err: fmt.Errorf("field %q: %w", name, err), code: exitUsage}
	}
	d.values[i] = v
	return nil
}

// value converts what TOML or JSON gave into a column's value.
func (d *rowDraft) value(i int, value any) (cdc.Value, error) {
	typ := d.rel.Columns[i].Type
	out := cdc.Value{State: cdc.Null, Type: typ}
	kind := kindOfColumn(d.rel, i)
	if value == nil || value == false && kind != cdc.KindBool && kind != cdc.KindJSON { // false is how Odoo's API says that there is nothing
		return out, nil
	}
	text, ok := "", false
	switch kind {
	case cdc.KindBool:
		var b bool
		b, ok = value.(bool)
		text = map[bool]string{true: "t", false: "f"}[b]
	case cdc.KindInt, cdc.KindFloat, cdc.KindNumeric:
		text, ok = numberText(value)
	case cdc.KindDate, cdc.KindTimestamp, cdc.KindTimestampTZ:
		text, ok = timeText(value, kind)
	case cdc.KindJSON:
		if s, isText := value.(string); isText && d.translated(i) {
			value = map[string]any{"en_US": s}
		}
		raw, err := json.Marshal(value)
		text, ok = string(raw), err == nil
	case cdc.KindArray:
		var list []any
		if list, ok = value.([]any); ok {
			text = arrayText(list)
		}
	default:
		text, ok = value.(string)
	}
	if !ok {
		return out, fmt.Errorf("%s is no value of type %s", shownJSON(value), typ.Name)
	}
	out.State, out.Text = cdc.Present, []byte(text)
	if _, err := out.Any(); err != nil {
		return out, err
	}
	return out, nil
}

// translated says that a jsonb column holds a text in each language.
func (d *rowDraft) translated(i int) bool {
	if d.model == nil {
		return false
	}
	f := d.model.Field(d.rel.Columns[i].Name)
	return f != nil && f.Translated
}

func numberText(value any) (string, bool) {
	switch v := value.(type) {
	case int64:
		return strconv.FormatInt(v, 10), true
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return strings.NewReplacer("+", "", "Inf", "Infinity").Replace(fmt.Sprint(v)), true
		}
		return strconv.FormatFloat(v, 'f', -1, 64), true
	case json.Number:
		return v.String(), true
	case string:
		_, ok := cdc.ParseNumeric(v)
		return v, ok
	}
	return "", false
}

// timeText writes dates and times as PostgreSQL does in UTC.
func timeText(value any, kind cdc.Kind) (string, bool) {
	zone := ""
	if kind == cdc.KindTimestampTZ {
		zone = "+00"
	}
	var at time.Time
	switch v := value.(type) {
	case time.Time:
		at = v.UTC()
	case toml.LocalDateTime:
		at = v.AsTime(time.UTC)
	case toml.LocalDate:
		at = v.AsTime(time.UTC)
	case string:
		found := false
		for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999", "2006-01-02T15:04:05.999999999", time.DateOnly} {
			if t, err := time.Parse(layout, v); err == nil {
				at, found = t.UTC(), true
				break
			}
		}
		if !found {
			return v, v == "infinity" || v == "-infinity"
		}
	default:
		return "", false
	}
	if kind == cdc.KindDate {
		return at.Format(time.DateOnly), true
	}
	return at.Format("2006-01-02 15:04:05.999999") + zone, true
}

// arrayText writes an array in PostgreSQL's form.
func arrayText(list []any) string {
	parts := make([]string, len(list))
	for i, v := range list {
		switch v := v.(type) {
		case nil:
			parts[i] = "NULL"
		case []any:
			parts[i] = arrayText(v)
		case string:
			parts[i] = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(v) + `"`
		default:
			parts[i] = fmt.Sprint(v)
		}
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// shownJSON writes a value that somebody has given, in one line.
func shownJSON(value any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		return fmt.Sprint(value)
	}
	return shorten(strings.TrimSpace(b.String()), 80)
}

// differ empties a column that has a value, so that the draft is another row, and returns its name: the state, where there is
// one. It returns "" when there is none that would make a write.
func (d *rowDraft) differ() string {
	best := -1
	for i, c := range d.rel.Columns {
		v := d.values[i]
		content := d.table.Content(c.Name)
		switch {
		case v.State != cdc.Present, c.Key, content == catalog.ContentSecret, content == catalog.ContentBoolean && string(v.Text) != "t", slices.Contains(d.ignore, c.Name):
			continue
		case slices.Contains([]string{"create_uid", "create_date", "write_uid", "write_date", "message_main_attachment_id"}, c.Name):
			continue
		}
		if c.Name == "state" || best < 0 {
			best = i
		}
	}
	if best < 0 {
		return ""
	}
	d.values[best] = cdc.Value{State: cdc.Null, Type: d.rel.Columns[best].Type}
	return d.rel.Columns[best].Name
}
