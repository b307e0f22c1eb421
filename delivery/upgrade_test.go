package delivery

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"walhook/cdc"
	"walhook/rules"
)

// modules makes changes of ir_module_module.
var moduleRelation = cdc.NewRelation(77, "public", ModuleTable, 'd', []cdc.Column{{Name: "id", Type: cdc.BuiltinType(23)}, {Name: "name", Type: cdc.BuiltinType(1043)}, {Name: "state", Type: cdc.BuiltinType(1043)}}, []string{"id"})

func module(id int, state string, ordinal uint64) *cdc.Change {
	text := func(s string) cdc.Value { return cdc.Value{State: cdc.Present, Text: []byte(s)} }
	row, _ := cdc.NewRow(moduleRelation, cdc.ImageFull, cdc.AppendTuple(nil, []cdc.Value{text(fmt.Sprint(id)), text("sale"), text(state)}))
	return &cdc.Change{Op: cdc.Write, Rel: moduleRelation, Key: fmt.Sprint(id), Before: cdc.Row{Image: cdc.ImageUnknown}, After: row, Ordinal: ordinal, Writes: 1}
}

// upgradeStory makes transactions, a minute apart.
type upgradeStory struct {
	t   *testing.T
	wal *linesWAL
	lsn cdc.LSN
	at  time.Time
}

func (s *upgradeStory) tx(changes ...*cdc.Change) *cdc.Tx {
	s.lsn += 1000
	s.at = s.at.Add(time.Minute)
	return cdc.NewTx(uint32(s.lsn), s.lsn, s.lsn+100, s.at, changes)
}

// order is a change of an order, with modules after it.
func (s *upgradeStory) order(id int, more ...*cdc.Change) *cdc.Tx {
	var first *cdc.Change
	for c, err := range s.wal.tx(fmt.Sprintf("+order %d S draft", id)).Changes() {
		if err != nil {
			s.t.Fatal(err)
		}
		first = c
	}
	return s.tx(append([]*cdc.Change{first}, more...)...)
}

// B7: an upgrade begins when modules are marked and ends when none is left, and rules send, hold or drop what happens meanwhile. That is told from the
// stream alone: read again, from another position, or after a restart, it is the same.
func TestUpgrade(t *testing.T) {
	set := compileLines(t,
		rules.Config{Name: "send", On: []string{"create"}, Endpoint: "erp"},
		rules.Config{Name: "hold", On: []string{"create"}, Endpoint: "shop", Upgrades: "hold"},
		rules.Config{Name: "drop", On: []string{"create"}, Endpoint: "log", Upgrades: "drop"})
	story := &upgradeStory{t: t, wal: newLinesWAL(t, set, 0), lsn: 5000, at: commitTime}
	txs := []*cdc.Tx{
		story.order(1),
		story.order(2, module(5, "to upgrade", 1), module(6, "to upgrade", 2), module(7, "installed", 3)), // its first change is part of it, too
		story.order(3),
		story.order(4, module(5, "installed", 1)),
		story.tx(module(8, "to install", 0)),
		story.order(5, module(6, "installed", 1)),
		story.order(6, module(8, "installed", 1)), // the last one
		story.order(7),
		story.tx(module(9, "to remove", 0)), // and Odoo is killed
		story.order(8),
	}
	story.at = story.at.Add(2 * time.Hour)
	txs = append(txs, story.order(9))
	want := map[string]string{"send": "1 2 3 4 5 6 7 8 9", "hold": "1 7 9", "held": "2 3 4 5 6 8", "drop": "1 7 9"}
	for _, batch := range []int{1, 3, len(txs)} {
		for _, restart := range []bool{false, true} {
			store := newMemStore()
			var upgrades []string
			released := 0
			open := func() *Ingest {
				in := NewIngest(store, NewPlanner(testIdentity, set, testEndpoints, nil), nil, store.position, IngestTrace{
					Upgrade:  func(u Upgrade) { upgrades = append(upgrades, fmt.Sprintf("%d %s", u.Total, u.Outcome)) },
					Released: func() { released++ },
				})
				for _, b := range store.batches {
					if b.Upgrade != nil {
						in.Resume(*b.Upgrade)
					}
				}
				return in
			}
			in := open()
			for from := 0; from < len(txs); from += batch {
				part := txs[from:min(from+batch, len(txs))]
				if restart {
					store.faulty = func(string) (error, error) { return errAway, nil }
					if _, err := in.Handle(t.Context(), part); err == nil {
						t.Fatal("a store that is away takes a batch")
					}
					store.faulty = nil
				}
				if _, err := in.Handle(t.Context(), part); err != nil {
					t.Fatal(err)
				}
				if restart {
					in = open()
				}
			}
			got := map[string]string{}
			add := func(rule, record string) { got[rule] = strings.TrimSpace(got[rule] + " " + record) }
			dropped := int64(0)
			for _, b := range store.batches {
				for _, d := range b.Deliveries {
					add(d.Rule, d.Record)
				}
				for _, p := range b.Parked {
					if !p.Held || !strings.HasPrefix(p.Error, HeldError) {
						t.Errorf("parked: %+v", p)
					}
					add("held", p.Record)
				}
				dropped += b.Dropped["drop"]
			}
			for rule, records := range want {
				if got[rule] != records {
					t.Errorf("batches of %d, restart %v: %s: %q, want %q", batch, restart, rule, got[rule], records)
				}
			}
			if last := in.upgrade.stored; dropped != 6 || released == 0 || last.Outcome != UpgradeGivenUp || last.Held != 1 || last.Running() {
				t.Errorf("batches of %d, restart %v: %d dropped, released %d times, %+v", batch, restart, dropped, released, last)
			}
			if all := strings.Join(upgrades, ", "); batch == 1 && all != "2 , 3 done, 1 , 1 given up" {
				t.Errorf("restart %v: told of %s", restart, all)
			}
		}
	}
}

