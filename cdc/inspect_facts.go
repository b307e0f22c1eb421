package cdc

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// TableNeed is what is asked of one table.
type TableNeed struct {
	Schema, Table string
	Full          bool     // old values are needed: REPLICA IDENTITY FULL
	ReadOnly      bool     // only SELECT is needed; the table is not published
	Optional      bool     // setup publishes the table and grants SELECT where it can; that it is not so is a warning
	Read          bool     // of an optional one: without SELECT it is an error
	Columns       []string // that are read, if not all are: SELECT on these is enough
	Why           []string // for people: which rules need it, and what for

	unfit bool // of an optional one: setup leaves it out of the publication
}

// publishes says that the table is to be in the publication.
func (n TableNeed) publishes() bool { return !n.ReadOnly && !n.unfit }

// weigh finds the optional tables that cannot be published without changing anything else: those without a usable identity, partitioned
// ones, those that others inherit from, and those whose owner is not an owner of the tables that must be published.
func (f *Facts) weigh(needs []TableNeed) []TableNeed {
	var owners []string
	for _, n := range needs {
		if t := f.table(n.Schema, n.Table); t != nil && !n.ReadOnly && !n.Optional {
			owners = append(owners, t.Owner)
		}
	}
	needs = slices.Clone(needs)
	for i := range needs {
		if n := &needs[i]; n.Optional {
			t := f.table(n.Schema, n.Table)
			n.unfit = t == nil || !t.publishable(f.Major()) || t.Kind != "r" || t.Inherited || t.keyless() || t.hidesKey() || !slices.Contains(owners, t.Owner)
		}
	}
	return needs
}

func (n TableNeed) name() tableName { return tableName{n.Schema, n.Table} }

// String returns schema.table.
func (n tableName) String() string { return n.schema + "." + n.table }

// Facts is what [Inspect] found out about a server, without judging it; [Preflight] does that.
type Facts struct {
	SystemID    string
	Timeline    uint32
	Version     int    // server_version_num: 150004
	VersionText string // "15.4"
	InRecovery  bool   // a standby
	End         LSN    // of WAL

	Database      string
	DatabaseOID   uint32
	DatabaseOwner string

	WALLevel                string
	SlotsUsed, SlotsMax     int
	SendersUsed, SendersMax int
	KeepMax                 int64         // max_slot_wal_keep_size in bytes; -1 when unlimited or before PostgreSQL 13
	IdleLimit               time.Duration // idle_replication_slot_timeout; 0 for none or before PostgreSQL 18
	MaxWALSize              int64         // max_wal_size in bytes: what the server keeps without any slot, more or less
	DecodingMemory          int64         // logical_decoding_work_mem in bytes; -1 before PostgreSQL 13
	SyncStandbys            string        // synchronous_standby_names

	ConnectionsUsed, ConnectionsMax int  // the latter without those reserved for superusers
	DatabaseLimit                   int  // connections to the database; -1 when unlimited
	Pooled                          bool // a pooler stands in between

	Login Role // the role of the connection that looked
	Role  Role // the role that streams; the same as Login unless [InspectAs] named another

	SlotName        string
	Slot            *Slot  // nil when there is none
	Position        LSN    // what the state holds; 0 when unknown. Set by the caller, so that what is lost with a slot can be told
	Gap             string // what else is to be said of it: since when, and what is concerned. Set by the caller, as Position
	PublicationName string
	Publication     *Publication // nil when there is none
	AllTables       []string     // other publications that are FOR ALL TABLES

	Failover *bool    // source.failover: whether the slot is to be a failover slot; nil leaves it as it is. Filled in by whoever knows the configuration
	Standbys Standbys // what failovers take

	Messages []string       // names of the rules that listen to messages, which take PostgreSQL 14; filled in by whoever knows the rules
	Tables   []TableFacts   // in the order asked for, then what else the publication holds and what setup has changed
	Failing  []FailingTable // tables of which the server refuses updates and deletes now, because of any publication
	Blockers []Blocker      // open transactions that the creation of a slot would wait for
	Locks    []TableLock    // who holds the tables, the oldest first
}

// Major returns the major version, 15.
func (f *Facts) Major() int { return f.Version / 10000 }

// Retained is how much WAL the slot keeps, in bytes; 0 without a slot.
func (f *Facts) Retained() int64 {
	if f.Slot == nil || f.Slot.Restart == 0 || f.End < f.Slot.Restart {
		return 0
	}
	return int64(f.End - f.Slot.Restart)
}

// table finds the facts of a table.
func (f *Facts) table(schema, name string) *TableFacts {
	for i := range f.Tables {
		if t := &f.Tables[i]; t.Schema == schema && t.Name == name {
			return t
		}
	}
	return nil
}

