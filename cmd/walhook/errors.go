package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// The exit statuses.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2 // usage or configuration
	exitEnvironment = 3 // database unreachable, check failed
	exitInterrupted = 130
)

// failure is an error with the exit status and the remedy that people see.
type failure struct {
	err  error
	code int
	hint string // "" leaves the hint of err, if it has one
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }
func (f *failure) ExitCode() int { return f.code }

// Hint returns the remedy, the wrapped error's when there is no better one.
func (f *failure) Hint() string {
	if f.hint != "" {
		return f.hint
	}
	return hintOf(f.err)
}

// usagef is a mistake in the command line.
func usagef(hint, format string, args ...any) error {
	return &failure{err: fmt.Errorf(format, args...), code: exitUsage, hint: hint}
}

// environment says that what surrounds walhook is at fault; nil stays nil.
func environmentError(err error, hint string) error {
	if err == nil {
		return nil
	}
	return &failure{err: err, code: exitEnvironment, hint: hint}
}

// errQuiet ends a command with a status after it has said everything itself.
type errQuiet int

func (e errQuiet) Error() string { return fmt.Sprintf("exit status %d", int(e)) }
func (e errQuiet) ExitCode() int { return int(e) }

// exitCode is what a command's error means for the shell: the largest status named by any error
// joined in it, 1 when none is named.
func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	code := 0
	for _, e := range flatten(err) {
		var named interface{ ExitCode() int }
		if errors.As(e, &named) {
			code = max(code, named.ExitCode())
		}
	}
	if code == 0 {
		return exitFailed
	}
	return code
}

// printError writes every joined error as "error: …", each with its hint.
func printError(w io.Writer, err error) {
	var quiet errQuiet
	if errors.As(err, &quiet) {
		return
	}
	lastHint := ""
	for _, e := range flatten(err) {
		hint := hintOf(e)
		if hint != "" && hint == lastHint {
			hint = "" // said once for several errors in a row
		} else {
			lastHint = hint
		}
		text := e.Error()
		if errors.Is(e, context.Canceled) {
			text = errInterrupted.Error()
		}
		fmt.Fprintf(w, "error: %s\n", text)
		if hint != "" {
			fmt.Fprintf(w, "hint: %s\n", strings.ReplaceAll(hint, "\n", "\n      "))
		}
	}
}

// flatten takes joined errors apart; errors that only wrap one stay whole.
func flatten(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []error
		for _, e := range joined.Unwrap() {
			all = append(all, flatten(e)...)
		}
		return all
	}
	return []error{err}
}

// hintOf finds the remedy of an error.
func hintOf(err error) string {
	var hinter interface{ Hint() string }
	if errors.As(err, &hinter) {
		return hinter.Hint()
	}
	return ""
}
