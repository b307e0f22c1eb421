package rules

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/checker"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/types"

	"walhook/cdc"
)

// Names in the typed environment that no expression can spell.
const (
	typeAny  = "any value"
	typeTime = "any date"
	typePath = "path "
	typeText = "any text"
	typeCall = "any function"
)

// typecheck lets expr's checker look for operators and functions that do not fit their
// operands: text compared with a number, and the like.
func (x *expression) typecheck(node ast.Node) {
	config := conf.New(x.environment())
	if !x.payload {
		config.Expect = reflect.Bool
	}
	config.ExpectAny = true
	tree := &parser.Tree{Node: node, Source: file.NewSource(x.text)}
	err := guard(func() error {
		_, err := checker.Check(tree, config)
		return err
	})
	if err == nil {
		return
	}
	var misfit *file.Error
	if !errors.As(err, &misfit) {
		if x.failed {
			return // it may follow from what has been reported
		}
		if what, found := strings.CutPrefix(err.Error(), "expected bool, but got "); found {
			x.fail(0, fmt.Sprintf("a condition must be true or false, this is %s", inWords(what)), "compare it with something")
			return
		}
		x.fail(0, err.Error(), "")
		return
	}
	place := x.byteOffset(misfit.From)
	message := reword(inWords(misfit.Message))
	if rest, slash := strings.CutPrefix(message, "/ "); slash && strings.HasPrefix(x.text[place:], "%") {
		message = "% " + rest // see check
	}
	x.fail(place, message, x.misfitRemedy(node, misfit.From, message))
}

// environment gives every name its type.
func (x *expression) environment() types.Map {
	env := types.Map{
		nameAfter: x.shape.types(),
		nameOp:    types.String,
		nameModel: types.String,
		nameID:    types.String,
		nameUser:  types.Map{"id": types.Int},
		nameTx:    types.Map{"xid": types.Int, "lsn": types.String, "time": types.TypeOf(time.Time{})},
		typeAny:   types.Any,
		typeTime:  types.TypeOf(time.Time{}),
		typeText:  types.String,
		typeCall:  types.TypeOf((func(...any) any)(nil)),
	}
	gatheredTypes(env)
	for name, t := range transforms {
		env[name] = t.typ
	}
	for _, name := range x.params {
		env[name] = types.Any
	}
	if integerKey(x.shape) {
		env[nameID] = types.Int
	}
	for i, p := range x.paths {
		env[fmt.Sprint(typePath, i)] = types.Map{typePath: p.typ()}
	}
	return env
}

// integerKey says whether the record's id is a number.
func integerKey(s shape) bool {
	if len(s.table.PrimaryKey) != 1 {
		return false
	}
	c := s.table.Column(s.table.PrimaryKey[0])
	return c != nil && kindOf(c) == cdc.KindInt
}

// types are the types of a row's fields. Numbers of any kind are one type, which
// programs calculate with exactly; expr calls it float64.
func (s shape) types() types.Map {
	row := make(types.Map, len(s.table.Columns))
	for i := range s.table.Columns {
		c := &s.table.Columns[i]
		row[c.Name] = typeOf(c.Type)
		if as := s.reading(c.Name, locale{}); as != nil {
			row[c.Name] = typeOf(as.typ)
		}
	}
	return row
}

func typeOf(t *cdc.Type) types.Type {
	if t == nil {
		return types.Any
	}
	switch t.Kind {
	case cdc.KindBool:
		return types.Bool
	case cdc.KindInt:
		return types.Int
	case cdc.KindFloat, cdc.KindNumeric:
		return types.Float64
	case cdc.KindDate, cdc.KindTimestamp, cdc.KindTimestampTZ:
		return types.TypeOf(time.Time{})
	case cdc.KindJSON:
		return types.Any
	case cdc.KindBytes:
		return types.TypeOf([]byte(nil))
	case cdc.KindArray:
		return types.Array(typeOf(t.Elem))
	}
	return types.String
}

var goTypes = regexp.MustCompile(`\b(float64|float32|int64|int32|int|string|bool|time\.Time|time\.Duration|time\.Month|time\.Weekday|nil|unknown)\b|map\[string\]interface \{\}|map\[interface \{\}\]\S*( \{\})?|\[\]interface \{\}|\[\]uint8|interface \{\}`)

// inWords replaces the names of Go's types in a message of expr.
func inWords(message string) string {
	return goTypes.ReplaceAllStringFunc(message, func(t string) string {
		switch t {
		case "float64", "float32":
			return "number"
		case "int64", "int32", "int":
			return "whole number"
		case "string":
			return "text"
		case "bool":
			return "boolean"
		case "time.Time":
			return "date"
		case "time.Duration":
			return "duration"
		case "time.Month", "time.Weekday":
			return "number"
		case "[]interface {}":
			return "list"
		case "[]uint8":
			return "bytes"
		case "interface {}", "unknown":
			return "anything"
		case "nil":
			return "nil"
		}
		return "object"
	})
}

