package cdc

import (
	"fmt"
	"slices"
	"strings"
)

// Whose login runs a step.
const (
	AsOwner       = "owner"       // the tables' owner, or a DBA (trap 17)
	AsReplication = "replication" // the role of source.dsn
)

// Step is one statement of setup or teardown, or several that are one transaction. Each is run by itself and is safe to run
// when the ones before it have been.
type Step struct {
	SQL string // without a semicolon at its end
	Why string
	As  string // AsOwner or AsReplication

	slot        string   // creates this slot
	standby     bool     // as a failover slot
	replication bool     // a command that only replication connections know
	several     bool     // the server runs them as one transaction when they are sent together, psql does not
	foreign     []string // owners of what it changes that the inspecting login cannot act as
}

// CreatesSlot says that the step creates the slot.
func (s Step) CreatesSlot() bool { return s.slot != "" }

// Foreign lists the owners of what the step changes, which the inspecting login cannot act as.
func (s Step) Foreign() []string { return s.foreign }

// Required leaves out of needs what walhook works without.
func Required(needs []TableNeed) (required []TableNeed) {
	for _, n := range needs {
		if n.Optional && n.Read {
			n.Optional, n.Read, n.ReadOnly = false, false, true
		}
		if !n.Optional {
			required = append(required, n)
		}
	}
	return required
}

// Brief is the statement for people: of the record that setup keeps in a comment only that it is written.
func (s Step) Brief() string {
	if before, _, long := strings.Cut(s.SQL, " IS '"+recordPrefix); long {
		return before
	}
	return s.SQL
}

// SetupSteps returns what must be done on the source for needs, in order: what a published table needs lest
// writes to it fail, the publication, replica identities, grants to role, and the slot,
// which must be created after the publication (trap 8). There are no steps when
// everything is right. It is pure.
//
// Tables that cannot be published safely (no primary key, unlogged …) are left out;
// [Preflight] reports them, as errors without Finding.Setup.
func SetupSteps(f *Facts, needs []TableNeed, role string) []Step {
	b := &stepBuilder{f: f, record: f.Publication.record()}
	var tables []TableNeed
	for _, n := range f.weigh(needs) {
		if t := f.table(n.Schema, n.Table); n.publishes() && t != nil && t.publishable(f.Major()) {
			tables = append(tables, n)
		}
	}
	b.saveWrites(tables)
	saving := b.take()
	b.publication(tables, len(saving) > 0)
	publishing := b.take()
	b.identities(tables)
	b.grants(needs, role)
	changing := b.take()
	b.assemble(publishing, saving, changing)
	b.handOver(tables)
	if f.Slot == nil {
		b.steps = append(b.steps, Step{As: AsReplication, slot: f.SlotName, standby: f.MakesFailover(), SQL: createSlotSQL(f.SlotName, f.MakesFailover()),
			Why: "keeps WAL from here on until walhook has processed it"})
	}
	b.failoverStep()
	return b.steps
}

// publishable says that publishing the table does no harm (trap 8).
func (t *TableFacts) publishable(major int) bool {
	return t.Exists && (t.Kind == "r" || t.Kind == "p" && major >= 13) && !t.Unlogged && !t.Temporary && len(t.PrimaryKey) > 0
}

type stepBuilder struct {
	f      *Facts
	steps  []Step
	done   []tableName // identities that are set already
	record record      // of what the steps change
}

// take returns the steps so far and begins anew.
func (b *stepBuilder) take() []Step {
	steps := b.steps
	b.steps = nil
	return steps
}

// assemble puts the steps into an order in which everything is recorded before it is changed, and no table is published
// before it has an identity: a new publication comes first, empty if need be, then the record as its comment.
func (b *stepBuilder) assemble(publishing, saving, changing []Step) {
	if len(publishing)+len(saving)+len(changing) == 0 {
		return
	}
	pub := b.f.Publication
	comment := b.record.comment()
	if pub == nil {
		// With its record at once: teardown leaves a publication without one as somebody else's.
		made := publishing[0]
		made.SQL, made.several = made.SQL+"; "+commentSQL(b.f.PublicationName, comment), true
		b.steps, publishing = append(b.steps, made), publishing[1:]
	} else if comment != pub.Comment && !pub.AllTables {
		b.owner("what was there before, for `walhook teardown`", commentSQL(b.f.PublicationName, comment))
		b.ofPublication()
	}
	b.steps = slices.Concat(b.steps, saving, publishing, changing)
}

// ofPublication says that the last step needs the publication's owner.
func (b *stepBuilder) ofPublication() {
	if pub := b.f.Publication; pub != nil && !pub.Ours {
		last := &b.steps[len(b.steps)-1]
		last.foreign = append(last.foreign, pub.Owner)
	}
}

func commentSQL(publication, comment string) string {
	if comment == "" {
		return "COMMENT ON PUBLICATION " + quoteIdent(publication) + " IS NULL"
	}
	return "COMMENT ON PUBLICATION " + quoteIdent(publication) + " IS " + quoteText(comment)
}

