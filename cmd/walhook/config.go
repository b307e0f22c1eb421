package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"walhook/cdc"
	"walhook/delivery"
	"walhook/rules"
	"walhook/state"
	"walhook/status"
)

// Config is the configuration file. The zero value of an optional key means its
// documented default; config.example.toml explains every key.
type Config struct {
	Source    SourceSection                      `toml:"source"`
	State     StateSection                       `toml:"state"`
	HTTP      HTTPSection                        `toml:"http"`
	Log       LogSection                         `toml:"log"`
	Endpoints map[string]delivery.EndpointConfig `toml:"endpoints"` // by the name that rules use
	Alerts    AlertsSection                      `toml:"alerts"`
	Odoo      OdooSection                        `toml:"odoo"`
	Functions map[string]rules.Function          `toml:"functions"` // by the name that expressions call them by
	Record    RecordSection                      `toml:"record"`
	Images    ImagesSection                      `toml:"images"`
	Rules     []rules.Config                     `toml:"rules"`

	Warnings []string  `toml:"-"` // what is allowed and ill-advised, for people
	Doc      *document `toml:"-"` // the text, for the places of complaints
}

// SourceSection is [source]: the database whose changes are read.
type SourceSection struct {
	DSN            dsn               `toml:"dsn"`             // required, or dsn_file
	Slot           string            `toml:"slot"`            // default "walhook"
	Publication    string            `toml:"publication"`     // default "walhook"
	Failover       *bool             `toml:"failover"`        // a slot that standbys keep copies of (PostgreSQL 17 and later); default: as it is
	StatusInterval delivery.Duration `toml:"status_interval"` // longest time between two status messages to the server; default 10s
	IdleAdvance    delivery.Duration `toml:"idle_advance"`    // shortest time between two writes of an idle position; default 30s
	Memory         size              `toml:"memory"`          // of one transaction, before it goes to a temporary file; default 8MiB
	TempDir        string            `toml:"temp_dir"`        // of those files; default the system's
	RelatedCache   *size             `toml:"related_cache"`   // most memory of related rows that are kept; 0 keeps none; default 4MiB
	Alarm          AlarmSection      `toml:"alarm"`           // when the slot needs a person
	Guard          GuardSection      `toml:"guard"`           // limit of the WAL that the slot may keep; default none
}

// StateSection is [state]: where position, queue and log are kept.
type StateSection struct {
	DSN              dsn               `toml:"dsn"`               // default the source's
	Schema           string            `toml:"schema"`            // default "walhook"
	Retention        delivery.Duration `toml:"retention"`         // of the log of deliveries and attempts; default 30d
	AttemptRetention delivery.Duration `toml:"attempt_retention"` // of the log of attempts alone; default retention
	RetentionSize    size              `toml:"retention_size"`    // of the log on disk, beyond which the oldest days go before their time; default 50GiB
	Lease            delivery.Duration `toml:"lease"`             // after which a silent process counts as dead; default 30s
	PoolSize         int               `toml:"pool_size"`         // connections; default 8
	MaxRows          int64             `toml:"max_rows"`          // pending deliveries for all endpoints together; default 20,000,000
	MaxBytes         size              `toml:"max_bytes"`         // of their bodies; default 20GiB
}

// HTTPSection is [http]: the status pages.
type HTTPSection struct {
	Listen     string            `toml:"listen"`      // default "127.0.0.1:8070"; "off" for none
	Token      status.Token      `toml:"token"`       // bearer token; required unless listen is loopback
	StallAfter delivery.Duration `toml:"stall_after"` // how long the stream may stand still while WAL grows; default 60s
}

// LogSection is [log].
type LogSection struct {
	Level  string `toml:"level"`  // debug, info, warn, error; default info
	Format string `toml:"format"` // console or json; default console on a terminal, json elsewhere
}

// loadConfig reads, expands, decodes and validates a file. The error joins *[problem]s, one
// for every mistake found.
func loadConfig(path string, env environment) (*Config, error) {
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &failure{err: fmt.Errorf("the configuration file %s does not exist", path), code: exitUsage,
			hint: "write one with `walhook init`, or name one with --config or $WALHOOK_CONFIG; config.example.toml explains every key; `walhook demo` needs none"}
	case err != nil:
		return nil, &failure{err: fmt.Errorf("read configuration: %w", err), code: exitUsage}
	}
	return parseConfig(path, text, env)
}

// parseConfig is loadConfig for a text at hand.
func parseConfig(name string, text []byte, env environment) (*Config, error) {
	doc, err := parseDocument(name, text)
	if err != nil {
		return nil, err
	}
	problems := checkKeys(doc)
	expanded, err := expand(doc, env)
	if err := errors.Join(append(problems, err)...); err != nil {
		return nil, err
	}
	cfg := &Config{Doc: doc, Warnings: expanded.warnings}
	if err := toml.NewDecoder(bytes.NewReader(expanded.text)).DisallowUnknownFields().Decode(cfg); err != nil {
		return nil, decodeProblem(doc, expanded, err)
	}
	for i := range cfg.Rules {
		cfg.Rules[i].PayloadOrder = doc.keysBelow(fmt.Sprintf("rules[%d].payload", i))
	}
	zeros := cfg.checkZeros()
	if err := errors.Join(append(zeros, cfg.validate())...); err != nil {
		return nil, err
	}
	return cfg, nil
}