// wording are messages of expr in the words of someone who writes rules.
var wording = []struct {
	expr  *regexp.Regexp
	words string
}{
	{regexp.MustCompile(`^invalid operation: (?:==|!=|<|>|<=|>=) \(mismatched types (.+) and (.+)\)$`), `cannot compare $1 with $2`},
	{regexp.MustCompile(`^invalid operation: (\S+) \(mismatched types (.+) and (.+)\)$`), `$1 does not fit between $2 and $3`},
	{regexp.MustCompile(`^invalid operation: (\S+) \(mismatched type (.+)\)$`), `$1 does not fit $2`},
	{regexp.MustCompile(`^cannot use (.+) as type (.+) in array$`), `a $1 is never in a list of $2`},
	{regexp.MustCompile(`^cannot use (.+) as argument \(type (.+)\) to call (\S+) ?$`), `$3 takes $2, not $1`},
	{regexp.MustCompile(`^invalid argument for (\S+) \(type (.+)\)$`), `$1 does not take $2`},
	{regexp.MustCompile(`^builtin (\S+) takes only array \(got (.+)\)$`), `$1 takes a list, not $2`},
	{regexp.MustCompile(`^non-boolean expression \(type (.+)\) used as condition$`), `a condition must be true or false, this is $1`},
	{regexp.MustCompile(`^predicate should return boolean \(got (.+)\)$`), `a condition must be true or false, this is $1`},
	{regexp.MustCompile(`^type (.+)\[.+\] is undefined$`), `$1 has no members`},
	{regexp.MustCompile(`^type (.+) has no (?:field|method) (\S+)$`), `$1 has no member $2`},
	{regexp.MustCompile("^error parsing regexp: (.+)$"), `no regular expression: $1`},
}

func reword(message string) string {
	for _, w := range wording {
		if w.expr.MatchString(message) {
			return w.expr.ReplaceAllString(message, w.words)
		}
	}
	return message
}

// misfitRemedy guesses what to do about operands that do not fit.
func (x *expression) misfitRemedy(root ast.Node, from int, message string) string {
	find := &operandsAt{from: from}
	ast.Walk(&root, find)
	for _, n := range find.operands {
		if remedy := x.fieldRemedy(n, message); remedy != "" {
			return remedy
		}
	}
	has := func(words ...string) bool {
		for _, w := range words {
			if !regexp.MustCompile(`\b` + w + `\b`).MatchString(message) {
				return false
			}
		}
		return true
	}
	switch {
	case strings.HasPrefix(message, "a condition"):
		return "compare it with something"
	case strings.HasPrefix(message, "cannot compare") && has("list"):
		return "write any(list, # == value), or value in list"
	case strings.HasPrefix(message, "contains") && has("list"):
		return "write value in list"
	case has("date", "text"):
		return `write a date as date("2024-12-31")`
	case has("date", "number"), has("duration", "number"):
		return `write a span of time as duration("7d") or duration("1h30m")`
	case has("boolean"):
		return "a boolean is true or false"
	case has("text", "number"):
		return "text stands in quotes, numbers do not; float(…) reads a text as a number"
	}
	return ""
}

// fieldRemedy knows fields that do not hold what people expect.
func (x *expression) fieldRemedy(n ast.Node, message string) string {
	m, ok := n.(*ast.MemberNode)
	if !ok {
		return ""
	}
	name, ok := m.Property.(*ast.StringNode)
	if _, row := isRow(m.Node); !ok || !row {
		return ""
	}
	if x.shape.model == nil || !strings.Contains(message, "text") {
		return ""
	}
	if to, _, _ := x.shape.many2one(x.cat, name.Value); to.table != nil {
		return idRemedy(name.Value)
	}
	return ""
}

// idRemedy says how to read a field of the record that a many2one field points to.
func idRemedy(many2one string) string {
	return fmt.Sprintf("field %q holds the id of a record; the record's name is ref(%q).name", many2one, many2one)
}

// operandsAt collects the operands of the operators at a place.
type operandsAt struct {
	from     int
	operands []ast.Node
}

// Visit implements ast.Visitor.
func (o *operandsAt) Visit(n *ast.Node) {
	if b, ok := (*n).(*ast.BinaryNode); ok && b.Location().From == o.from {
		o.operands = append(o.operands, unchain(b.Left), unchain(b.Right))
	}
}
