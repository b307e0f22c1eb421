package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"walhook/cdc"
	"walhook/cdc/catalog"
	"walhook/delivery"
	"walhook/rules"
)

// fixtures are the related rows that a case gives, in place of those of the database. Rows of one2many and many2many fields come in the order
// in which the case has them.
type fixtures struct {
	catalog *catalog.Catalog
	rows    map[*catalog.Table][]*fixture
	pairs   map[string][][2]int64 // by relation table: from, to
	next    int64                 // id for a row that is given none
	missing []string              // rows that were asked for and not given
}

// fixture is one row.
type fixture struct {
	*rowDraft
	id int64
}

var _ delivery.Loader = (*fixtures)(nil)

func newFixtures(cat *catalog.Catalog) *fixtures {
	return &fixtures{catalog: cat, rows: map[*catalog.Table][]*fixture{}, pairs: map[string][][2]int64{}, next: 1_000_001}
}

// addAll takes what a case says under related: models with lists of rows, and fields of the record, also dotted ones, with rows.
func (f *fixtures) addAll(record *fixture, related map[string]any) error {
	names := slices.Sorted(maps.Keys(related))
	slices.SortStableFunc(names, func(a, b string) int { return strings.Count(a, ".") - strings.Count(b, ".") }) // parents first
	for _, name := range names {
		if m := f.catalog.Model(name); m != nil {
			list, err := tablesOf(name, related[name])
			if err != nil {
				return err
			}
			for _, fields := range list {
				if _, err := f.add(m, fields, 0); err != nil {
					return fmt.Errorf("related %q: %w", name, err)
				}
			}
			continue
		}
		at := record
		path := strings.Split(name, ".")
		for _, field := range path[:len(path)-1] {
			if at = f.follow(at, field); at == nil {
				return &failure{err: fmt.Errorf("related %q: there is no row behind %q", name, field), code: exitUsage, hint: fmt.Sprintf("give it too: related.%s = { … }", field)}
			}
		}
		if err := f.relate(at, path[len(path)-1], related[name]); err != nil {
			return fmt.Errorf("related %q: %w", name, err)
		}
	}
	return nil
}

// tablesOf reads one row or several.
func tablesOf(name string, value any) (list []map[string]any, err error) {
	switch v := value.(type) {
	case map[string]any:
		return []map[string]any{v}, nil
	case []any:
		for _, one := range v {
			fields, ok := one.(map[string]any)
			if !ok {
				return nil, usagef(fmt.Sprintf("write %s = [{ name = \"…\" }]", name), "related %q is no list of rows", name)
			}
			list = append(list, fields)
		}
		return list, nil
	}
	return nil, usagef(fmt.Sprintf("write %s = { name = \"…\" }", name), "related %q is no row", name)
}

// add makes a row of a model's table. id is used where the fields hold none; 0 gives it a new one.
func (f *fixtures) add(m *catalog.Model, fields map[string]any, id int64) (*fixture, error) {
	if given, ok := fields["id"].(int64); ok {
		id = given
	}
	if id == 0 {
		id = f.next
		f.next++
	}
	row := f.find(m.Table, "id", id)
	if row == nil {
		row = &fixture{rowDraft: emptyDraft(m.Table, m, nil), id: id}
		f.rows[m.Table] = append(f.rows[m.Table], row)
	}
	if err := row.set("id", id); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if isRows(fields[name]) && m.Field(name) != nil && m.Field(name).Relation != "" {
			if err := f.relate(row, name, fields[name]); err != nil {
				return nil, err
			}
			continue
		}
		if err := row.set(name, fields[name]); err != nil {
			return nil, err
		}
	}
	return row, nil
}

// isRows says that a value is a row or a list of rows.
func isRows(value any) bool {
	switch v := value.(type) {
	case map[string]any:
		return true
	case []any:
		return !slices.ContainsFunc(v, func(e any) bool { _, row := e.(map[string]any); return !row })
	}
	return false
}