// owner adds a step for the owner of tables.
func (b *stepBuilder) owner(why, sql string, tables ...*TableFacts) {
	s := Step{SQL: sql, Why: why, As: AsOwner}
	for _, t := range tables {
		if t != nil && !t.Owned && !slices.Contains(s.foreign, t.Owner) {
			s.foreign = append(s.foreign, t.Owner)
		}
	}
	b.steps = append(b.steps, s)
}

// saveWrites gives tables a usable identity before they are published, and those
// that are published without one right away.
func (b *stepBuilder) saveWrites(tables []TableNeed) {
	for _, n := range tables {
		for _, leaf := range b.f.table(n.Schema, n.Table).leaves() {
			if leaf.keyless() {
				b.identity(leaf, n, "without a usable identity, a published table cannot be updated")
			} else if leaf.hidesKey() {
				b.identity(leaf, n, "WAL must hold the primary key of what is deleted")
			}
		}
	}
}

// identities sets what rules need.
func (b *stepBuilder) identities(tables []TableNeed) {
	for _, n := range tables {
		if !n.Full {
			continue
		}
		for _, leaf := range b.f.table(n.Schema, n.Table).leaves() {
			if leaf.Identity != "f" {
				why := "WAL must hold the values before a change"
				if len(n.Why) > 0 {
					why += ": " + strings.Join(n.Why, ", ")
				}
				b.identity(leaf, n, why)
			}
		}
	}
}

func (b *stepBuilder) identity(leaf TableFacts, n TableNeed, why string) {
	name := tableName{leaf.Schema, leaf.Name}
	if slices.Contains(b.done, name) {
		return
	}
	b.done = append(b.done, name)
	identity, set := "DEFAULT", "d"
	if n.Full {
		identity, set = "FULL", "f"
	}
	b.record.identify(&leaf, set)
	b.owner(why, fmt.Sprintf("ALTER TABLE ONLY %s REPLICA IDENTITY %s", quoteTable(leaf.Schema, leaf.Name), identity), &leaf)
}

// publication makes it hold exactly the tables, whole, under all operations. A new one is made in a step of its own
// when some table must not be in it yet.
func (b *stepBuilder) publication(tables []TableNeed, notYet bool) {
	f, pub, name := b.f, b.f.Publication, quoteIdent(b.f.PublicationName)
	var list []string
	var facts []*TableFacts
	for _, n := range tables {
		t := f.table(n.Schema, n.Table)
		if slices.Contains(facts, t) {
			continue
		}
		// ONLY: tables that inherit from this one are tables of their own (trap 11).
		list, facts = append(list, "ONLY "+quoteTable(n.Schema, n.Table)), append(facts, t)
	}
	const why = "the list of tables whose changes are streamed"
	switch {
	case pub == nil:
		sql, all := "CREATE PUBLICATION "+name, " FOR TABLE "+strings.Join(list, ", ")
		if len(list) == 0 || notYet {
			all = ""
		}
		b.owner(why, sql+all+" WITH ("+publishOptions(f)+")", facts...)
		if !f.Login.Create {
			b.steps[len(b.steps)-1].foreign = append(b.steps[len(b.steps)-1].foreign, f.DatabaseOwner)
		}
		if notYet {
			b.owner(why, "ALTER PUBLICATION "+name+" SET TABLE "+strings.Join(list, ", "), facts...)
		}
		return
	case pub.AllTables:
		return // cannot become a list; Preflight says what to do
	}
	for _, n := range tables {
		if !b.record.Made && !slices.ContainsFunc(pub.Tables, func(t PublishedTable) bool { return t.name() == n.name() }) {
			b.record.Added = note(b.record.Added, n.name())
		}
	}
	at := len(b.steps)
	if !b.holds(tables) {
		if len(list) > 0 {
			b.owner(why, "ALTER PUBLICATION "+name+" SET TABLE "+strings.Join(list, ", "), facts...)
		} else if len(pub.Tables) > 0 {
			drop := make([]string, len(pub.Tables))
			for i, t := range pub.Tables {
				drop[i] = "ONLY " + quoteTable(t.Schema, t.Name)
			}
			b.owner("no rule needs these tables", "ALTER PUBLICATION "+name+" DROP TABLE "+strings.Join(drop, ", "), facts...)
		}
	}
	partitioned := slices.ContainsFunc(facts, func(t *TableFacts) bool { return t.Kind == "p" })
	if !pub.Insert || !pub.Update || !pub.Delete || !pub.Truncate || partitioned && !pub.ViaRoot {
		b.owner("all operations are needed", publishSQL(f))
	}
	if !pub.Ours {
		for i := range b.steps[at:] {
			b.steps[at+i].foreign = append(b.steps[at+i].foreign, pub.Owner)
		}
	}
}