// An upgrade that was under way at a restart has held nothing since, or its count was not stored: what an earlier one has left parked is released when it ends.
func TestUpgradeReleasesAfterARestart(t *testing.T) {
	set := compileLines(t, rules.Config{Name: "hold", On: []string{"create"}, Upgrades: "hold"})
	story := &upgradeStory{t: t, wal: newLinesWAL(t, set, 0), lsn: 5000, at: commitTime}
	released := 0
	in := NewIngest(newMemStore(), NewPlanner(testIdentity, set, testEndpoints, nil), nil, Position{}, IngestTrace{Released: func() { released++ }})
	in.Resume(Upgrade{Begun: commitTime, LSN: 4000, Seen: commitTime, Modules: []int32{5}, Total: 1})
	for i, want := range []int{0, 1, 1} {
		tx := story.tx(module(5, "to upgrade", 0))
		if i > 0 {
			tx = story.tx(module(5, "installed", 0))
		}
		if _, err := in.Handle(t.Context(), []*cdc.Tx{tx}); err != nil {
			t.Fatal(err)
		}
		if released != want {
			t.Errorf("after step %d released %d times, want %d", i, released, want)
		}
	}
}

// B7: a mass import is no upgrade, whether it is one transaction or many.
func TestMassImportIsNoUpgrade(t *testing.T) {
	set := compileLines(t, rules.Config{Name: "drop", On: []string{"create"}, Upgrades: "drop"})
	var sql []string
	for n := range 10_000 {
		sql = append(sql, fmt.Sprintf("+order %d S draft", n+1))
	}
	for _, transactions := range []int{1, 100} {
		store := newMemStore()
		in := NewIngest(store, NewPlanner(testIdentity, set, testEndpoints, nil), nil, store.position, IngestTrace{Upgrade: func(u Upgrade) { t.Errorf("%+v", u) }})
		wal := newLinesWAL(t, set, 4<<20)
		for n := range transactions {
			size := len(sql) / transactions
			if _, err := in.Handle(t.Context(), []*cdc.Tx{wal.tx(sql[n*size : (n+1)*size]...)}); err != nil {
				t.Fatal(err)
			}
		}
		sent := 0
		for _, b := range store.batches {
			sent += len(b.Deliveries)
		}
		if sent != 10_000 {
			t.Errorf("%d transactions: %d sent", transactions, sent)
		}
	}
}

// B7: a module that takes longer than an upgrade may be quiet proves it alive when it is done; other changes of modules do not, and make no upgrade of
// their own. To look at a transaction again, as after a restart in the middle of it, makes no difference.
func TestUpgradeEndsWithWhatHappens(t *testing.T) {
	type step struct {
		after   time.Duration // since the last one
		changes []*cdc.Change
		within  bool
		outcome string
	}
	long := upgradeQuiet + time.Minute
	marked := []*cdc.Change{module(1, "to upgrade", 0), module(2, "to upgrade", 1)}
	list := func(c ...*cdc.Change) []*cdc.Change { return c }
	for _, tt := range []struct {
		name  string
		steps []step
	}{
		{"a long module in the middle", []step{{0, marked, true, ""}, {long, list(module(1, "installed", 0)), true, ""}, {time.Minute, nil, true, ""}, {long, list(module(2, "installed", 0)), true, UpgradeDone}, {1, nil, false, UpgradeDone}}},
		{"killed, and nothing of modules", []step{{0, marked, true, ""}, {long, nil, false, UpgradeGivenUp}, {1, nil, false, UpgradeGivenUp}}},
		{"killed, and another module", []step{{0, marked, true, ""}, {long, list(module(7, "uninstalled", 0)), false, UpgradeGivenUp}}},
		{"killed, and more are marked", []step{{0, marked, true, ""}, {long, list(module(7, "to install", 0)), true, ""}}},
		{"no upgrade, and a module changes", []step{{0, list(module(7, "uninstalled", 0)), false, ""}, {1, list(module(7, "installed", 0)), false, ""}}},
		{"after the upgrade a module changes", []step{{0, marked, true, ""}, {1, list(module(1, "installed", 0), module(2, "installed", 1)), true, UpgradeDone}, {1, list(module(2, "uninstalled", 0)), false, UpgradeDone}}},
	} {
		w := upgradeWatch{schema: "public"}
		at := commitTime
		for n, s := range tt.steps {
			at = at.Add(s.after)
			tx := cdc.NewTx(uint32(n), cdc.LSN(n*100), cdc.LSN(n*100+1), at, s.changes)
			for look := range 2 {
				if look == 1 {
					w = upgradeWatch{schema: "public", now: w.now}
				}
				if err := w.begin(tx); err != nil {
					t.Fatal(err)
				}
				if w.within != s.within || w.now.Outcome != s.outcome || w.now.Running() != (w.now.Total > 0 && s.outcome == "") {
					t.Errorf("%s, step %d, look %d: within %v, %+v", tt.name, n, look, w.within, w.now)
				}
			}
		}
	}
}
