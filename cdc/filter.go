package cdc

import (
	"fmt"
	"strconv"
	"strings"
)

// FilterKind says what a [Filter] is.
type FilterKind uint8

// The kinds. All are true or false, never NULL: what compares with NULL is false.
const (
	FilterAll     FilterKind = iota // all of Of hold; of none, every row
	FilterAny                       // one of Of holds
	FilterNot                       // the only one of Of does not hold
	FilterCompare                   // Column Operator Text
	FilterIs                        // Column IS Text: TRUE, NOT TRUE, FALSE, NOT FALSE, NULL or NOT NULL
)

// Filter is a condition on the rows of one table, as far as SQL can tell it in the same way as an expression. It narrows down what is read;
// it does not decide.
type Filter struct {
	Kind     FilterKind
	Of       []Filter
	Column   string
	Type     *Type  // of the column, one that [Filterable] knows
	Operator string // =, <, <=, >, >=
	Text     string // the value, as PostgreSQL writes it
}

// Filterable says that values of a type compare in SQL exactly as they do in an expression.
func Filterable(t *Type) bool { return filterCast(t) != "" }

// filterCast is the SQL type that a value is compared as.
func filterCast(t *Type) string {
	if t == nil {
		return ""
	}
	switch t.OID {
	case 20, 21, 23:
		return "int8"
	case 1700:
		return "numeric"
	case 25, 1043:
		return "text"
	case 1082, 1114:
		return "timestamp"
	case 1184:
		return "timestamptz"
	}
	return ""
}

// filterSQL writes filters. Values are parameters, never part of the text.
type filterSQL struct {
	strings.Builder
	args []any
}

// write writes one filter. Where it is negated it must not hold for any row for which it should not: texts are compared byte by byte then, whatever
// collation they have, and no index helps.
func (w *filterSQL) write(f *Filter, negated bool) {
	switch f.Kind {
	case FilterAll, FilterAny:
		word, none := " AND ", "true"
		if f.Kind == FilterAny {
			word, none = " OR ", "false"
		}
		if len(f.Of) == 0 {
			w.WriteString(none)
			return
		}
		w.WriteByte('(')
		for i := range f.Of {
			if i > 0 {
				w.WriteString(word)
			}
			w.write(&f.Of[i], negated)
		}
		w.WriteByte(')')
	case FilterNot:
		w.WriteByte('(')
		w.write(&f.Of[0], true)
		w.WriteString(" IS NOT TRUE)")
	case FilterIs:
		w.WriteString("(" + quoteIdent(f.Column) + " IS " + f.Text + ")")
	case FilterCompare:
		w.compare(f, negated)
	}
}

func (w *filterSQL) compare(f *Filter, negated bool) {
	cast := filterCast(f.Type)
	var value any = f.Text
	switch cast {
	case "int8":
		if n, err := strconv.ParseInt(f.Text, 10, 64); err == nil {
			value = n
		} else {
			cast = "numeric"
		}
	case "text":
		if negated || f.Operator != "=" {
			cast = `text COLLATE "C"`
		}
	}
	w.args = append(w.args, value)
	fmt.Fprintf(w, "(%s %s $%d::%s)", quoteIdent(f.Column), f.Operator, len(w.args), cast)
}

// sql returns the condition and its parameters, which go on from those that there are.
func (f *Filter) sql(args []any) (string, []any) {
	w := filterSQL{args: args}
	w.write(f, false)
	return w.String(), w.args
}

// columns adds the columns that the filter compares.
func (f *Filter) columns(all []string) []string {
	if f.Column != "" {
		all = append(all, f.Column)
	}
	for i := range f.Of {
		all = f.Of[i].columns(all)
	}
	return all
}

// String shows the filter for people and tests: as SQL with its values in place.
func (f *Filter) String() string {
	text, args := f.sql(nil)
	for i := len(args); i > 0; i-- {
		value, isText := args[i-1].(string)
		if isText {
			value = quoteText(value)
		} else {
			value = fmt.Sprint(args[i-1])
		}
		text = strings.ReplaceAll(text, "$"+strconv.Itoa(i)+"::", value+"::")
	}
	return text
}
