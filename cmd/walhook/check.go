package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/spf13/cobra"

	"walhook/cdc"
	"walhook/cdc/catalog"
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
	Hint     string `json:"hint"`
	Setup    bool   `json:"setup,omitempty"` // `walhook setup` does away with it
}

func (r *report) add(severity cdc.Severity, code, message, hint string) *finding {
	r.Findings = append(r.Findings, finding{Code: code, Severity: string(severity), Message: message, Hint: hint})
	return &r.Findings[len(r.Findings)-1]
}

// fault adds what an error says, with its own remedy unless a better one is known.
func (r *report) fault(severity cdc.Severity, code string, err error, hint string) *finding {
	if hint == "" {
		hint = hintOf(err)
	}
	if hint == "" {
		hint = "the message is the server's or the system's own: look it up in its manual"
	}
	return r.add(severity, code, err.Error(), hint)
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

func (r *report) has(code string) bool {
	return slices.ContainsFunc(r.Findings, func(f finding) bool { return f.Code == code })
}

// exit is the status that the report ends the command with.
func (r *report) exit() error {
	switch {
	case slices.ContainsFunc(r.Findings, func(f finding) bool { return f.Code == "rule" && f.Severity == string(cdc.SeverityError) }):
		return errQuiet(exitUsage)
	case !r.OK:
		return errQuiet(exitEnvironment)
	}
	return nil
}

func (a *app) checkCommand() *cobra.Command {
	var asJSON, codes bool
	var ownerDSN string
	c := &cobra.Command{
		Use:   "check",
		Short: "Find what is missing before walhook can run",
		Long: `check reads the configuration, compiles the rules against the live schema and looks at the
server, the slot, the publication, every table, the state schema, the endpoints' files and this machine. It changes
nothing and sends nothing. Every finding comes with its remedy. It ends with status 3 when a finding of severity error
keeps walhook from running, and with 2 when the configuration or a rule is wrong.

Where walhook's own role cannot log in yet, give the login of the tables' owner with --dsn, as for setup: check then looks
through it at what the role may do.`,
		Example: "  walhook check\n  walhook check --json | jq '.findings[] | select(.severity == \"error\")'\n  walhook check --codes",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if codes {
				return a.printCodes(asJSON)
			}
			cfg, err := a.load()
			if err != nil {
				return err
			}
			k := &checker{cfg: cfg, now: time.Now}
			if err := k.run(cmd.Context(), ownerDSN); err != nil {
				return err
			}
			if asJSON {
				err = a.printJSON(k.report)
			} else {
				err = k.report.print(a.stdout)
			}
			return errors.Join(err, k.report.exit())
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&codes, "codes", false, "list what can be found, by code, and end")
	c.Flags().StringVar(&ownerDSN, "dsn", "", "login of the tables' owner, to look with when walhook's own role cannot yet")
	return c
}

// checker collects findings. Only what ends the command itself, such as an interrupt, is an error.
type checker struct {
	cfg    *Config
	now    func() time.Time
	report *report
	blind  bool // what the rules need is not known
}

func (k *checker) run(ctx context.Context, ownerDSN string) error {
	k.report = &report{Rules: len(k.cfg.Rules), Findings: []finding{}}
	k.machine()
	facts, cat := k.source(ctx, ownerDSN)
	if facts != nil || !k.cfg.stateInSource() { // one database that does not answer is one finding
		k.state(ctx, facts, cat)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	k.report.OK = k.report.count(cdc.SeverityError) == 0
	return nil
}

// source looks at the source. What it found out is nil when it could not look.
func (k *checker) source(ctx context.Context, ownerDSN string) (*cdc.Facts, *catalog.Catalog) {
	dsn := k.cfg.Source.DSN.reveal()
	conn, err := connect(ctx, "source.dsn", dsn)
	role, own := "", true
	if err != nil {
		k.report.fault(cdc.SeverityError, "source_unreachable", err, "")
		if ownerDSN == "" {
			return nil, nil
		}
		role, own = targetOf(dsn).user, false
		if conn, err = connect(ctx, "--dsn", ownerDSN); err != nil {
			k.report.fault(cdc.SeverityError, "source_unreachable", err, "")
			return nil, nil
		}
	}
	defer closeConn(conn)
	facts, cat, needs, err := k.look(ctx, conn, role)
	if err != nil {
		k.report.fault(cdc.SeverityError, "source_unreadable", err, unreadableHint(err, targetOf(dsn).user))
		return nil, nil
	}
	k.report.Tables = max(len(needs)-len(registryNeeds(cat, identityNeeds(cat))), 0) // the rules' own
	_ = k.cfg.recall(ctx, facts, cat)                                                // that it is a copy is found again with the state
	k.report.preflight(k.seen(cdc.Preflight(facts, needs)))
	k.managed(ctx, conn, facts)
	if own {
		k.report.preflight(cdc.Probe(ctx, dsn, facts))
	}
	k.guard(facts)
	k.sourceClock(ctx, conn)
	k.report.Source = fmt.Sprintf("%s on PostgreSQL %s, as %s", facts.Database, facts.VersionText, facts.Role.Name)
	if cat != nil && cat.Odoo != nil {
		k.report.Source = fmt.Sprintf("Odoo %s, %s", cat.Odoo.Version, k.report.Source)
	}
	return facts, cat
}

// seen leaves out what cannot be told while the rules' needs are not known: a rule that is understood later may need a table that seems
// to be too much in the publication, and the owner has nothing to do about it.
func (k *checker) seen(found []cdc.Finding) []cdc.Finding {
	if !k.blind {
		return found
	}
	left := k.report.has("metadata_privilege")
	found = slices.DeleteFunc(found, func(f cdc.Finding) bool {
		if f.Code == "publication_extra" {
			return true
		}
		left = left || f.Setup && f.Code != "slot_missing" // that is the streaming role's to make
		return false
	})
	return slices.DeleteFunc(found, func(f cdc.Finding) bool { return f.Code == "not_owner" && !left })
}

// managed finds what keeps Odoo from managing the database while walhook's sessions are in it, those of the state too.
func (k *checker) managed(ctx context.Context, conn *pgx.Conn, facts *cdc.Facts) {
	if facts.Major() < cdc.MinServer {
		return
	}
	roles := []string{facts.Role.Name}
	if k.cfg.stateInSource() {
		roles = append(roles, targetOf(k.cfg.State.DSN.reveal()).user)
	}
	found, err := cdc.ProbeOwner(ctx, conn, facts, roles...)
	if err != nil {
		k.report.fault(cdc.SeverityError, "source_unreadable", err, unreadableHint(err, facts.Role.Name))
		return
	}
	k.report.preflight(found)
}

// look compiles the rules and finds the facts. Where rules or metadata stand in the way, what can be known without
// them is found all the same.
func (k *checker) look(ctx context.Context, conn *pgx.Conn, role string) (*cdc.Facts, *catalog.Catalog, []cdc.TableNeed, error) {
	c := k.cfg
	s, err := c.look(ctx, conn, role)
	if err == nil {
		for _, w := range c.ruleWarnings(s.rules) {
			k.report.fault(cdc.SeverityWarning, "rule", w, ruleHint(w))
		}
		return s.facts, s.catalog, s.needs, nil
	}
	var privilege *catalog.PrivilegeError
	var wrong *problem
	var cat *catalog.Catalog
	k.blind = true
	switch {
	case errors.As(err, &privilege):
		k.report.fault(cdc.SeverityError, "metadata_privilege", privilege, "").Setup = true
	case errors.As(err, &wrong):
		for _, e := range flatten(err) {
			k.report.fault(cdc.SeverityError, "rule", e, ruleHint(e))
		}
		if cat, err = c.loadCatalog(ctx, conn); err != nil {
			return nil, nil, nil, err
		}
	default:
		return nil, nil, nil, err
	}
	facts, err := cdc.InspectAs(ctx, conn, role, c.Source.Slot, c.Source.Publication, nil)
	if err != nil {
		return nil, nil, nil, err
	}
	return facts, cat, nil, nil
}

// ruleHint is the remedy of a rule's mistake, for those that have no better one.
func ruleHint(err error) string {
	if hint := hintOf(err); hint != "" {
		return hint
	}
	return "correct the rule"
}

// unreadableHint is the remedy when the server refuses to show what check looks at.
func unreadableHint(err error, role string) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "42501" {
		if name, ok := strings.CutPrefix(pg.Message, "permission denied for function "); ok {
			return fmt.Sprintf("as a superuser, in this database: GRANT EXECUTE ON FUNCTION pg_catalog.%s TO %s", name, quoteName(role))
		}
	}
	return ""
}

// quoteName quotes a name for SQL.
func quoteName(name string) string { return pgx.Identifier{name}.Sanitize() }

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

// plural writes "1 rule", "2 rules", "2 deliveries".
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if stem, ok := strings.CutSuffix(noun, "ry"); ok {
		noun = stem + "rie"
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