// decodeProblem gives an error of go-toml its place in the file as it is written.
func decodeProblem(doc *document, expanded *expansion, err error) error {
	var missing *toml.StrictMissingError
	var decode *toml.DecodeError
	if errors.As(err, &missing) && len(missing.Errors) > 0 {
		decode = &missing.Errors[0]
	}
	if decode == nil && !errors.As(err, &decode) {
		return &problem{file: doc.name, message: err.Error()}
	}
	line, column := decode.Position()
	at := expanded.original(offsetOf(expanded.text, line, column))
	return doc.problemAt(span{at, at + 1}, strings.TrimPrefix(decode.Error(), "toml: "), "")
}

// withDefaults fills what other parts of the program read directly.
func (c *Config) withDefaults() {
	if c.Source.Slot == "" {
		c.Source.Slot = "walhook"
	}
	if c.Source.Publication == "" {
		c.Source.Publication = "walhook"
	}
	if c.State.Schema == "" {
		c.State.Schema = state.DefaultSchema
	}
	if c.State.DSN.isZero() {
		c.State.DSN = c.Source.DSN
	}
}

// source is the configuration of the stream.
func (c *Config) source() cdc.SourceConfig {
	return cdc.SourceConfig{
		DSN: c.Source.DSN.reveal(), Slot: c.Source.Slot, Publication: c.Source.Publication,
		StatusInterval: c.Source.StatusInterval.Std(), IdleAdvance: c.Source.IdleAdvance.Std(),
		Limits: cdc.Limits{Memory: int64(c.Source.Memory), TempDir: c.Source.TempDir},
	}
}

// state is the configuration of the state schema.
func (c *Config) state(version string) state.Config {
	return state.Config{
		DSN: c.State.DSN.reveal(), Schema: c.State.Schema, Retention: c.State.Retention.Std(), AttemptRetention: c.State.AttemptRetention.Std(), RetentionSize: c.State.retentionSize(), Lease: c.State.Lease.Std(),
		PoolSize: c.State.PoolSize, Version: version, Limits: c.limits(), Alerts: c.alerts(), Record: c.Record.config(),
	}
}

// status is the configuration of the status pages.
func (c *Config) status() status.Config {
	return status.Config{Listen: c.HTTP.Listen, Token: c.HTTP.Token, StallAfter: c.HTTP.StallAfter.Std()}
}

// validate collects the problems of all sections that can be seen without a database.
func (c *Config) validate() error {
	c.withDefaults()
	var problems []error
	if c.Source.DSN.isZero() {
		hint := `[source] dsn = "postgres://walhook@localhost/odoo", or dsn_file`
		problems = append(problems, c.Doc.problem("source", false, "source.dsn is missing", hint))
	} else {
		problems = append(problems, c.place(c.source().Validate(), "")...)
		problems = append(problems, c.place(c.source().Limits.Validate(), "source")...)
		problems = append(problems, c.place(c.Source.validateWatch(), "source")...)
		problems = append(problems, c.place(c.state("").Validate(), "")...)
		problems = append(problems, c.place(c.leaseTooShort(), "")...)
	}
	problems = append(problems, c.place(c.status().Validate(), "")...)
	if c.Log.Level != "" && !slices.Contains([]string{"trace", "debug", "info", "warn", "error"}, c.Log.Level) {
		problems = append(problems, c.Doc.problem("log.level", true, fmt.Sprintf("unknown level %q", c.Log.Level), "levels are debug, info, warn and error"))
	}
	if c.Log.Format != "" && c.Log.Format != "console" && c.Log.Format != "json" {
		problems = append(problems, c.Doc.problem("log.format", true, fmt.Sprintf("unknown format %q", c.Log.Format), "formats are console and json"))
	}
	problems = append(problems, c.readTemplates()...)
	for _, name := range slices.Sorted(maps.Keys(c.Endpoints)) {
		endpoint := c.Endpoints[name]
		path := "endpoints." + name
		if !endpointName.MatchString(name) {
			problems = append(problems, c.Doc.problem(path, false, fmt.Sprintf("%q is no name for an endpoint", name), "use up to 64 letters, digits, dots, - and _"))
		}
		problems = append(problems, c.place(endpoint.Validate(), path)...)
		for _, w := range endpoint.Warnings() {
			c.Warnings = append(c.Warnings, path+": "+w)
		}
	}
	problems = append(problems, c.checkEndpoints()...)
	problems = append(problems, c.checkAlerts()...)
	problems = append(problems, c.checkLimits()...)
	problems = append(problems, c.place(c.Record.validate(), "record")...)
	problems = append(problems, c.checkFiles()...)
	return errors.Join(problems...)
}

