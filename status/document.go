package status

import (
	"slices"
	"time"

	"walhook/cdc"
)

// Document is what /status answers, and `walhook status --json` prints. Times
// are RFC 3339 UTC and left out when there is none; LSNs are PostgreSQL's text form.
// Fields may be added; they are not renamed or removed within a major version.
type Document struct {
	At      time.Time `json:"at"`
	Live    bool      `json:"live"`              // false when no process was asked and the state database was read directly
	Ready   bool      `json:"ready"`             // as /readyz
	Reasons []string  `json:"reasons,omitempty"` // why not ready, in words

	Process   *Process       `json:"process,omitempty"`       // nil unless live
	Config    *ConfigState   `json:"configuration,omitempty"` // nil unless live
	Reader    *ReaderState   `json:"reader,omitempty"`        // the process that has the right to read the slot; absent when none with a valid lease has
	Source    Source         `json:"source"`
	Position  Position       `json:"position"`
	State     StateInfo      `json:"state"`
	Upgrade   *UpgradeState  `json:"module_upgrade,omitempty"` // nil when no modules of Odoo are being installed, upgraded or removed
	Reserved  []ReservedSlot `json:"reserved_slots,omitempty"` // for backtests
	Images    *ImagesState   `json:"images,omitempty"`         // rows that are kept for the tables in [images]
	Related   *RelatedState  `json:"related_rows,omitempty"`   // nil when no rule looks related rows up, or this process does not read
	Resync    *ResyncState   `json:"resync,omitempty"`         // nil when none is under way
	Backfills []JobLine      `json:"backfills,omitempty"`      // and other walks through tables that have not ended
	Endpoints []Endpoint     `json:"endpoints"`
	Rules     []Rule         `json:"rules"`
}

// Process is the running walhook.
type Process struct {
	Version string    `json:"version"`
	PID     int       `json:"pid"`
	Host    string    `json:"host"`
	Started time.Time `json:"started_at"`
	Uptime  float64   `json:"uptime_seconds"`
	Role    string    `json:"role"` // reader, standby or joining
}

// Source is the database that is read, and the stream from it.
type Source struct {
	Database       string    `json:"database"`
	Slot           string    `json:"slot"`
	Publication    string    `json:"publication"`
	Connected      bool      `json:"connected"`
	ConnectedSince time.Time `json:"connected_since,omitzero"`
	Server         string    `json:"server_version,omitempty"`
	Reconnects     int       `json:"reconnects"`
	LastMessage    time.Time `json:"last_message_at,omitzero"`
	LastError      string    `json:"last_error,omitempty"`
	LastErrorAt    time.Time `json:"last_error_at,omitzero"`

	WALStatus string    `json:"wal_status,omitempty"`     // of the slot: reserved, extended, unreserved, lost
	Retained  int64     `json:"retained_bytes"`           // WAL that the slot keeps on the server's disk
	Headroom  *int64    `json:"headroom_bytes,omitempty"` // WAL until the slot is lost (max_slot_wal_keep_size); absent when unlimited or unknown
	SlotError string    `json:"slot_error,omitempty"`     // why the slot could not be looked at
	SlotAt    time.Time `json:"slot_checked_at,omitzero"`

	Behind        int64       `json:"slot_behind_bytes"`     // WAL from the slot's confirmed position to the end
	BehindSeconds float64     `json:"slot_behind_seconds"`   // how long ago the confirmed position was the end of WAL
	Alarms        []SlotAlarm `json:"slot_alarms,omitempty"` // what about the slot needs a person now
	Guard         *SlotGuard  `json:"slot_guard,omitempty"`  // the limit of WAL that the slot may keep; absent when there is none
	SlotFigures
}

