package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"walhook/cdc"
	"walhook/cdc/catalog"
	"walhook/delivery"
	"walhook/state"
)

// report is what check found, as --json prints it.
type report struct {
	OK       bool      `json:"ok"` // no finding is an error
	Source   string    `json:"source,omitempty"`
	State    string    `json:"state,omitempty"`
	Rules    int       `json:"rules"`
	Tables   int       `json:"tables"`
	Findings []finding `json:"findings"`
}

// finding is one thing that is not as it should be. A finding is not an error: check lists them all.
type finding struct {
	Code     string `json:"code"`
	Severity string `json:"severity"` // error, warning, info
	Message  string `json:"message"`
	Hint     string `json:"hint,omitempty"`
	Setup    bool   `json:"setup,omitempty"` // `walhook setup` does away with it
}

func (r *report) add(severity cdc.Severity, code, message, hint string) {
	r.Findings = append(r.Findings, finding{Code: code, Severity: string(severity), Message: message, Hint: hint})
}

// preflight adds what cdc found.
func (r *report) preflight(found []cdc.Finding) {
	for _, f := range found {
		r.Findings = append(r.Findings, finding{Code: f.Code, Severity: string(f.Severity), Message: f.Message, Hint: f.Hint, Setup: f.Setup})
	}
}

func (r *report) count(severity cdc.Severity) int {
	n := 0
	for _, f := range r.Findings {
		if f.Severity == string(severity) {
			n++
		}
	}
	return n
}

func (a *app) checkCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "check",
		Short: "Find what is missing before walhook can run",
		Long: `check reads the configuration, compiles the rules against the live schema and looks at the
server, the slot, the publication, every table, the state schema and the endpoints' files. It changes
nothing. Each finding comes with its remedy. It ends with status 3 when a finding is an error, and
with 2 when the configuration or a rule is wrong.`,
		Example: "  walhook check\n  walhook check --json | jq '.findings[] | select(.severity == \"error\")'",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			r, err := cfg.check(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				err = a.printJSON(r)
			} else {
				err = r.print(a.stdout)
			}
			if err == nil && !r.OK {
				return errQuiet(exitEnvironment)
			}
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// check collects findings. The error is what keeps it from looking at all: no
// connection, or a rule that is wrong.
func (c *Config) check(ctx context.Context) (*report, error) {
	r := &report{Rules: len(c.Rules), Findings: []finding{}}
	for _, w := range c.Warnings {
		r.add(cdc.SeverityWarning, "configuration", w, "")
	}
	if len(c.Rules) == 0 {
		r.add(cdc.SeverityWarning, "no_rules", "there is no rule: nothing will be sent", "add a [[rules]] table; config.example.toml has some")
	}
	c.checkSender(r)
	conn, err := connect(ctx, "source.dsn", c.Source.DSN.reveal())
	if err != nil {
		return nil, err
	}
	defer closeConn(conn)
	var facts *cdc.Facts
	var cat *catalog.Catalog
	s, err := c.look(ctx, conn, "")
	var privilege *catalog.PrivilegeError
	switch {
	case errors.As(err, &privilege):
		// Without Odoo's metadata rules cannot be judged; the server can.
		r.Findings = append(r.Findings, finding{Code: "metadata_privilege", Severity: string(cdc.SeverityError), Message: privilege.Error(), Hint: privilege.Hint(), Setup: true})
		if facts, err = cdc.Inspect(ctx, conn, c.Source.Slot, c.Source.Publication, nil); err != nil {
			return nil, environmentError(err, "")
		}
		r.preflight(cdc.Preflight(facts, nil))
	case err != nil:
		return nil, err
	default:
		facts, cat, r.Tables = s.facts, s.catalog, len(s.needs)
		r.preflight(cdc.Preflight(facts, s.needs))
	}
	r.Source = fmt.Sprintf("%s on PostgreSQL %s, as %s", facts.Database, facts.VersionText, facts.Role.Name)
	if cat != nil && cat.Odoo != nil {
		r.Source = fmt.Sprintf("Odoo %s, %s", cat.Odoo.Version, r.Source)
		if cat.Odoo.Neutralized {
			r.add(cdc.SeverityError, "neutralized", "the database is neutralized: it is a copy for testing", neutralizedHint)
		}
	}
	c.checkState(ctx, r, facts, cat)
	r.OK = r.count(cdc.SeverityError) == 0
	return r, nil
}

// checkSender finds certificates that cannot be read.
func (c *Config) checkSender(r *report) {
	sender, err := delivery.NewHTTPSender(c.Endpoints, currentBuild().Version)
	for _, e := range flatten(err) {
		r.add(cdc.SeverityError, "endpoint", e.Error(), hintOf(e))
	}
	if err == nil {
		sender.Close()
	}
}