var endpointName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$`)

// checkEndpoints complains about rules whose endpoint is none. The rest of a rule
// is for rules.Compile, which knows the schema.
func (c *Config) checkEndpoints() []error {
	var problems []error
	known := slices.Sorted(maps.Keys(c.Endpoints))
	check := func(path, name string) {
		if _, ok := c.Endpoints[name]; ok || name == "" {
			return
		}
		hint := fmt.Sprintf("add [endpoints.%s] with a url", name)
		if s := nearest(name, known); s != "" {
			hint = fmt.Sprintf("did you mean %q?", s)
		}
		problems = append(problems, c.Doc.problem(path, true, fmt.Sprintf("there is no endpoint %q", name), hint))
	}
	for i, r := range c.Rules {
		check(fmt.Sprintf("rules[%d].endpoint", i), r.Endpoint)
		for j, name := range r.Endpoints {
			check(fmt.Sprintf("rules[%d].endpoints[%d]", i, j), name)
		}
		if s := r.Split; s != nil {
			for _, value := range slices.Sorted(maps.Keys(s.Endpoints)) {
				check(fmt.Sprintf("rules[%d].split.endpoints.%s", i, value), s.Endpoints[value])
			}
			if s.Other != nil {
				check(fmt.Sprintf("rules[%d].split.other", i), *s.Other)
			}
		}
	}
	return problems
}

// keyPrefix is how packages begin a complaint about a key: "source.slot: …".
var keyPrefix = regexp.MustCompile(`^([a-z_]+(?:\.[A-Za-z0-9_-]+|\[[0-9]+\])*): (.*)$`)

// place turns complaints of other packages into problems with a place. They name their key, either with a method
// Key or at the start of their text; section goes before it.
func (c *Config) place(err error, section string) []error {
	var problems []error
	for _, e := range flatten(err) {
		key, message := "", e.Error()
		if m := keyPrefix.FindStringSubmatch(strings.ReplaceAll(message, "\n", " ")); m != nil {
			key, message = m[1], m[2]
		}
		if keyed, ok := e.(interface{ Key() string }); ok {
			key = keyed.Key()
		}
		if told, ok := e.(interface{ Message() string }); ok {
			message = told.Message()
		}
		path := key
		if section != "" {
			path = joinPath(section, key)
		}
		if i := strings.LastIndexByte(path, '.'); strings.HasPrefix(message, "missing") || !c.Doc.has(path) && i > 0 {
			message = path[i+1:] + ": " + message
		}
		problems = append(problems, c.Doc.problem(path, true, message, hintOf(e)))
	}
	return problems
}

// ruleProblems gives the complaints of rules.Compile their places, down to the
// character inside an expression.
func (c *Config) ruleProblems(err error) error {
	var problems []error
	for _, e := range flatten(err) {
		var p *rules.Problem
		if !errors.As(e, &p) {
			problems = append(problems, e)
			continue
		}
		path, inValue := p.Path, true
		if p.Rule >= 0 {
			path, inValue = fmt.Sprintf("rules[%d]", p.Rule), p.Path != ""
		}
		if p.Rule >= 0 && inValue {
			path = joinPath(path, p.Path)
		}
		message := p.Message
		if p.Rule >= 0 && p.Rule < len(c.Rules) && c.Rules[p.Rule].Name != "" {
			message = fmt.Sprintf("rule %q: %s", c.Rules[p.Rule].Name, message)
		}
		found := c.Doc.find(path)
		if p.Offset < 0 || found == nil || found.path != path {
			problems = append(problems, c.Doc.problem(path, inValue, message, p.Suggest))
			continue
		}
		from := found.inside(c.Doc.text, p.Offset)
		problems = append(problems, c.Doc.problemAt(span{from, from + 1}, message, p.Suggest))
	}
	return errors.Join(problems...)
}

// hostname is this machine's name, "" when it has none.
func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return name
}

// infoOf names the parts of the configuration that the status pages show.
func (c *Config) infoOf(version string, started time.Time) status.Info {
	info := status.Info{
		Version: version, PID: os.Getpid(), Started: started, Slot: c.Source.Slot, Publication: c.Source.Publication,
		Host: hostname(), Endpoints: slices.Sorted(maps.Keys(c.Endpoints)), Limits: c.flowLimits(), Rules: map[string]bool{}, Tests: map[string]bool{},
	}
	for _, name := range info.Endpoints {
		if endpoint := c.Endpoints[name]; !endpoint.IsActive() {
			info.Inactive = append(info.Inactive, name)
		}
	}
	for _, r := range c.Rules {
		info.Rules[r.Name] = r.Active == nil || *r.Active
		info.Tests[r.Name] = r.Test
	}
	return info
}