// Position is how far ingest has come.
type Position struct {
	LSN        string    `json:"lsn"`            // committed in the state schema
	Open       string    `json:"open,omitempty"` // commit LSN of a giant transaction that is half enqueued
	OpenCount  int64     `json:"open_count,omitempty"`
	UpdatedAt  time.Time `json:"updated_at,omitzero"`
	Received   string    `json:"received,omitempty"`
	Handled    string    `json:"handled,omitempty"`
	Confirmed  string    `json:"confirmed,omitempty"`
	End        string    `json:"end,omitempty"` // of WAL
	LagBytes   int64     `json:"lag_bytes"`
	LagSeconds float64   `json:"lag_seconds"`
	LastCommit time.Time `json:"last_commit_at,omitzero"` // of the last transaction handled

	Transactions int64     `json:"transactions"`           // handled by this process
	InFlight     int       `json:"transactions_in_flight"` // received and not handled
	Error        string    `json:"error,omitempty"`        // why the last batch could not be committed
	ErrorHint    string    `json:"error_hint,omitempty"`   // what to do about it
	ErrorAt      time.Time `json:"error_at,omitzero"`
}

// StateInfo is the state schema.
type StateInfo struct {
	Reachable     bool      `json:"reachable"`
	Error         string    `json:"error,omitempty"`
	At            time.Time `json:"asked_at,omitzero"` // when the figures of state, endpoints and rules were read
	Bound         bool      `json:"bound"`
	SchemaVersion int       `json:"schema_version"`
	Bytes         int64     `json:"bytes"`
	Processes     int       `json:"processes"`

	Queue QueueState `json:"queue"` // of all endpoints together
	Log   LogState   `json:"log"`   // of deliveries and attempts
}

// Endpoint is one endpoint: what the state knows, and what the process does for it
// now.
type Endpoint struct {
	EndpointState
	OldestPendingSeconds float64 `json:"oldest_pending_seconds"`
	InFlight             int     `json:"in_flight"`
	FlowLimits
	Configured bool `json:"configured"`         // false: deliveries are left of an endpoint that the configuration no longer has
	Inactive   bool `json:"inactive,omitempty"` // active = false: nothing is sent
}

// Rule is one rule.
type Rule struct {
	RuleState
	Active     bool `json:"active"`
	Test       bool `json:"test,omitempty"` // its deliveries are logged and not sent
	Configured bool `json:"configured"`
	// Problem says why the rule does not fit the database's models and fields any more: what it matches is parked.
	Problem string `json:"problem,omitempty"`
}

// Info is what changes only when the configuration is read anew.
type Info struct {
	Version     string
	Host        string
	PID         int
	Started     time.Time
	Database    string
	Slot        string
	Publication string
	Endpoints   []string              // configured ones
	Inactive    []string              // of these, the ones with active = false
	Limits      map[string]FlowLimits // of these
	Config      ConfigState
	Rules       map[string]bool   // configured ones → active
	Tests       map[string]bool   // of these, the ones in test mode
	Unfit       map[string]string // of these, the ones that do not fit the database any more, and why
}

// compose makes the document from what is known. It is pure.
func compose(now time.Time, info Info, figures figures, role Role, stream cdc.Progress, handler HandlerState, slot SlotState, activity []Activity) Document {
	d := Document{
		At: now.UTC(), Live: true,
		Process: &Process{Version: info.Version, PID: info.PID, Host: info.Host, Started: info.Started.UTC(), Uptime: now.Sub(info.Started).Seconds(), Role: role.Name},
		Config:  info.Config.orNil(),
		Reader:  figures.position.Reader,
		Source: Source{
			Database: info.Database, Slot: info.Slot, Publication: info.Publication,
			Connected: stream.Connected, Server: stream.Session.Server, Reconnects: stream.Reconnects,
			LastMessage: utc(stream.LastMessage), LastError: stream.LastError, LastErrorAt: utc(stream.LastErrorAt),
		},
		Position: Position{
			LSN: figures.position.Position.LSN.String(), UpdatedAt: utc(figures.position.UpdatedAt), OpenCount: figures.position.Position.Count,
			Open: lsn(figures.position.Position.Open), Received: lsn(stream.Received), Handled: lsn(stream.Handled), Confirmed: lsn(stream.Confirmed),
			End: lsn(end(stream, slot)), LagBytes: lagBytes(stream, slot), LastCommit: utc(stream.LastCommit),
			Transactions: stream.Transactions, InFlight: stream.InFlight, Error: handler.Error, ErrorHint: handler.Hint, ErrorAt: utc(handler.At),
		},
		State:   figures.info(),
		Upgrade: figures.position.Upgrade, Backfills: figures.position.Jobs, Resync: figures.position.Resync,
	}
	d.Source.setSlot(slot)
	if stream.Connected {
		d.Source.ConnectedSince = utc(stream.Since)
	}
	d.Endpoints = endpoints(now, info, figures.endpoints, activity)
	d.Rules = ruleList(info, figures.rules)
	return d
}

