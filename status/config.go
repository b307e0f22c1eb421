package status

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"
)

// Config is the [http] section.
type Config struct {
	// Listen is host:port. Default "127.0.0.1:8070"; "off" starts no server. Port 0 takes a free one.
	Listen string

	// Token is what requests must bear; required when Listen is not loopback. Default none.
	Token Token

	// StallAfter is how long the stream may stand still while WAL grows before /readyz is
	// false. Default 60 s; at least 5 s.
	StallAfter time.Duration

	// CacheFor is how long answers of the state database are served again.
	// Default 5 s.
	CacheFor time.Duration
}

// WithDefaults fills what is zero.
func (c Config) WithDefaults() Config {
	if c.Listen == "" {
		c.Listen = "127.0.0.1:8070"
	}
	if c.StallAfter == 0 {
		c.StallAfter = time.Minute
	}
	if c.CacheFor == 0 {
		c.CacheFor = 5 * time.Second
	}
	return c
}

// Off says that no server is wanted.
func (c Config) Off() bool { return c.Listen == "off" }

// Validate joins all problems as *[ConfigError]s.
func (c Config) Validate() error {
	c = c.WithDefaults()
	var problems []error
	if c.StallAfter < 5*time.Second {
		problems = append(problems, &ConfigError{Key: "stall_after", Message: fmt.Sprintf("%s is too short to tell a stall from a pause", c.StallAfter), Remedy: "use 5s or more"})
	}
	if c.CacheFor < 0 {
		problems = append(problems, &ConfigError{Key: "cache_for", Message: "a time cannot be negative"})
	}
	if !c.Token.IsZero() && len(c.Token.reveal()) < minToken {
		problems = append(problems, &ConfigError{Key: "token", Message: fmt.Sprintf("a token needs %d characters or more", minToken), Remedy: "openssl rand -hex 24"})
	}
	if c.Off() {
		return errors.Join(problems...)
	}
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		problems = append(problems, &ConfigError{Key: "listen", Message: fmt.Sprintf("%q is no host:port", c.Listen), Remedy: `write "127.0.0.1:8070", or "off"`})
		return errors.Join(problems...)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n > 65535 {
		problems = append(problems, &ConfigError{Key: "listen", Message: fmt.Sprintf("%q is no port", port)})
	}
	if !isLoopback(host) && c.Token.IsZero() {
		problems = append(problems, &ConfigError{
			Key:     "listen",
			Message: fmt.Sprintf("%s can be reached from other machines, and no token is set", c.Listen),
			Remedy:  `set http.token (or token_file), or listen on 127.0.0.1`,
		})
	}
	return errors.Join(problems...)
}

// isLoopback says whether only this machine can reach a host name. The empty host is every address.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
