package pgserver

import "fmt"

// Error is a failure that its reader can mend; Hint says how.
type Error struct {
	Message string
	Err     error // the cause; may be nil
	hint    string
}

// Error returns the message and its cause.
func (e *Error) Error() string {
	if e.Err == nil {
		return e.Message
	}
	return fmt.Sprintf("%s: %v", e.Message, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hint returns what to do about it; it may be empty.
func (e *Error) Hint() string { return e.hint }
