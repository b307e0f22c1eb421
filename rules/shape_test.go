package rules

import (
	"strings"
	"testing"

	"walhook/cdc/catalog"
)

// A field that Odoo stores, and whose column is gone, is not computed: the module was not upgraded, or somebody dropped the column.
func TestMissingColumn(t *testing.T) {
	s := shape{table: &catalog.Table{Schema: "public", Name: "sale_order"}, name: "sale.order"}
	for _, c := range []struct {
		stored bool
		want   string
	}{{true, "is stored, but its column is missing from"}, {false, "is computed"}} {
		message, remedy := s.columnless(&catalog.Field{Name: "x_code", Type: "char", Stored: c.stored})
		if !strings.Contains(message, c.want) || strings.Contains(remedy, "upgrade") != c.stored {
			t.Errorf("stored %v: %s; %s", c.stored, message, remedy)
		}
	}
}

// A default without a value is a slip, where it does not make an object either.
func TestDefaultNeedsValue(t *testing.T) {
	for _, c := range []struct {
		member map[string]any
		want   string
	}{
		{map[string]any{"default": "x"}, "the table has no value"},
		{map[string]any{"default": int64(7)}, "the table has no value"},
		{map[string]any{"default": "x", "lang": "fr_FR"}, "the table has no value"},
		{map[string]any{"default": "nmae", "other": "name"}, `unknown field "nmae"`},
		{map[string]any{"default": "name"}, ""}, // an object with such a member
	} {
		_, err := Compile([]Config{rule(Config{Payload: Payload{"a": c.member}})}, testCatalog())
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || c.want[0] == 't' && strings.Contains(err.Error(), "unknown field")) {
			t.Errorf("%v: %v", c.member, err)
		}
	}
}