// relate gives a row the rows of one of its relational fields.
func (f *fixtures) relate(row *fixture, name string, value any) error {
	var field *catalog.Field
	if row.model != nil {
		field = row.model.Field(name)
	}
	if field == nil || field.Relation == "" {
		var names []string
		if row.model != nil {
			for _, o := range row.model.Fields {
				if o.Relation != "" {
					names = append(names, o.Name)
				}
			}
		}
		hint := ""
		if s := nearest(name, names); s != "" {
			hint = fmt.Sprintf("did you mean %q?", s)
		}
		return &failure{err: fmt.Errorf("%s has no relational field %q", row.table.Name, name), code: exitUsage, hint: hint}
	}
	to := f.catalog.Model(field.Relation)
	if to == nil {
		return fmt.Errorf("model %q of field %q is not stored in a table", field.Relation, name)
	}
	list, err := tablesOf(name, value)
	if err != nil {
		return err
	}
	if field.Column != nil { // a many2one
		if len(list) != 1 {
			return fmt.Errorf("field %q leads to one row, not to %d", name, len(list))
		}
		there, err := f.add(to, list[0], row.number(name))
		if err != nil {
			return err
		}
		return row.set(name, there.id)
	}
	for _, fields := range list {
		there, err := f.add(to, fields, 0)
		if err != nil {
			return err
		}
		if field.RelationTable != "" {
			f.pairs[field.RelationTable] = append(f.pairs[field.RelationTable], [2]int64{row.id, there.id})
		} else if err := there.set(field.RelationField, row.id); err != nil {
			return err
		}
	}
	return nil
}

// number reads a whole number from a column; 0 for none.
func (r *rowDraft) number(column string) int64 {
	i := r.rel.Column(column)
	if i < 0 || r.values[i].State != cdc.Present {
		return 0
	}
	n, _ := strconv.ParseInt(string(r.values[i].Text), 10, 64) // 0 for what is none
	return n
}

// follow finds the row behind a many2one; nil when it was not given.
func (f *fixtures) follow(row *fixture, name string) *fixture {
	if row.model == nil || row.model.Field(name) == nil {
		return nil
	}
	to := f.catalog.Model(row.model.Field(name).Relation)
	if to == nil || row.number(name) == 0 {
		return nil
	}
	return f.find(to.Table, "id", row.number(name))
}

func (f *fixtures) find(t *catalog.Table, column string, id int64) *fixture {
	for _, row := range f.rows[t] {
		if row.number(column) == id {
			return row
		}
	}
	return nil
}

// Begin implements [delivery.Loader].
func (f *fixtures) Begin(context.Context, []*cdc.Tx) error { return nil }

// Load implements [delivery.Loader].
func (f *fixtures) Load(_ context.Context, l *rules.Link, ids []int64, found func(int64, []cdc.Row) error) error {
	for _, id := range ids {
		if err := found(id, f.behind(l, id)); err != nil {
			return err
		}
	}
	return nil
}

// behind finds the rows that a link leads to. What was not given is noted: a many2one that leads nowhere is a mistake in the case, a field without
// lines is not.
func (f *fixtures) behind(l *rules.Link, id int64) (rows []cdc.Row) {
	t := f.catalog.Table(l.Schema, l.Table)
	keep := func(row *fixture) {
		if !l.Many() || l.Archived || row.rel.Column("active") < 0 || string(row.values[row.rel.Column("active")].Text) != "f" {
			if l.Limit == 0 || len(rows) < l.Limit {
				rows = append(rows, row.row())
			}
		}
	}
	if l.Rel != nil {
		for _, pair := range f.pairs[l.Rel.Table] {
			if row := f.find(t, "id", pair[1]); row != nil && pair[0] == id {
				keep(row)
			}
		}
		return rows
	}
	for _, row := range f.rows[t] {
		if row.number(l.By) == id {
			keep(row)
		}
	}
	if len(rows) == 0 && !l.Many() {
		name := l.Table
		if m := f.catalog.ModelOf(t); m != nil {
			name = m.Name
		}
		if text := fmt.Sprintf("%s %d", name, id); !slices.Contains(f.missing, text) {
			f.missing = append(f.missing, text)
		}
	}
	return rows
}
