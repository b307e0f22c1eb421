package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/cdc"
	"walhook/delivery"
)

// clockSlack is how far clocks may be apart before it is said: far more than a network's delay, less than
// what receivers allow between the time in a signature and theirs.
const clockSlack = 30 * time.Second

// certificateSoon is when the end of a certificate is worth a warning.
const certificateSoon = 14 * 24 * time.Hour

// tempLow is how much room for temporary files is little: a transaction of a module upgrade can take it.
const tempLow = 1 << 30

// machine finds what is wrong on this machine, without any connection.
func (k *checker) machine() {
	k.configuration()
	k.tempDir()
	k.certificates()
}

// configuration finds what is allowed in the configuration and ill-advised.
func (k *checker) configuration() {
	c, r := k.cfg, k.report
	for _, w := range c.Warnings {
		message, remedy := splitWarning(w)
		r.add(cdc.SeverityWarning, "configuration", message, remedy)
	}
	if len(c.Rules) == 0 {
		r.add(cdc.SeverityWarning, "no_rules", "there is no rule: nothing will be sent", "add a [[rules]] table; config.example.toml has some")
	}
	info, err := os.Stat(c.Doc.name)
	if err != nil || runtime.GOOS == "windows" || info.Mode().Perm()&0o004 == 0 {
		return
	}
	if keys := c.Doc.secretKeys(); len(keys) > 0 {
		r.add(cdc.SeverityWarning, "config_readable", fmt.Sprintf("%s holds secrets (%s) and every user of this machine can read it", c.Doc.name, strings.Join(keys, ", ")),
			fmt.Sprintf("chmod o-r %s, or write the secrets as ${VARIABLES} or into files (dsn_file, secrets_file, token_file …)", c.Doc.name))
	}
}

// splitWarning takes a warning apart: its remedy is what follows the last colon or semicolon.
func splitWarning(text string) (message, remedy string) {
	for _, mark := range []string{"; ", ": "} {
		if i := strings.LastIndex(text, mark); i > 0 {
			return text[:i], text[i+len(mark):]
		}
	}
	return text, ""
}

