package pgserver

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"time"
)

// DefaultRepository is the Maven repository that PostgreSQL's programs are
// downloaded from when the machine has none.
const DefaultRepository = "https://repo1.maven.org/maven2"

// DefaultVersion is the release of PostgreSQL that is downloaded.
const DefaultVersion = "18.3.0"

// Options say how to run a server. The zero value works.
type Options struct {
	// Dir holds the cluster. It must be missing or empty, since Close removes it.
	// Default: a new directory in the system's place for temporary files.
	Dir string

	// Port to listen on at 127.0.0.1. Default: any free one.
	Port int

	// Settings are lines of postgresql.conf, unquoted. They override the defaults: wal_level
	// logical and room for ten senders and slots. ALTER SYSTEM overrides both.
	Settings map[string]string

	// HBA holds lines of pg_hba.conf that come before the defaults; the first
	// line that fits a connection decides. By default every role may connect to every
	// database from this machine, and nobody may take a physical replica.
	HBA []string

	// Trust lets everybody on this machine in as any role, without a password.
	// Default: roles log in with their password, and the superuser's is random.
	Trust bool

	// Log receives the server's log. Default: kept only to explain a failed start.
	Log io.Writer

	// Bin is the directory of initdb and postgres. Default: $WALHOOK_PG_BIN, then
	// PATH, then where distributions put them, then a download.
	Bin string

	// Offline forbids the download.
	Offline bool

	// Repository is the base URL of a Maven repository, or of a mirror of one, that has
	// io.zonky.test.postgres. Default: $WALHOOK_PG_REPOSITORY, then DefaultRepository.
	Repository string

	// Version is the release to download. Default: DefaultVersion.
	Version string

	// CacheDir keeps what was downloaded. Default: walhook in the user's cache directory;
	// /var/cache/walhook for root, whose own cannot be read by the server's account.
	CacheDir string

	// StartTimeout bounds initdb and the server's start, each. Default: 60 s.
	StartTimeout time.Duration
}

// Validate reports every option that cannot be used.
func (o Options) Validate() error {
	var problems []error
	if o.Port < 0 || o.Port > 65535 {
		problems = append(problems, fmt.Errorf("port: %d is not between 1 and 65535", o.Port))
	}
	if o.StartTimeout < 0 {
		problems = append(problems, fmt.Errorf("start timeout: %s is negative", o.StartTimeout))
	}
	for name, value := range o.Settings {
		if !settingName(name) {
			problems = append(problems, fmt.Errorf("settings: %q is not a setting's name", name))
		}
		if strings.ContainsAny(value, "\n\r\x00") {
			problems = append(problems, fmt.Errorf("settings.%s: the value spans lines", name))
		}
		if reserved[name] {
			problems = append(problems, fmt.Errorf("settings.%s: is set by the server itself", name))
		}
	}
	for _, line := range o.HBA {
		if strings.ContainsAny(line, "\n\r\x00") {
			problems = append(problems, fmt.Errorf("hba: %q spans lines", line))
		}
	}
	return errors.Join(problems...)
}

// reserved are the settings that connection strings and start-up rely on.
var reserved = map[string]bool{
	"port": true, "listen_addresses": true, "unix_socket_directories": true, "external_pid_file": true,
	"data_directory": true, "hba_file": true, "logging_collector": true,
}

// defaultSettings make a server that logical replication can be tried on.
var defaultSettings = map[string]string{
	"wal_level":             "logical",
	"max_wal_senders":       "10",
	"max_replication_slots": "10",
	"timezone":              "UTC",
	"log_timezone":          "UTC",
}

// settings returns the defaults with the caller's on top.
func (o Options) settings() map[string]string {
	all := maps.Clone(defaultSettings)
	maps.Copy(all, o.Settings)
	return all
}

func (o Options) startTimeout() time.Duration {
	if o.StartTimeout == 0 {
		return time.Minute
	}
	return o.StartTimeout
}

// settingName tells whether name is an identifier, perhaps qualified by an extension's.
func settingName(name string) bool {
	if name == "" {
		return false
	}
	for _, r := range name {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' && r != '.' {
			return false
		}
	}
	return true
}

// quoteSetting quotes a value for postgresql.conf.
func quoteSetting(value string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(value) + "'"
}
