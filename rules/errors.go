package rules

// Problem is a mistake in one rule.
type Problem struct {
	Rule    int    // index in the configs
	Path    string // key inside the rule: "when", "fields[2]", "payload.total"
	Message string // "unknown field \"stat\" of sale.order"
	Suggest string // "did you mean \"state\"?", or the remedy; may be empty
	// Offset is the position in the expression's text, in bytes from 0, when the
	// mistake is inside an expression; -1 otherwise.
	Offset int
}

func (p *Problem) Error() string { panic("contract") }

// Hint returns the remedy.
func (p *Problem) Hint() string { return p.Suggest }

// EvalError is a condition (or payload expression) that failed at run time on one change.
type EvalError struct {
	Rule string
	Path string // "when" or "payload.total"
	Err  error
}

func (e *EvalError) Error() string { panic("contract") }
func (e *EvalError) Unwrap() error { return e.Err }
