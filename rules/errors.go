package rules

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Problem is a mistake in one rule.
type Problem struct {
	Rule    int    // index in the configs; -1 when the mistake is not in a rule
	Name    string // of the rule, if it has one
	Path    string // key inside the rule: "when", "fields[2]", "payload.total"; without a rule "functions.e164.expr"
	Message string // "unknown field \"stat\" of sale.order"
	Suggest string // "did you mean \"state\"?", or the remedy; may be empty
	// Offset is the position in the expression's text, in bytes from 0, when the
	// mistake is inside an expression; -1 otherwise.
	Offset int
	Expr   string // the expression's text when Offset is not -1
}

func (p *Problem) Error() string {
	who := fmt.Sprintf("rule %q", p.Name)
	switch {
	case p.Rule < 0:
		return p.Path + ": " + p.Message
	case p.Name == "":
		who = fmt.Sprintf("rule number %d", p.Rule+1)
	}
	if p.Path != "" {
		who += ", " + p.Path
	}
	return who + ": " + p.Message
}

// Hint returns the remedy.
func (p *Problem) Hint() string { return p.Suggest }

// Snippet shows the line of the expression with a caret under the mistake, "" when
// the mistake is not inside an expression. Tabs become blanks.
func (p *Problem) Snippet() string { return snippet(p.Expr, p.Offset) }

func snippet(expr string, offset int) string {
	if expr == "" || offset < 0 || offset > len(expr) {
		return ""
	}
	from := strings.LastIndexByte(expr[:offset], '\n') + 1
	line, _, _ := strings.Cut(expr[from:], "\n")
	line = strings.TrimRight(line, "\r")
	lead := utf8.RuneCountInString(expr[from:offset])
	return strings.ReplaceAll(line, "\t", " ") + "\n" + strings.Repeat(" ", lead) + "^"
}

// EvalError is a condition (or payload expression) that failed at run time on
// one change. The event is parked with it.
type EvalError struct {
	Rule   string
	Path   string // "when" or "payload.total"
	Err    error
	Offset int    // where in the expression, in bytes from 0; -1 when it is not known
	Expr   string // the expression's text; "" for a plain field
}

func (e *EvalError) Error() string {
	return fmt.Sprintf("rule %q, %s: %v", e.Rule, e.Path, e.Err)
}

// Unwrap returns the reason: a *[MissingError] for values that are not there.
func (e *EvalError) Unwrap() error { return e.Err }

// Hint says what an operator can do about it, if that is known.
func (e *EvalError) Hint() string {
	var h interface{ Hint() string }
	if errors.As(e.Err, &h) {
		return h.Hint()
	}
	return ""
}

// Snippet shows the line of the expression with a caret, as [Problem.Snippet] does.
func (e *EvalError) Snippet() string { return snippet(e.Expr, e.Offset) }

// quoted writes a table's name as SQL, every part in double quotes.
func quoted(parts ...string) string {
	for i, p := range parts {
		parts[i] = `"` + strings.ReplaceAll(p, `"`, `""`) + `"`
	}
	return strings.Join(parts, ".")
}