// checkState finds a schema that is missing, of another version, or another database's.
func (c *Config) checkState(ctx context.Context, r *report, facts *cdc.Facts, cat *catalog.Catalog) {
	add := func(code string, err error) {
		r.add(cdc.SeverityError, code, err.Error(), hintOf(err))
	}
	db, err := state.Open(ctx, c.state(currentBuild().Version))
	if err != nil {
		add("state_unreachable", err)
		return
	}
	defer closeState(db)
	to := targetOf(c.State.DSN.reveal())
	r.State = fmt.Sprintf("schema %s in %s, as %s", c.State.Schema, to.database, to.user)
	if c.stateInSource() {
		r.add(cdc.SeverityInfo, "state_in_source", "the state is kept in the source's database",
			`for production a database of its own is better: its own disk and vacuum, not in Odoo's backups ([state] dsn)`)
	}
	if err := db.Check(ctx); err != nil {
		add("state_schema", err)
		var version *state.VersionError
		if errors.As(err, &version) && version.Have < version.Want {
			r.Findings[len(r.Findings)-1].Setup = true
		}
		return
	}
	stored, bound, err := db.Bound(ctx)
	switch {
	case err != nil:
		add("state_unreadable", err)
		return
	case !bound:
		r.add(cdc.SeverityInfo, "state_new", "the state is new: the first run starts where the slot stands", "")
		return
	}
	if differences := bindingOf(facts, cat, c.Source.Slot).differences(stored); len(differences) > 0 {
		add("state_of_another_source", &state.MismatchError{Schema: c.State.Schema, Differences: differences})
		return
	}
	position, err := db.StoredPosition(ctx)
	if err != nil {
		add("state_unreadable", err)
		return
	}
	if slot := facts.Slot; slot != nil && slot.Confirmed > position.LSN {
		r.add(cdc.SeverityError, "position_behind",
			fmt.Sprintf("the state ends at %s, but the slot %q was confirmed up to %s: changes between them can no longer be read", position.LSN, slot.Name, slot.Confirmed),
			"the state was restored from a backup, or the slot was made again or advanced by hand; restore the newer state, or "+cdc.StartOver)
	}
}

func closeState(db *state.DB) {
	_ = db.Close() // only statistics could be left, and this command made none
}

// print writes the report for people: errors first, each with its remedy below it.
func (r *report) print(w io.Writer) error {
	var b strings.Builder
	if r.Source != "" {
		fmt.Fprintf(&b, "source  %s\n", r.Source)
	}
	if r.State != "" {
		fmt.Fprintf(&b, "state   %s\n", r.State)
	}
	fmt.Fprintf(&b, "rules   %s on %s\n", plural(r.Rules, "rule"), plural(r.Tables, "table"))
	sorted := slices.Clone(r.Findings)
	rank := []string{string(cdc.SeverityError), string(cdc.SeverityWarning), string(cdc.SeverityInfo)}
	slices.SortStableFunc(sorted, func(x, y finding) int {
		return slices.Index(rank, x.Severity) - slices.Index(rank, y.Severity)
	})
	for _, f := range sorted {
		word := f.Severity
		if word == string(cdc.SeverityInfo) {
			word = "note"
		}
		fmt.Fprintf(&b, "\n%s: %s\n", word, f.Message)
		if f.Hint != "" {
			fmt.Fprintf(&b, "  hint: %s\n", strings.ReplaceAll(f.Hint, "\n", "\n        "))
		}
	}
	errs, warnings := r.count(cdc.SeverityError), r.count(cdc.SeverityWarning)
	mended := 0
	for _, f := range r.Findings {
		if f.Setup && f.Severity == string(cdc.SeverityError) {
			mended++
		}
	}
	switch {
	case errs == 0 && warnings == 0:
		b.WriteString("\nready: walhook run\n")
	case errs == 0:
		fmt.Fprintf(&b, "\nready, with %s: walhook run\n", plural(warnings, "warning"))
	case mended == errs:
		fmt.Fprintf(&b, "\nnot ready: %s; `walhook setup` mends all of it\n", plural(errs, "error"))
	case mended > 0:
		fmt.Fprintf(&b, "\nnot ready: %s; `walhook setup` mends %d of them\n", plural(errs, "error"), mended)
	default:
		fmt.Fprintf(&b, "\nnot ready: %s\n", plural(errs, "error"))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// plural writes "1 rule", "2 rules".
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

const neutralizedHint = "production's webhooks must not fire from a copy; if this database really is to send: walhook run --adopt"
