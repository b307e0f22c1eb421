package rules

import (
	"slices"

	"walhook/cdc"
	"walhook/cdc/catalog"
)

// OutputKind is what an [Output] is in the payload.
type OutputKind uint8

// The kinds.
const (
	OutputValue  OutputKind = iota // one value: [Matcher.Value]
	OutputList                     // an array of values, one for each row: [Matcher.Each], and in it [Matcher.Value]
	OutputObject                   // an object with Members
	OutputRows                     // an array of objects with Members, one for each row: [Matcher.Each]
)

// Output is one member of what a rule's payload holds. It is immutable.
type Output struct {
	Name    string // key in the object that it is a member of
	Path    string // the names of the objects around it and its own: "lines.sku"
	Kind    OutputKind
	Column  string   // the record's own column that a value is; "" for all else
	Members []Output // of an object, and of each row
	Default any      // stands in place of null: text, number or boolean; nil for none

	place   *place  // whose current row a value is a column of; the rows of OutputRows
	of      version // of the record, when there is no place
	chain   []*place
	slot    int      // of the column
	as      *reading // how the record's own column is seen, in the language of this value
	content catalog.Content
	program *program // of a value that is an expression
	where   *program // which of the rows; nil: all
	limit   int      // of the rows
	looks   int      // how many of the rows where looks at
	reads   reads    // of the value, or of the rows themselves
	key     string   // the place in the rule, for errors
}

// Outputs returns the members of the payload in the order in which they are sent. It is empty for a whole record.
func (r *Rule) Outputs() []Output { return r.outputs }

// WholeRecord says that the payload is the whole record: the rule names neither fields nor payload.
func (r *Rule) WholeRecord() bool { return len(r.outputs) == 0 }

// Excludes says that a whole record leaves a column out because the rule says so.
func (r *Rule) Excludes(column string) bool { return slices.Contains(r.Exclude, column) }

// Reads returns the indexes of the columns that the record shows, sorted: those
// whose old and new values a write's "changes" should hold. They are the record's own, and never include secrets.
func (r *Rule) Reads(rel *cdc.Relation) []int {
	var out []int
	show := func(column string) {
		if i := rel.Column(column); i >= 0 && !slices.Contains(out, i) && !r.Table.Secret(column) && !r.Excludes(column) {
			out = append(out, i)
		}
	}
	if r.WholeRecord() {
		for i := range rel.Columns {
			show(rel.Columns[i].Name)
		}
	}
	for _, c := range r.shows {
		show(c)
	}
	slices.Sort(out)
	return out
}

// appendReads lists what outputs read, all the way down.
func appendReads(list []*reads, outputs []Output) []*reads {
	for i := range outputs {
		o := &outputs[i]
		list = append(list, &o.reads)
		if o.where != nil {
			list = append(list, &o.where.reads)
		}
		list = appendReads(list, o.Members)
	}
	return list
}
