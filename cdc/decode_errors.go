package cdc

import (
	"errors"
	"fmt"
	"io/fs"
)

// ErrUnknown is what [Value.Any] returns for a value that WAL does not hold. It
// is not NULL (trap 6): leave the value out or fetch it, never send null.
var ErrUnknown = errors.New("value is not in WAL (unchanged TOAST, or no old row under this replica identity)")

// ProtocolError is a message that breaks the pgoutput protocol, version 1. After
// one the stream cannot be trusted: reconnect and [Decoder.Reset].
type ProtocolError struct {
	Message byte   // type of the message, as sent: 'B', 'U' …; 0 for an empty message
	Offset  int    // byte of the message where it went wrong
	Reason  string // for people
}

func (e *ProtocolError) Error() string {
	return fmt.Sprintf("decode %s message at byte %d: %s", messageName(e.Message), e.Offset, e.Reason)
}

// ValueError is a column's text that is not of its type's form. PostgreSQL sends no such
// thing to a session whose DateStyle and the like are pinned (trap 9).
type ValueError struct {
	Type   string // the type's name
	Text   string // the start of the text
	Reason string
}

func (e *ValueError) Error() string {
	return fmt.Sprintf("value %q of type %s: %s", e.Text, e.Type, e.Reason)
}

// SpillError is a failure of the temporary file that a large transaction is
// kept in. Nothing is lost: WAL is still in the slot, and the transaction can be read again.
type SpillError struct {
	Dir string // where the file is
	Err error
}

func (e *SpillError) Error() string {
	return fmt.Sprintf("spill large transaction to a temporary file in %s: %v", e.Dir, e.Err)
}

func (e *SpillError) Unwrap() error { return e.Err }

// Temporary reports that reading the transaction again may succeed.
func (e *SpillError) Temporary() bool { return true }

// Hint says what to look at.
func (e *SpillError) Hint() string {
	const after = "; nothing is lost, the transaction is read again until there is room"
	switch {
	case errors.Is(e.Err, fs.ErrNotExist):
		return "create the folder " + e.Dir + ", or set source.temp_dir to one that is there and restart" + after
	case errors.Is(e.Err, fs.ErrPermission):
		return "let walhook's user make files in " + e.Dir + ", or set source.temp_dir to a folder of its own and restart" + after
	}
	return "make room in " + e.Dir + ", or set source.temp_dir to a folder on a file system with free space and restart" + after
}