// Role is a login and what it may do here.
type Role struct {
	Name        string
	Exists      bool
	Login       bool
	Superuser   bool
	Replication bool
	Connect     bool // may connect to the database
	Create      bool // may create publications and schemas in the database
	Limit       int  // connections; -1 when unlimited
	BypassRLS   bool // row-level security hides nothing from it

	ValidUntil time.Time // when the password ends; zero for never
}

// Publication is a publication as pg_publication shows it.
type Publication struct {
	Owner                            string
	Ours                             bool // the inspecting role may alter it
	AllTables                        bool
	Schemas                          []string // FOR TABLES IN SCHEMA (15 and later)
	Insert, Update, Delete, Truncate bool
	ViaRoot                          bool // publish_via_partition_root
	Comment                          string
	Tables                           []PublishedTable
}

// PublishedTable is a member of a publication.
type PublishedTable struct {
	Schema, Name string
	ColumnList   bool // only some columns (15 and later)
	RowFilter    bool // only some rows (15 and later)
}

// TableFacts is what the catalogs say about one table.
type TableFacts struct {
	Schema, Name  string
	Exists        bool
	OID           uint32
	Kind          string // relkind: "r" table, "p" partitioned table, "v" view …
	Owner         string
	Owned         bool // the inspecting role may act as the owner
	PrimaryKey    []string
	Identity      string   // relreplident: "d", "f", "i", "n"
	IdentityLost  bool     // Identity is "i", but the index is gone
	IdentityKey   []string // columns of that index
	IdentityIndex string   // its name
	Unlogged      bool
	Temporary     bool
	Inherited     bool     // other tables inherit from it: a SELECT shows their rows too
	RowSecurity   bool     // row-level security hides rows from the streaming role's SELECT
	Usage         bool     // the streaming role has USAGE on the schema
	Select        bool     // and SELECT on the table, or on the columns that are needed
	Lacks         []string // of the columns that are needed, those without SELECT; nil where all columns are needed
	Granted       bool     // SELECT was granted to the streaming role by name, on the table or on columns of it
	Published     bool     // by the publication, one way or another
	ColumnList    bool
	RowFilter     bool
	Elsewhere     string       // another publication that publishes changes of it, where setup has set its identity
	Partitions    []TableFacts // leaves of a partitioned table: name, owner, identity, key
}

// keyless says that the server would refuse updates and deletes of the table once it
// is published (trap 8).
func (t *TableFacts) keyless() bool {
	switch t.Identity {
	case "f":
		return false
	case "i":
		return t.IdentityLost
	case "d":
		return len(t.PrimaryKey) == 0
	}
	return true
}

// hidesKey says that old rows in WAL lack columns of the primary key: a record
// that is deleted could not be named.
func (t *TableFacts) hidesKey() bool {
	return t.Identity == "i" && !t.IdentityLost && slices.ContainsFunc(t.PrimaryKey, func(c string) bool { return !slices.Contains(t.IdentityKey, c) })
}

// TableLock is a lock that somebody holds on a table.
type TableLock struct {
	OID uint32
	By  Blocker
}

// FailingTable is a published table without a usable replica identity: every UPDATE and DELETE of it
// fails, Odoo's too (trap 8).
type FailingTable struct {
	Schema, Name, Publication string
	ColumnList                bool // the reason is a column list under REPLICA IDENTITY FULL
	AllTables                 bool // the publication is FOR ALL TABLES
	Member                    bool // the publication names this very table, not its schema or parent
}

// Blocker is a transaction that others wait for.
type Blocker struct {
	PID         int
	Prepared    string        // the transaction's name, if it is a prepared one; PID is 0 then
	User        string        // "" when this role may not see it
	Application string        // application_name
	State       string        // "idle in transaction", …
	Age         time.Duration // of the transaction; 0 when this role may not see it
	Query       string        // the last statement, cut to 80 characters
}

// String describes the blocker in one line.
func (b Blocker) String() string {
	var s strings.Builder
	if b.Prepared != "" {
		fmt.Fprintf(&s, "prepared transaction %q", b.Prepared)
	} else {
		fmt.Fprintf(&s, "process %d", b.PID)
	}
	var more []string
	if b.Application != "" {
		more = append(more, fmt.Sprintf("application %q", b.Application))
	}
	if b.User != "" {
		more = append(more, fmt.Sprintf("role %q", b.User))
	}
	if b.State != "" {
		more = append(more, b.State)
	}
	if b.Age > 0 {
		more = append(more, "open for "+b.Age.Round(time.Second).String())
	}
	if len(more) > 0 {
		s.WriteString(" (" + strings.Join(more, ", ") + ")")
	}
	return s.String()
}

func (t PublishedTable) name() tableName { return tableName{t.Schema, t.Name} }
