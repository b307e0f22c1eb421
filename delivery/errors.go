package delivery

import "errors"

// ErrSuperseded is what [Store.Enqueue] returns when another process has the right to read the slot now, or the stored
// position is not the one that the batch started from (invariant 2). Retrying does not help; whoever gets it stops reading.
var ErrSuperseded = errors.New("another process reads the slot now, or has moved the position")

// Why a send was cut short by ourselves. They are causes of contexts; attempts that end by
// them are [Released] and do not count.
var (
	errStopping  = errors.New("walhook is stopping")
	errLeaseLost = errors.New("the process lease was lost")
)

// ConfigError is a mistake in one key of an endpoint's configuration. Its text never
// quotes a secret.
type ConfigError struct {
	key     string
	message string
	remedy  string
}

// Error returns "key: message".
func (e *ConfigError) Error() string { return e.key + ": " + e.message }

// Key is the dotted key inside the endpoint's table: "retry.factor".
func (e *ConfigError) Key() string { return e.key }

// Message says what is wrong, without the key.
func (e *ConfigError) Message() string { return e.message }

// Hint returns the remedy; it may be empty.
func (e *ConfigError) Hint() string { return e.remedy }

// isTemporary says whether a retry may mend err: some error in its tree has a
// method Temporary that returns true.
func isTemporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}
