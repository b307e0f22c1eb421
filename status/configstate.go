package status

import "time"

// ConfigState is which configuration is in force, and what came of reading it again.
type ConfigState struct {
	LoadedAt time.Time `json:"loaded_at"`                   // when the one in force was read
	Reloads  int       `json:"reloads"`                     // how often it was to be read again since the process started
	Begun    int       `json:"reloads_begun"`               // how often it was begun to read it again: one more than reloads while it is being read
	Pending  bool      `json:"reload_pending,omitempty"`    // when the last one ended, another one was asked for
	Error    string    `json:"reload_error,omitempty"`      // why the last reload was refused: the configuration before it goes on
	Hint     string    `json:"reload_error_hint,omitempty"` // what to do about it
	ErrorAt  time.Time `json:"reload_error_at,omitzero"`
	Restart  []string  `json:"restart_needed,omitempty"` // keys that have changed and take effect when the process is started anew
}

// SettledAfter says that the configuration was read again by an attempt that began after an earlier state was told, and that none is
// under way or asked for.
func (c *ConfigState) SettledAfter(before *ConfigState) bool {
	return c.Reloads > before.Begun && c.Begun <= c.Reloads && !c.Pending
}

func (c ConfigState) orNil() *ConfigState {
	if c.LoadedAt.IsZero() {
		return nil
	}
	return &c
}

var configFamilies = []family{reloadOK, reloadAt, restartNeeded}

var (
	reloadOK      = gauge("config_last_reload_successful", "1 when the configuration was read without an error, the last time that it was to be read.")
	reloadAt      = gauge("config_last_reload_success_timestamp_seconds", "When the configuration in force was read, in seconds since the epoch.")
	restartNeeded = gauge("config_restart_needed", "How many changed keys take effect only when the process is started anew.")
)

func (c *ConfigState) collect(send func(family, float64, ...string)) {
	if c == nil {
		return
	}
	send(reloadOK, truth(c.Error == ""))
	send(reloadAt, float64(c.LoadedAt.UnixMilli())/1000)
	send(restartNeeded, float64(len(c.Restart)))
}

// SetInfo replaces what the pages tell of the configuration.
func (s *Server) SetInfo(info Info) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.info = info
}

// Info is what the pages tell of the configuration.
func (s *Server) Info() Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.info
}
