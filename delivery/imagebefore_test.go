package delivery

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"walhook/cdc"
)

// beforeStore is a BeforeStore that answers with what it holds.
type beforeStore struct{ b ImagesBefore }

func (s *beforeStore) ImagesBefore(context.Context, string, string, []string) (*ImagesBefore, error) {
	return &s.b, nil
}

func comparedRow(t *testing.T, rel *cdc.Relation, values ...string) cdc.Row {
	t.Helper()
	list := make([]cdc.Value, len(values))
	for i, v := range values {
		list[i] = cdc.Value{State: cdc.Present, Text: []byte(v), Type: rel.Columns[i].Type}
	}
	row, ok := cdc.NewRow(rel, cdc.ImageFull, cdc.AppendTuple(nil, list))
	if !ok {
		t.Fatal("no row")
	}
	return row
}

// What became of rows is told from their images: written, with what was before; made meanwhile; and made, as far as can be told, where the table has come
// to have a column that images lack.
func TestComparison(t *testing.T) {
	column := func(name string) cdc.Column { return cdc.Column{Name: name, Type: cdc.BuiltinType(25)} }
	was := cdc.NewRelation(1, "public", "t", 'd', []cdc.Column{column("id"), column("a"), column("password")}, []string{"id"})
	is := cdc.NewRelation(1, "public", "t", 'd', []cdc.Column{column("id"), column("a"), column("password"), column("b")}, []string{"id"})
	keep := func(_ *cdc.Relation, column string) bool { return column != "password" }
	shape, err := cdc.NewImageShape(was, keep)
	if err != nil {
		t.Fatal(err)
	}
	newer, err := cdc.NewImageShape(is, keep)
	if err != nil {
		t.Fatal(err)
	}
	store := &beforeStore{ImagesBefore{Kept: true, Comparing: true, Shapes: [][]byte{shape.Encode(), newer.Encode()}, Images: []Image{
		{Key: "1", Shape: 1, Data: newer.Pack(nil, comparedRow(t, is, "1", "x", "s", "y"))}, {Key: "2", Data: shape.Pack(nil, comparedRow(t, was, "2", "x", "s"))}}}}
	chunk := &cdc.Chunk{Rel: is}
	for _, key := range []string{"0", "1", "2", "3"} {
		chunk.Rows, chunk.Keys = append(chunk.Rows, comparedRow(t, is, key, "z", "s", "y")), append(chunk.Keys, key)
	}
	job := &Job{ID: 7, Kind: JobResync, Rule: "r", Schema: "public", Table: "t", Spec: CompareSpec}
	if !job.Compares() || (&Job{Kind: JobBackfill, Spec: CompareSpec}).Compares() || (&Job{Kind: JobResync}).Compares() {
		t.Error("which jobs compare rows")
	}
	told := func(writes bool) string {
		t.Helper()
		c := &comparison{store: store, keep: keep, writes: writes}
		changes, done, err := c.changes(t.Context(), job, chunk, 1)
		if err != nil || done {
			t.Fatal(done, err)
		}
		var list []string
		for _, change := range changes {
			before := change.Before.Value(1)
			list = append(list, fmt.Sprintf("%d %s %s %s%q", change.Ordinal, change.Op, change.Key, change.Origin, before.Text))
		}
		return strings.Join(list, "; ")
	}
	if got, want := told(true), `0 write 1 resync"x"; 1 create 2 resync""; 2 create 3 resync""`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got, want := told(false), `2 create 3 resync""`; got != want {
		t.Errorf("to a rule on create alone: %s, want %s", got, want)
	}
	c := &comparison{store: store, keep: keep}
	if columns, err := c.columns(t.Context(), job, []string{"id", "other"}); err != nil || strings.Join(columns, " ") != "id other a b" {
		t.Errorf("columns %q, %v", columns, err)
	}
	store.b.Comparing = false // emptied since
	if changes, done, err := c.changes(t.Context(), job, chunk, 0); len(changes) > 0 || !done || err != nil {
		t.Error(changes, done, err)
	}
	store.b.Kept = false // taken out of the configuration
	var gone *JobRuleError
	if _, _, err := c.changes(t.Context(), job, chunk, 0); !errors.As(err, &gone) || !strings.Contains(gone.Hint(), "walhook backfill cancel 7") {
		t.Error(err)
	}
	store.b = ImagesBefore{Kept: true, Comparing: true, Images: []Image{{Key: "1", Shape: 3}}}
	if _, _, err := c.changes(t.Context(), job, chunk, 0); err == nil {
		t.Error("an image of a shape that is not there")
	}
}
