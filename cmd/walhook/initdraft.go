package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"walhook/cdc/catalog"
	"walhook/rules"
)

// draft is what a new configuration says.
type draft struct {
	database, server string
	odoo             *catalog.Odoo // nil for other databases
	dsn              string        // walhook's
	ownerDSN         string        // "" when the login is walhook's own
	role             string
	roleExists       bool
	member           string // the database's owner, where it has to be in the role to end its sessions
	slot             string
	url, secret      string
	anyURL           bool   // url was not given
	walLevel         string // of the server
	rules            []draftRule
}

// draftRule is a rule with the reason that people read above it.
type draftRule struct {
	rules.Config
	why string
}

// suggestions are rules that most people of a trade want, the commonest first.
var suggestions = []draftRule{
	{why: "A quotation became an order.", Config: rules.Config{Name: "order_confirmed", Model: "sale.order", On: []string{"create", "write"}, When: `entered("state", ["sale", "done"])`,
		Event: "sale.order.confirmed", Fields: []string{"name", "client_order_ref", "partner_id", "date_order", "amount_untaxed", "amount_total", "currency_id"}}},
	{why: "A customer invoice was posted.", Config: rules.Config{Name: "invoice_posted", Model: "account.move", On: []string{"create", "write"}, When: `after.move_type == "out_invoice" && became("state", "posted")`,
		Event: "account.move.posted", Fields: []string{"name", "partner_id", "invoice_date", "invoice_date_due", "amount_untaxed", "amount_total", "currency_id", "payment_reference"}}},
	{why: "A contact was created, changed or deleted; what nobody outside needs to know of is left out.", Config: rules.Config{Name: "partner", Model: "res.partner", On: []string{"create", "write", "unlink"},
		Fields: []string{"name", "email", "phone", "vat", "street", "zip", "city", "country_id", "is_company", "active"}, Ignore: []string{"customer_rank", "supplier_rank"}}},
	{why: "A transfer was done.", Config: rules.Config{Name: "picking_done", Model: "stock.picking", On: []string{"write"}, When: `became("state", "done")`,
		Event: "stock.picking.done", Fields: []string{"name", "origin", "partner_id", "picking_type_id", "date_done"}}},
	{why: "A lead or an opportunity was created.", Config: rules.Config{Name: "lead_created", Model: "crm.lead", On: []string{"create"},
		Fields: []string{"name", "type", "contact_name", "partner_name", "email_from", "phone", "expected_revenue"}}},
	{why: "A price was changed.", Config: rules.Config{Name: "price_changed", Model: "product.template", On: []string{"write"}, When: `changed("list_price")`,
		Fields: []string{"name", "default_code", "list_price"}}},
}

// Bounds of what is suggested.
const (
	suggestedRules  = 3
	suggestedTables = 2
)

// draftRules picks rules that fit the database: of Odoo's models, or of its tables when it is another one.
func draftRules(cat *catalog.Catalog) []draftRule {
	var picked []draftRule
	for _, s := range suggestions {
		m := cat.Model(s.Model)
		if len(picked) == suggestedRules || m == nil {
			continue
		}
		has := func(name string) bool { f := m.Field(name); return f != nil && f.Column != nil }
		s.Fields = slices.DeleteFunc(slices.Clone(s.Fields), func(f string) bool { return !has(f) })
		s.Ignore = slices.DeleteFunc(slices.Clone(s.Ignore), func(f string) bool { return !has(f) })
		if s.fits(cat) {
			picked = append(picked, s)
		}
	}
	if cat.Odoo != nil {
		return picked
	}
	for _, t := range cat.Tables {
		s := draftRule{why: "Every change of a row.", Config: rules.Config{Name: t.Name, Table: t.Name, On: []string{"create", "write", "unlink"}}}
		if t.Schema != "public" {
			s.Name, s.Table = t.Schema+"_"+t.Name, t.Schema+"."+t.Name
		}
		if len(picked) < suggestedTables && len(t.PrimaryKey) > 0 && !t.Unlogged && s.fits(cat) {
			picked = append(picked, s)
		}
	}
	return picked
}

// fits says that the rule compiles against the database.
func (s draftRule) fits(cat *catalog.Catalog) bool {
	s.Endpoint = draftEndpoint
	_, err := rules.Compile([]rules.Config{s.Config}, cat)
	return err == nil
}

const draftEndpoint = "erp"

