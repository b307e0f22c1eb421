package cdc

import (
	"context"
	"errors"
	"testing"
	"time"
)

// eventually waits until a query gives true.
func (s *walSource) eventually(sql string, args ...any) {
	s.t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		done := false
		if err := s.conn.QueryRow(s.t.Context(), sql, args...).Scan(&done); err != nil {
			s.t.Fatalf("%v\n%s", err, sql)
		}
		if done {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("not in time: %s", sql)
		}
	}
}

// A tail whose output stands still confirms what it receives all the same, and says afterwards how much it has dropped; its slot goes with it.
func TestTailThatStandsStillKeepsNoWAL(t *testing.T) {
	t.Parallel()
	s := newWALSource(t, "CREATE TABLE a (id int PRIMARY KEY, x text)")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	began, going := make(chan LSN, 1), make(chan struct{})
	ended := make(chan error, 1)
	shown, dropped := 0, 0
	go func() {
		ended <- Tail(ctx, TailConfig{DSN: s.dsn, Publication: "p", Want: func(string, string) (bool, bool) { return true, false }, Started: func(at LSN) { began <- at }},
			func(tx *Tx, n int) error {
				<-going
				shown, dropped = shown+1, dropped+n
				if shown+dropped >= tailQueue+500 {
					cancel()
				}
				return nil
			})
	}()
	<-began
	s.exec("DO $$ BEGIN FOR i IN 1..1600 LOOP INSERT INTO a VALUES (i, repeat('x', 100)); COMMIT; END LOOP; END $$")
	var end string
	if err := s.conn.QueryRow(t.Context(), "SELECT pg_current_wal_lsn()::text").Scan(&end); err != nil {
		t.Fatal(err)
	}
	s.eventually("SELECT confirmed_flush_lsn >= $1::text::pg_lsn FROM pg_replication_slots WHERE slot_name LIKE 'walhook_tail_%' AND database = current_database()", end)
	close(going)
	// What comes now is shown, and with it how much was dropped.
	s.exec("DO $$ BEGIN FOR i IN 2001..2300 LOOP INSERT INTO a VALUES (i); COMMIT; END LOOP; END $$")
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the tail ended with %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("the tail has shown %d transactions, and dropped %d", shown, dropped)
	}
	if dropped < 500 {
		t.Errorf("%d transactions were dropped, %d shown", dropped, shown)
	}
	s.eventually("SELECT count(*) = 0 FROM pg_replication_slots WHERE slot_name LIKE 'walhook_tail_%' AND database = current_database()")
}

// A slot that is read for a backtest stays where it is, and gives the same again.
func TestTailOfASlotMovesNothing(t *testing.T) {
	t.Parallel()
	s := newWALSource(t, "CREATE TABLE a (id int PRIMARY KEY, x text)")
	s.exec("INSERT INTO a SELECT n FROM generate_series(1, 3) n")
	s.exec("UPDATE a SET x = 'new' WHERE id = 2")
	end, err := EndOfWAL(t.Context(), s.conn)
	if err != nil {
		t.Fatal(err)
	}
	var before, after string
	const where = "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = $1"
	if err := s.conn.QueryRow(t.Context(), where, s.slot).Scan(&before); err != nil {
		t.Fatal(err)
	}
	cfg := TailConfig{DSN: s.dsn, Publication: "p", Slot: s.slot, Until: end, Want: func(string, string) (bool, bool) { return true, false }}
	for range 2 {
		s.eventually("SELECT NOT active FROM pg_replication_slots WHERE slot_name = $1", s.slot)
		changes := 0
		if err := Tail(t.Context(), cfg, func(tx *Tx, _ int) error {
			for _, err := range tx.Changes() {
				if err != nil {
					return err
				}
				changes++
			}
			return nil
		}); err != nil || changes != 4 {
			t.Fatalf("%d changes, %v", changes, err)
		}
	}
	if err := s.conn.QueryRow(t.Context(), where, s.slot).Scan(&after); err != nil || after != before {
		t.Errorf("the slot stands at %s, and stood at %s: %v", after, before, err)
	}
}

// A row that is read is the row that WAL would have, by any key.
func TestCurrentRowIsTheOneOfWAL(t *testing.T) {
	t.Parallel()
	s := newWALSource(t, `CREATE TABLE a (id int PRIMARY KEY, x numeric, at timestamptz, tags text[], twice numeric GENERATED ALWAYS AS (x * 2) STORED);
		ALTER TABLE a REPLICA IDENTITY FULL; CREATE TABLE b (shop int, sku text, PRIMARY KEY (sku, shop)); CREATE TABLE c (x int)`)
	s.exec(`INSERT INTO a VALUES (1, 1.50, '2026-03-01 10:00+02', '{a,"b c",NULL}'), (7, NULL, NULL, NULL)`)
	s.exec(`INSERT INTO b VALUES (1, 'x,y\z'), (2, 'q')`)
	live, err := NewLive(s.dsn, "test", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	decoder := s.decoder(func(string, string) (bool, bool) { return true, false }, Limits{})
	want := map[string]Row{}
	for _, m := range s.messages() {
		tx, err := decoder.Decode(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		if tx == nil {
			continue
		}
		for c, err := range tx.Changes() {
			if err != nil {
				t.Fatal(err)
			}
			want[c.Rel.Name+" "+c.Key] = c.After
		}
	}
	for _, key := range []string{"a 1", "a 7", `b x\,y\\z,1`, "b q,2"} {
		table, id := key[:1], key[2:]
		row, found, err := live.Current(t.Context(), "public", table, id)
		if err != nil || found != id {
			t.Errorf("%s: found %q, %v", key, found, err)
			continue
		}
		if len(row.Relation().Columns) != len(want[key].Relation().Columns) {
			t.Errorf("%s has %d columns", key, len(row.Relation().Columns))
			continue
		}
		inWAL := want[key]
		for i := range row.Relation().Columns {
			if got, wal := row.Value(i), inWAL.Value(i); !got.Equal(wal) || got.Type.OID != wal.Type.OID {
				t.Errorf("%s: column %d is %+v, in WAL %+v", key, i, got, wal)
			}
		}
	}
	if _, found, err := live.Current(t.Context(), "public", "a", ""); err != nil || found != "7" {
		t.Errorf("the newest row is %q, %v", found, err)
	}
	for _, test := range []struct {
		table, key string
		want       error
	}{{"a", "99", ErrNoRow}, {"a", "x'; DROP TABLE a", ErrBadKey}, {"b", "q", ErrBadKey}} {
		if _, _, err := live.Current(t.Context(), "public", test.table, test.key); !errors.Is(err, test.want) {
			t.Errorf("%s %q: %v", test.table, test.key, err)
		}
	}
	if _, _, err := live.Current(t.Context(), "public", "c", "1"); err == nil {
		t.Error("a row was found without a primary key")
	}
}