// secretKeys lists the keys that hold a secret in so many words.
func (d *document) secretKeys() []string {
	var keys []string
	for _, e := range d.entries {
		if e.text == "" || len(e.parts) == 0 || !slices.Contains(secretPatterns, pattern(e.parts)) && !secretHeader(e.parts) {
			continue
		}
		plain := variable.ReplaceAllString(e.text, "")
		if e.parts[len(e.parts)-1] == "dsn" {
			if cfg, err := pgx.ParseConfig(strings.ReplaceAll(e.text, "${", "$${")); err != nil || cfg.Password == "" || variable.MatchString(cfg.Password) {
				continue
			}
		}
		if key := strings.Join(e.parts, "."); plain != "" && !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys
}

// secretPatterns are keys whose values are secrets, as [pattern] writes them.
var secretPatterns = []string{"source.dsn", "state.dsn", "http.token", "endpoints.*.secrets", "endpoints.*.hmac.secrets", "endpoints.*.auth.password", "endpoints.*.auth.token",
	"endpoints.*.auth.value", "endpoints.*.auth.client_secret", "endpoints.*.auth.consumer_key", "endpoints.*.auth.consumer_secret", "endpoints.*.auth.token_secret"}

// secretHeader says whether a path is that of a header or query value whose name sounds like a secret.
func secretHeader(parts []string) bool {
	if len(parts) < 4 || parts[0] != "endpoints" || parts[2] != "headers" && parts[2] != "query" && (parts[2] != "auth" || parts[3] != "params") {
		return false
	}
	name := strings.ToLower(parts[len(parts)-1])
	return slices.ContainsFunc([]string{"auth", "key", "token", "secret", "password"}, func(s string) bool { return strings.Contains(name, s) })
}

// tempDir makes sure that transactions that outgrow memory have a place.
func (k *checker) tempDir() {
	dir := k.cfg.Source.TempDir
	if dir == "" {
		dir = os.TempDir()
	}
	const remedy = "name a folder on a disk with room in source.temp_dir, writable by the user that runs walhook"
	f, err := os.CreateTemp(dir, "walhook-check-*")
	if err != nil {
		k.report.fault(cdc.SeverityError, "temp_dir", fmt.Errorf("transactions that outgrow source.memory have no place: %w", err), remedy)
		return
	}
	_, name := f.Close(), f.Name()
	if err := os.Remove(name); err != nil {
		k.report.fault(cdc.SeverityError, "temp_dir", fmt.Errorf("remove a temporary file: %w", err), remedy)
	}
	free, inMemory, ok := roomIn(dir)
	if !ok {
		return
	}
	if free < tempLow {
		k.report.add(cdc.SeverityWarning, "temp_dir_small", fmt.Sprintf("%s has room for %d MiB: a large transaction, as of a module upgrade, may not fit", dir, free>>20), remedy)
	}
	if inMemory {
		k.report.add(cdc.SeverityWarning, "temp_dir_memory", dir+" is kept in memory (tmpfs): large transactions would take memory after all", remedy)
	}
}

// certificates finds certificate files that cannot be used, and those that end soon.
func (k *checker) certificates() {
	c, r := k.cfg, k.report
	sender, err := delivery.NewHTTPSender(c.Endpoints, currentBuild().Version)
	for _, e := range flatten(err) {
		r.fault(cdc.SeverityError, "endpoint", e, "")
	}
	if err == nil {
		sender.Close()
	}
	for _, name := range slices.Sorted(maps.Keys(c.Endpoints)) {
		files := c.Endpoints[name].TLS
		if info, err := os.Stat(files.KeyFile); err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o004 != 0 {
			r.add(cdc.SeverityWarning, "configuration", fmt.Sprintf("endpoints.%s.tls.key_file: %s holds a private key and every user of this machine can read it", name, files.KeyFile), "chmod o-r "+files.KeyFile)
		}
		for _, f := range []struct{ key, path string }{{"cert_file", files.CertFile}, {"ca_file", files.CAFile}} {
			subject, ends := firstToEnd(f.path)
			if ends.IsZero() || ends.Sub(k.now()) > certificateSoon {
				continue
			}
			word := "ends"
			if ends.Before(k.now()) {
				word = "has ended"
			}
			r.add(cdc.SeverityWarning, "endpoint_certificate", fmt.Sprintf("endpoints.%s.tls.%s: the certificate of %q in %s %s on %s", name, f.key, subject, f.path, word, ends.UTC().Format("2006-01-02 15:04 UTC")),
				"renew it, and write the new one to "+f.path)
		}
	}
}

// firstToEnd reads certificates in PEM and returns the end of the one that ends first; zero when there is none.
func firstToEnd(path string) (subject string, ends time.Time) {
	if path == "" {
		return "", time.Time{}
	}
	rest, err := os.ReadFile(path)
	if err != nil {
		return "", time.Time{} // reported by the sender
	}
	for block := (*pem.Block)(nil); ; {
		if block, rest = pem.Decode(rest); block == nil {
			return subject, ends
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err == nil && (ends.IsZero() || cert.NotAfter.Before(ends)) {
			subject, ends = cert.Subject.CommonName, cert.NotAfter
		}
	}
}

// clock says that a server's clock and this machine's are too far apart.
func (k *checker) clock(whose string, ahead time.Duration) {
	if ahead.Abs() < clockSlack {
		return
	}
	word := "ahead of"
	if ahead < 0 {
		word = "behind"
	}
	k.report.add(cdc.SeverityWarning, "clock_skew", fmt.Sprintf("the clock of %s is %s %s this machine's: retries come at other times than meant, and receivers may refuse signatures as too old", whose, ahead.Abs().Round(time.Second), word),
		"let NTP (chrony, systemd-timesyncd) set the clocks of both machines")
}

// sourceClock compares the source's clock with this machine's.
func (k *checker) sourceClock(ctx context.Context, conn *pgx.Conn) {
	if ahead, err := cdc.ClockSkew(ctx, conn, k.now); err == nil { // a connection that breaks here is found by what comes next
		k.clock("the source's server", ahead)
	}
}

// guard says that the slot's guard comes too late.
func (k *checker) guard(f *cdc.Facts) {
	limit := int64(k.cfg.Source.Guard.MaxRetained)
	if limit == 0 || f.KeepMax < 0 || limit < f.KeepMax {
		return
	}
	k.report.add(cdc.SeverityWarning, "configuration", fmt.Sprintf("source.guard.max_retained is %s, and the server itself gives the slot up at max_slot_wal_keep_size = %s: the guard never acts", cdc.BytesText(limit), cdc.BytesText(f.KeepMax)),
		fmt.Sprintf("choose less than %s for source.guard.max_retained, or raise max_slot_wal_keep_size", cdc.BytesText(f.KeepMax)))
}