// text writes the file.
func (d *draft) text() string {
	var b strings.Builder
	what := "database " + d.database
	if d.odoo != nil {
		what = fmt.Sprintf("Odoo %s in database %s", d.odoo.Version, d.database)
	}
	fmt.Fprintf(&b, "# walhook for %s, PostgreSQL %s, written by `walhook init`.\n", oneLine(what), oneLine(d.server))
	b.WriteString(`# Every key is explained in config.example.toml and docs/configuration.md. ${NAME} in a text stands for an environment variable.

[source]
`)
	if d.ownerDSN != "" {
		b.WriteString("# walhook's own role. Its password: in ~/.pgpass, here as ${WALHOOK_PASSWORD}, or the whole string in a file (dsn_file).\n")
	}
	fmt.Fprintf(&b, "dsn  = %s\n", tomlText(d.dsn))
	fmt.Fprintf(&b, "slot = %s   # keeps WAL on the server until walhook has processed it; slots are the whole server's\n", tomlText(d.slot))
	b.WriteString(`
# Position, queue and log of deliveries. Default: a schema in the source's database. In production better a database of its own.
# [state]
# dsn = "postgres://walhook@localhost/walhook"

`)
	fmt.Fprintf(&b, "[endpoints.%s]\n", draftEndpoint)
	what = "your receiver"
	if d.anyURL {
		what = "CHANGE ME: your receiver; https for anything but this machine"
	}
	fmt.Fprintf(&b, "url     = %s   # %s\n", tomlText(d.url), what)
	fmt.Fprintf(&b, "secrets = [%s]   # signs every request (Standard Webhooks); the receiver needs it too. Or: [\"${WEBHOOK_SECRET}\"]\n", tomlText(d.secret))
	if len(d.rules) == 0 {
		b.WriteString(`
# Which changes matter. This database has no table that could serve as an example:
# [[rules]]
# name     = "order_created"
# table    = "orders"
# on       = ["create"]
# endpoint = "erp"
`)
	}
	for _, r := range d.rules {
		b.WriteString("\n# " + r.why + "\n[[rules]]\n")
		line := func(key, value string) { fmt.Fprintf(&b, "%-8s = %s\n", key, value) }
		line("name", tomlText(r.Name))
		if r.Model != "" {
			line("model", tomlText(r.Model))
		} else {
			line("table", tomlPlain(r.Table))
		}
		line("on", tomlList(r.On))
		if r.When != "" {
			line("when", "'"+r.When+"'")
		}
		line("endpoint", tomlText(draftEndpoint))
		if r.Event != "" {
			line("event", tomlText(r.Event))
		}
		if len(r.Fields) > 0 {
			line("fields", tomlList(r.Fields))
		}
		if len(r.Ignore) > 0 {
			line("ignore", tomlList(r.Ignore))
		}
	}
	return b.String()
}

// shownDraft is what init --json prints.
type shownDraft struct {
	File     string     `json:"file"`
	Database string     `json:"database"`
	Odoo     string     `json:"odoo,omitempty"` // version; left out of other databases
	Slot     string     `json:"slot"`
	Role     string     `json:"role"`
	Rules    []string   `json:"rules"`
	Next     []nextStep `json:"next"`
}

// nextStep is something to do with a new file.
type nextStep struct {
	What string `json:"what"`
	How  string `json:"how"` // SQL, a command, or the file to change
}

func (d *draft) shown(path, dsn string) shownDraft {
	s := shownDraft{File: path, Database: d.database, Slot: d.slot, Role: d.role, Rules: []string{}, Next: d.steps(path, dsn)}
	if d.odoo != nil {
		s.Odoo = d.odoo.Version
	}
	for _, r := range d.rules {
		s.Rules = append(s.Rules, r.Name)
	}
	return s
}

// next says what to do with the file.
func (d *draft) next(path, dsn string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "wrote %s: %s", path, plural(len(d.rules), "rule"))
	for i, r := range d.rules {
		sep := ", "
		if i == 0 {
			sep = " ("
		}
		b.WriteString(sep + r.Name)
	}
	if len(d.rules) > 0 {
		b.WriteString(")")
	}
	b.WriteString("\n\nnext:\n")
	for n, step := range d.steps(path, dsn) {
		fmt.Fprintf(&b, "  %d. %s\n       %s\n", n+1, step.What, step.How)
	}
	return b.String()
}

// steps are what to do with the file.
func (d *draft) steps(path, dsn string) (steps []nextStep) {
	step := func(what, how string) { steps = append(steps, nextStep{what, how}) }
	config := ""
	if path != "walhook.toml" {
		config = " --config " + path
	}
	if d.walLevel != "logical" {
		step("as a superuser, let the server write what walhook reads (wal_level is "+d.walLevel+"), and restart PostgreSQL", "ALTER SYSTEM SET wal_level = 'logical';")
	}
	if !d.roleExists {
		role := pgx.Identifier{d.role}.Sanitize()
		what, sql := "as a superuser, make walhook's role", fmt.Sprintf("CREATE ROLE %s LOGIN REPLICATION PASSWORD '…';", role)
		if d.member != "" {
			what += ", and let Odoo end its sessions to duplicate, rename or drop the database"
			sql += fmt.Sprintf(" GRANT %s TO %s;", role, pgx.Identifier{d.member}.Sanitize())
		}
		step(what, sql)
	}
	if d.ownerDSN != "" {
		step("give walhook its role's password: in ~/.pgpass, or in the dsn as ${WALHOOK_PASSWORD}", path)
	}
	if d.anyURL {
		step("name your receiver: url in [endpoints."+draftEndpoint+"]", path)
	}
	setup := "walhook setup" + config
	if d.ownerDSN != "" {
		owner := withRole(dsn, targetOf(dsn).user) // without its password
		if strings.ContainsAny(owner, " '&?*;") {
			owner = `"` + owner + `"`
		}
		setup += " --dsn " + owner
	}
	step("make publication, slot and state schema, with the owner's login; or --dry-run for the SQL", setup)
	step("see that nothing is missing", "walhook check"+config)
	step("stream and deliver", "walhook run"+config)
	return steps
}

// tomlText writes a text as TOML's basic string, in which ${NAME} stands for nothing but itself.
func tomlText(s string) string { return tomlPlain(strings.ReplaceAll(s, "${", "$${")) }

// tomlPlain is tomlText for rules, where there are no variables.
func tomlPlain(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		return `""` // no string fails
	}
	return string(text)
}

func tomlList(items []string) string {
	quoted := make([]string, len(items))
	for i, item := range items {
		quoted[i] = tomlPlain(item)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// oneLine keeps a name from ending a comment.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
