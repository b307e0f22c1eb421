package status

import "fmt"

// ConfigError is a mistake in one key of the [http] section.
type ConfigError struct {
	Key     string // "listen"
	Message string
	Remedy  string // may be empty
}

func (e *ConfigError) Error() string { return fmt.Sprintf("http.%s: %s", e.Key, e.Message) }

// Hint returns the remedy.
func (e *ConfigError) Hint() string { return e.Remedy }

// ListenError says that the address cannot be had.
type ListenError struct {
	Address string
	InUse   bool
	Err     error
}

func (e *ListenError) Error() string {
	if e.InUse {
		return fmt.Sprintf("listen on %s: the port is in use", e.Address)
	}
	return fmt.Sprintf("listen on %s: %v", e.Address, e.Err)
}

func (e *ListenError) Unwrap() error { return e.Err }

// Hint says what to do about it.
func (e *ListenError) Hint() string {
	if e.InUse {
		return `another walhook may be running already (walhook status); else choose another port: [http] listen = "127.0.0.1:8071"`
	}
	return `[http] listen needs an address of this machine, such as "127.0.0.1:8070"`
}
