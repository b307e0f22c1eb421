package rules

import (
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/vm/runtime"
)

// valued and tested are expressions as Go closures.
type (
	valued func(*frame) any
	tested func(*frame) bool
)

// direct makes closures of a lowered tree, where it consists of nothing but literals, columns, our own functions and what connects them, as most
// conditions do. They call the same functions as the machine would, without its stack and its dispatch, which cost more than the functions. It
// is nil for everything else: variables, loops, lists and maps that are made. What raises is run once more by the machine, which knows the place.
func direct(n ast.Node) valued {
	switch n := n.(type) {
	case *ast.NilNode:
		return func(*frame) any { return nil }
	case *ast.IntegerNode:
		return always(n.Value)
	case *ast.StringNode:
		return always(n.Value)
	case *ast.ConstantNode:
		return always(n.Value)
	case *ast.IdentifierNode:
		if n.Value == nameEnv {
			return func(f *frame) any { return f }
		}
	case *ast.BoolNode, *ast.BinaryNode:
		return directBinary(n)
	case *ast.ConditionalNode:
		test, then, otherwise := directTest(n.Cond), direct(n.Exp1), direct(n.Exp2)
		if test == nil || then == nil || otherwise == nil {
			return nil
		}
		return func(f *frame) any {
			if test(f) {
				return then(f)
			}
			return otherwise(f)
		}
	case *ast.CallNode:
		return directCall(n)
	}
	return nil
}

// always makes a closure of a value, which is put into an interface once.
func always(v any) valued { return func(*frame) any { return v } }

func directBinary(n ast.Node) valued {
	if b, ok := n.(*ast.BinaryNode); ok && b.Operator == "??" {
		left, right := direct(b.Left), direct(b.Right)
		if left == nil || right == nil {
			return nil
		}
		return func(f *frame) any {
			if v := left(f); !runtime.IsNil(v) {
				return v
			}
			return right(f)
		}
	}
	if test := directTest(n); test != nil {
		return func(f *frame) any { return test(f) }
	}
	return nil
}

// directTest is direct for what can only be true or false, see [yieldsBool].
func directTest(n ast.Node) tested {
	switch n := n.(type) {
	case *ast.BoolNode:
		v := n.Value
		return func(*frame) bool { return v }
	case *ast.BinaryNode:
		if n.Operator == "??" {
			return nil
		}
		left, right := directTest(n.Left), directTest(n.Right)
		switch {
		case left == nil || right == nil:
			return nil
		case n.Operator == "&&" || n.Operator == "and":
			return func(f *frame) bool { return left(f) && right(f) }
		case n.Operator == "||" || n.Operator == "or":
			return func(f *frame) bool { return left(f) || right(f) }
		}
	case *ast.CallNode:
		function, args := directArguments(n)
		switch function := function.(type) {
		case func(any) bool:
			if len(args) == 1 {
				a := args[0]
				return func(f *frame) bool { return function(a(f)) }
			}
		case func(any, any) bool:
			if len(args) == 2 {
				a, b := args[0], args[1]
				return func(f *frame) bool { return function(a(f), b(f)) }
			}
		}
	}
	return nil
}

func directCall(n *ast.CallNode) valued {
	if test := directTest(n); test != nil {
		return func(f *frame) any { return test(f) }
	}
	function, args := directArguments(n)
	switch function := function.(type) {
	case func(any) any:
		if len(args) == 1 {
			a := args[0]
			return func(f *frame) any { return function(a(f)) }
		}
	case func(any, any) any:
		if len(args) == 2 {
			a, b := args[0], args[1]
			return func(f *frame) any { return function(a(f), b(f)) }
		}
	case func(any) string:
		if len(args) == 1 {
			a := args[0]
			return func(f *frame) any { return function(a(f)) }
		}
	}
	return nil
}

// directArguments returns the function that a call is of, and its arguments; nothing where one of them cannot be a closure.
func directArguments(n *ast.CallNode) (function any, args []valued) {
	callee, ok := n.Callee.(*ast.ConstantNode)
	if !ok {
		return nil, nil
	}
	for _, a := range n.Arguments {
		v := direct(a)
		if v == nil {
			return nil, nil
		}
		args = append(args, v)
	}
	return callee.Value, args
}

// directly runs a program's closures. It reports false when there are none, or when they raise: the machine then says what and where.
func (m *Matcher) directly(p *program) (v any, ok bool) {
	switch {
	case p.test != nil:
		defer func() {
			if recover() != nil {
				v, ok = nil, false
			}
		}()
		return p.test(&m.frame), true
	case p.value != nil:
		defer func() {
			if recover() != nil {
				v, ok = nil, false
			}
		}()
		return p.value(&m.frame), true
	}
	return nil, false
}