// holds says that the publication holds exactly the tables, all of their rows and columns.
func (b *stepBuilder) holds(tables []TableNeed) bool {
	pub := b.f.Publication
	if len(pub.Schemas) > 0 {
		return false
	}
	for _, t := range pub.Tables {
		if t.ColumnList || t.RowFilter || !published(tables, t.name()) {
			return false
		}
	}
	for _, n := range tables {
		if !slices.ContainsFunc(pub.Tables, func(t PublishedTable) bool { return t.name() == n.name() }) {
			return false
		}
	}
	return true
}

// grants lets role read what it needs.
func (b *stepBuilder) grants(needs []TableNeed, role string) {
	f, to := b.f, " TO "+quoteIdent(role)
	if !f.Role.Exists {
		return
	}
	if !f.Role.Connect {
		b.owner("the streaming role connects here", "GRANT CONNECT ON DATABASE "+quoteIdent(f.Database)+to)
		b.record.Connect = true
	}
	var schemas []string
	lists := make(map[string][]string)
	facts, parts := make(map[string][]*TableFacts), make(map[string][]*TableFacts) // granted as a whole, and of columns
	usage := make(map[string]bool)
	for _, n := range needs {
		t := f.table(n.Schema, n.Table)
		if t == nil || !t.Exists {
			continue
		}
		if !slices.Contains(schemas, n.Schema) {
			schemas = append(schemas, n.Schema)
			usage[n.Schema] = t.Usage
		}
		if quoted := quoteTable(n.Schema, n.Table); !t.Select && !slices.Contains(lists[n.Schema], quoted) && !slices.Contains(parts[n.Schema], t) {
			b.record.Select = note(b.record.Select, n.name())
			if len(t.Lacks) > 0 { // other columns may hold secrets
				parts[n.Schema] = append(parts[n.Schema], t)
				continue
			}
			lists[n.Schema] = append(lists[n.Schema], quoted)
			facts[n.Schema] = append(facts[n.Schema], t)
		}
	}
	for _, schema := range schemas {
		if !usage[schema] {
			b.owner("to read tables in it", "GRANT USAGE ON SCHEMA "+quoteIdent(schema)+to)
			b.record.Usage = note(b.record.Usage, schema)
		}
		if len(lists[schema]) > 0 {
			b.owner("related records, metadata and repairs are read live", "GRANT SELECT ON TABLE "+strings.Join(lists[schema], ", ")+to, facts[schema]...)
		}
		for _, t := range parts[schema] {
			b.owner("no other columns are read", "GRANT "+t.selects()+to, t)
		}
	}
}

func publishOptions(f *Facts) string {
	options := "publish = 'insert, update, delete, truncate'"
	if slices.ContainsFunc(f.Tables, func(t TableFacts) bool { return t.Kind == "p" }) && f.Major() >= 13 {
		options += ", publish_via_partition_root = true"
	}
	return options
}

func publishSQL(f *Facts) string {
	return "ALTER PUBLICATION " + quoteIdent(f.PublicationName) + " SET (" + publishOptions(f) + ")"
}

func createSlotSQL(slot string, failover bool) string {
	return "SELECT " + CreateSlotCall(slot, failover)
}

// CreateSlotCall is the call that creates a slot, or a failover slot. As a source of rows it has one, whose column lsn says where the slot begins.
func CreateSlotCall(slot string, failover bool) string {
	more := ""
	if failover {
		more = ", failover => true"
	}
	return "pg_create_logical_replication_slot(" + quoteText(slot) + ", 'pgoutput'" + more + ")"
}

// Script writes steps as SQL for psql, for people who rather run them by themselves. Statements
// wait for locks no longer than lock_timeout allows (trap 18), and may be run again.
func Script(steps []Step) string {
	var s strings.Builder
	as := ""
	for _, step := range steps {
		if step.As != as {
			as = step.As
			if s.Len() > 0 {
				s.WriteString("\n")
			}
			switch as {
			case AsOwner:
				s.WriteString("-- As the owner of the tables, or as a superuser.\n" +
					"-- A statement that fails with \"canceling statement due to lock timeout\" may be repeated.\nSET lock_timeout = '3s';\n")
			default:
				s.WriteString("-- As the role of source.dsn. It waits until the transactions that are open now have ended.\nSET statement_timeout = '60s';\n")
			}
		}
		if step.Why != "" {
			s.WriteString("-- " + strings.ReplaceAll(step.Why, "\n", " ") + "\n")
		}
		if step.replication {
			s.WriteString("\\connect -reuse-previous=on \"replication=database\"\n" + step.SQL + ";\n\\connect -reuse-previous=on \"replication=false\"\n")
			continue
		}
		if step.several {
			s.WriteString("BEGIN;\n" + step.SQL + ";\nCOMMIT;\n")
			continue
		}
		s.WriteString(step.SQL + ";\n")
	}
	return s.String()
}