// Offline makes the document from the state schema alone, for when no process
// answers.
func Offline(now time.Time, info Info, endpointStates []EndpointState, ruleStates []RuleState, position PositionState) Document {
	f := figures{endpoints: endpointStates, rules: ruleStates, position: position, at: now}
	d := compose(now, info, f, Role{}, cdc.Progress{}, HandlerState{}, SlotState{}, nil)
	d.Live, d.Process = false, nil
	d.Source.Database, d.Source.Slot = position.Database, position.Slot
	d.Reasons = []string{"no running process was asked"}
	return d
}

// endpoints joins what is configured with what the state knows: first the
// configured ones in their order, then what is left of others.
func endpoints(now time.Time, info Info, known []EndpointState, activity []Activity) []Endpoint {
	byName := map[string]EndpointState{}
	for _, e := range known {
		byName[e.Name] = e
	}
	flight := map[string]int{}
	for _, a := range activity {
		flight[a.Endpoint] = a.InFlight
	}
	all := []Endpoint{}
	add := func(e EndpointState, configured bool) {
		out := Endpoint{EndpointState: e, Configured: configured, InFlight: flight[e.Name], FlowLimits: info.Limits[e.Name], Inactive: slices.Contains(info.Inactive, e.Name)}
		if out.Breaker == "" {
			out.Breaker = BreakerClosed
		}
		if !e.OldestPending.IsZero() {
			out.OldestPendingSeconds = max(now.Sub(e.OldestPending).Seconds(), 0)
		}
		all = append(all, out)
	}
	configured := map[string]bool{}
	for _, name := range info.Endpoints {
		configured[name] = true
		e := byName[name]
		e.Name = name
		add(e, true)
	}
	for _, e := range known {
		if !configured[e.Name] {
			add(e, false)
		}
	}
	return all
}

func ruleList(info Info, known []RuleState) []Rule {
	all, seen := []Rule{}, map[string]bool{}
	for _, r := range known {
		active, configured := info.Rules[r.Name]
		seen[r.Name] = true
		all = append(all, Rule{RuleState: r, Active: active, Test: info.Tests[r.Name], Configured: configured, Problem: info.Unfit[r.Name]})
	}
	for _, name := range sortedKeys(info.Rules) {
		if !seen[name] {
			all = append(all, Rule{RuleState: RuleState{Name: name}, Active: info.Rules[name], Test: info.Tests[name], Configured: true, Problem: info.Unfit[name]})
		}
	}
	return all
}

// end is the end of WAL as far as anyone told us.
func end(stream cdc.Progress, slot SlotState) cdc.LSN {
	return max(stream.ServerEnd, stream.Received, slot.CurrentWAL)
}

func lagBytes(stream cdc.Progress, slot SlotState) int64 {
	if e := end(stream, slot); e > stream.Handled {
		return int64(e - stream.Handled)
	}
	return 0
}

func lsn(l cdc.LSN) string {
	if l == 0 {
		return ""
	}
	return l.String()
}

func utc(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC()
}
