package cdc

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/internal/pgtest"
)

// oracle is a handler that knows from the stream alone what look-ups must know at least. Every row has a version that each write of it
// raises, so what is older than the stream can be told from what is newer.
type oracle struct {
	t        *testing.T
	lookups  *Lookups
	plain    *Live // without memory
	partner  *Link
	lines    *Link
	tags     *Link
	few      *Link // the first two tags
	versions map[string]int
	orderOf  map[string]string          // line → order
	active   map[string]bool            // of tags
	pairs    map[string]map[string]bool // order → tags
	awaited  map[string]bool            // what a look-up says has happened, and the stream has not brought yet
	events   int
	marker   atomic.Int64
}

func (o *oracle) text(r Row, column string) string {
	if r.rel == nil {
		return ""
	}
	return string(r.Value(r.rel.Column(column)).Text)
}

func (o *oracle) number(r Row, column string) (n int) {
	if _, err := fmt.Sscan(o.text(r, column), &n); err != nil {
		o.t.Errorf("%s of %s: %v", column, showRow(r), err)
	}
	return n
}

// gone is the version of what no longer exists.
const gone = 1 << 40

// apply notes what a change says.
func (o *oracle) apply(c *Change) {
	name := c.Rel.Name + " " + c.Key
	delete(o.awaited, name)
	switch {
	case c.Op == Truncate:
		for id := range o.orderOf {
			delete(o.awaited, "line "+id)
			o.versions["line "+id] = gone
		}
		clear(o.orderOf)
		return
	case c.Rel.Name == "rel":
		order, tag := o.text(c.Row(), "order_id"), o.text(c.Row(), "tag_id")
		if o.pairs[order] == nil {
			o.pairs[order] = map[string]bool{}
		}
		if o.pairs[order][tag] = true; c.Op == Unlink {
			delete(o.pairs[order], tag)
		}
		return
	case c.Op == Unlink:
		o.versions[name] = gone
		delete(o.orderOf, c.Key)
		return
	}
	o.versions[name] = o.number(c.After, "v")
	switch c.Rel.Name {
	case "line":
		o.orderOf[c.Key] = o.text(c.After, "order_id")
	case "tag":
		o.active[c.Key] = o.text(c.After, "active") == "t"
	}
}

// Handle implements Handler.
func (o *oracle) Handle(ctx context.Context, txs []*Tx) (LSN, error) {
	if err := o.lookups.Begin(ctx, txs); err != nil {
		return 0, err
	}
	for _, tx := range txs {
		for c := range tx.Changes() {
			o.apply(c)
		}
	}
	for _, tx := range txs {
		for c := range tx.Changes() {
			if c.Rel.Name != "ord" {
				continue
			}
			o.events++
			if err := o.check(ctx, c); err != nil {
				return 0, err
			}
			if c.Key == "0" && c.Op == Write {
				if err := o.compare(); err != nil {
					return 0, err
				}
				o.marker.Store(int64(o.number(c.After, "v")))
			}
		}
	}
	return txs[len(txs)-1].EndLSN, nil
}

// Advance implements Handler.
func (o *oracle) Advance(_ context.Context, lsn LSN) (LSN, error) { return lsn, nil }

// fresh checks rows against the stream, and returns their ids.
func (o *oracle) fresh(table string, rows []Row) map[string]bool {
	ids := map[string]bool{}
	for _, r := range rows {
		id := o.text(r, "id")
		ids[id] = true
		if at := o.versions[table+" "+id]; o.number(r, "v") < at {
			o.t.Errorf("%s %s is stale: %s, the stream has brought version %d", table, id, showRow(r), at)
		}
	}
	return ids
}

// check looks up what an event needs.
func (o *oracle) check(ctx context.Context, c *Change) error {
	id, _ := c.ID()
	var partner int64
	if _, err := fmt.Sscan(o.text(c.After, "partner_id"), &partner); err != nil {
		return err
	}
	return errors.Join(
		o.lookups.Load(ctx, o.partner, []int64{partner}, func(id int64, got Linked) error {
			if !o.fresh("partner", got.Rows)[fmt.Sprint(id)] {
				o.t.Errorf("partner %d is missing", id)
			}
			return nil
		}),
		o.lookups.Load(ctx, o.lines, []int64{id}, func(_ int64, got Linked) error {
			ids := o.fresh("line", got.Rows)
			for line, order := range o.orderOf {
				if order == c.Key && !ids[line] {
					o.awaited["line "+line] = true // it has gone since, or belongs to another
				}
			}
			return nil
		}),
		o.lookups.Load(ctx, o.tags, []int64{id}, func(_ int64, got Linked) error {
			ids := o.fresh("tag", got.Rows)
			for tag := range ids {
				if !o.pairs[c.Key][tag] {
					o.awaited["rel "+c.Key+","+tag] = true
				}
				if !o.active[tag] {
					o.awaited["tag "+tag] = true
				}
			}
			for tag := range o.pairs[c.Key] {
				if !ids[tag] && o.active[tag] && !o.awaited["tag "+tag] {
					o.awaited["rel "+c.Key+","+tag] = true // or the tag was archived since
					if v := o.versions["tag "+tag]; v < o.latest(tag) {
						delete(o.awaited, "rel "+c.Key+","+tag)
						o.awaited["tag "+tag] = true
					}
				}
			}
			return nil
		}),
		o.lookups.Load(ctx, o.few, []int64{id}, func(_ int64, got Linked) error {
			o.fresh("tag", got.Rows)
			return nil
		}))
}

// latest is the version of a tag now.
func (o *oracle) latest(tag string) (v int) {
	var id int64
	fmt.Sscan(tag, &id)
	err := o.plain.Load(context.Background(), &Link{Schema: "public", Table: "tag", By: "id", Columns: []string{"v"}}, []int64{id}, func(_ int64, got Linked) error {
		if len(got.Rows) == 1 {
			v = o.number(got.Rows[0], "v")
		}
		return nil
	})
	if err != nil {
		o.t.Error(err)
	}
	return v
}

// compare checks, while nobody writes, that what is in memory is what is in the tables.
func (o *oracle) compare() error {
	for what := range o.awaited {
		o.t.Errorf("a look-up was stale: the stream never brought the change of %s that it has seen", what)
	}
	for _, link := range []*Link{o.partner, o.lines, o.tags, o.few} {
		ids := []int64{1, 2, 3, 4, 5, 6}
		if got, want := looked(o.t, o.lookups.Load, link, ids...), looked(o.t, o.plain.Load, link, ids...); got != want {
			o.t.Errorf("%s: in memory\n%s\nin the table\n%s", link, got, want)
		}
	}
	o.lookups.cache.consistent(o.t)
	return nil
}

// TestLookupsAreNeverStale: while several sessions write, and the stream is cut now and then, no look-up is older than what the stream has
// brought; and when they pause, what is in memory is what is in the tables. Replica identities are DEFAULT: deleted rows come with their keys alone.
func TestLookupsAreNeverStale(t *testing.T) {
	b := newBench(t)
	pgtest.Exec(t, b.dsn, `CREATE TABLE partner (id int PRIMARY KEY, v int NOT NULL);
		CREATE TABLE ord (id int PRIMARY KEY, partner_id int NOT NULL, v int NOT NULL);
		CREATE TABLE line (id serial PRIMARY KEY, order_id int, sequence int, v int NOT NULL DEFAULT 1); CREATE INDEX ON line (order_id);
		CREATE TABLE tag (id int PRIMARY KEY, v int NOT NULL, active boolean);
		CREATE TABLE rel (order_id int, tag_id int, PRIMARY KEY (order_id, tag_id));
		ALTER PUBLICATION `+b.slot+` ADD TABLE partner, ord, line, tag, rel;
		INSERT INTO partner SELECT n, 1 FROM generate_series(1, 6) n; INSERT INTO ord SELECT n, 1, 1 FROM generate_series(0, 6) n;
		INSERT INTO tag SELECT n, 1, true FROM generate_series(1, 6) n; INSERT INTO line (order_id, sequence) SELECT 1 + n % 6, n % 3 FROM generate_series(1, 30) n`)
	columns := []string{"id", "v"}
	o := &oracle{t: t, plain: newLive(t, b.dsn), versions: map[string]int{}, orderOf: map[string]string{}, active: map[string]bool{}, pairs: map[string]map[string]bool{}, awaited: map[string]bool{},
		partner: &Link{Schema: "public", Table: "partner", By: "id", Columns: columns},
		lines:   &Link{Schema: "public", Table: "line", By: "order_id", Columns: append(columns, "order_id", "sequence"), Order: []string{"sequence"}},
		tags:    &Link{Schema: "public", Table: "tag", Rel: &LinkRelation{"public", "rel", "order_id", "tag_id"}, Columns: append(columns, "active")},
		few:     &Link{Schema: "public", Table: "tag", Rel: &LinkRelation{"public", "rel", "order_id", "tag_id"}, Columns: columns, Order: []string{"v desc"}, Limit: 2}}
	o.lookups = NewLookups(newLive(t, b.dsn), LookupsConfig{Bytes: 1 << 20, Age: time.Hour}, []*Link{o.partner, o.lines, o.tags, o.few}, func(*Link) bool { return true })
	b.trace.Connected = func(Session) { o.lookups.Forget() }
	// Small batches: in a large one there is a change for everything that was kept before.
	r := b.start(o, 0, func(c *SourceConfig) { c.BatchTransactions = 3 })

	statements := []string{
		"UPDATE partner SET v = v + 1 WHERE id = 1 + $1 % 6",
		"INSERT INTO line (order_id, sequence) VALUES (1 + $1 % 6, $1 % 5)",
		"UPDATE line SET v = v + 1, sequence = $1 % 4 WHERE id = (SELECT max(id) FROM line) - $1 % 20",
		"UPDATE line SET v = v + 1, order_id = nullif($1 % 7, 0) WHERE id = (SELECT max(id) FROM line) - $1 % 20",
		"DELETE FROM line WHERE id = (SELECT max(id) FROM line) - $1 % 20",
		"UPDATE tag SET v = v + 1, active = nullif($1 % 4, 0) > 1 WHERE id = 1 + $1 % 6",
		"INSERT INTO rel VALUES (1 + $1 % 6, 1 + $1 / 7 % 6) ON CONFLICT DO NOTHING",
		"DELETE FROM rel WHERE order_id = 1 + $1 % 6 AND tag_id = 1 + $1 / 7 % 6",
	}
	statements = append(statements, statements[6], statements[7], statements[6], statements[7])
	rounds := 5
	for round := 1; round <= rounds; round++ {
		var writers sync.WaitGroup
		end := time.Now().Add(200 * time.Millisecond)
		for w := range 3 {
			conn, rnd := pgtest.Connect(t, b.dsn), rand.New(rand.NewPCG(uint64(round), uint64(w)))
			writers.Go(func() {
				for time.Now().Before(end) {
					_ = pgx.BeginFunc(context.Background(), conn, func(tx pgx.Tx) error { // of two that wait for each other one fails
						for range 1 + rnd.IntN(3) {
							if _, err := tx.Exec(context.Background(), statements[rnd.IntN(len(statements))], rnd.IntN(1000)); err != nil {
								return err
							}
						}
						_, err := tx.Exec(context.Background(), "UPDATE ord SET v = v + 1, partner_id = $1 WHERE id = $2", 1+rnd.IntN(6), 1+rnd.IntN(6))
						return err
					})
				}
				conn.Close(context.Background())
			})
		}
		if round%3 == 0 {
			until(t, "connected", func() bool { return r.Progress().Connected })
			b.exec("SELECT pg_terminate_backend(pid) FROM pg_stat_replication WHERE application_name LIKE 'walhook%' AND pid = $1", r.Progress().Session.PID)
		}
		writers.Wait()
		if round == 4 {
			b.exec("TRUNCATE line")
		}
		b.exec("UPDATE ord SET v = $1 WHERE id = 0", round)
		until(t, "the end of a round", func() bool { return o.marker.Load() == int64(round) })
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	r.stop()
	s := o.lookups.Stats()
	t.Logf("%d events, %+v", o.events, s)
	if s.Hits == 0 || s.Misses == 0 || s.Dropped == 0 || s.Entries == 0 {
		t.Errorf("the cache was of no use: %+v", s)
	}
}

// What Begin is told of is in effect before the next look-up: a transaction that lies in a file drops everything, and so does Forget.
// Where nothing may be kept nothing is.
func TestLookupsForget(t *testing.T) {
	dsn := pgtest.Database(t)
	exec := executor(t, dsn)
	exec("CREATE TABLE partner (id int PRIMARY KEY, v text); INSERT INTO partner VALUES (1, 'a')")
	link := &Link{Schema: "public", Table: "partner", By: "id", Columns: []string{"v"}}
	now := time.Unix(1000, 0)
	l := NewLookups(newLive(t, dsn), LookupsConfig{Bytes: 1 << 20, Now: func() time.Time { return now }}, []*Link{link}, func(*Link) bool { return true })
	sees := func(want string) {
		t.Helper()
		if got := looked(t, l.Load, link, 1); got != "1: {v="+want+"}" {
			t.Errorf("%s, want %s", got, want)
		}
	}
	sees("a")
	exec("UPDATE partner SET v = 'b'") // the stream has not brought it
	sees("a")
	l.Forget()
	sees("b")
	exec("UPDATE partner SET v = 'c'")
	now = now.Add(61 * time.Second)
	sees("c")
	exec("UPDATE partner SET v = 'd'")
	if err := l.Begin(t.Context(), []*Tx{{XID: 3, EndLSN: 100, spill: &spool{}}}); err != nil {
		t.Fatal(err)
	}
	sees("d")
	exec("UPDATE partner SET v = 'e'")
	change := &Change{Op: Write, Rel: relationOf("partner", []string{"id"}, "id", "v"), Key: "1"}
	if err := l.Begin(t.Context(), []*Tx{NewTx(3, 90, 100, now, []*Change{change})}); err != nil {
		t.Fatal(err)
	}
	sees("e")
	if !l.Wants("public", "partner") || l.Wants("public", "other") {
		t.Error("the stream brings too little or too much")
	}
	none := NewLookups(newLive(t, dsn), LookupsConfig{}, []*Link{link}, func(*Link) bool { return true })
	looked(t, none.Load, link, 1)
	looked(t, none.Load, link, 1)
	if s := none.Stats(); s.Hits != 0 || s.Misses != 2 || s.Entries != 0 || none.Wants("public", "partner") {
		t.Errorf("%+v", s)
	}
	// Transactions of which nobody asks are not kept in mind for ever.
	txs := make([]*Tx, 1000)
	for i := range txs {
		txs[i] = NewTx(3, 90, 100, now, nil)
	}
	for range 10 {
		if err := l.Begin(t.Context(), txs); err != nil {
			t.Fatal(err)
		}
	}
	if len(l.xids) > maxAwaited {
		t.Errorf("%d transactions are kept in mind", len(l.xids))
	}
}

// A look-up that the server ends again and again does not hold up the stream for ever: it is refused for a while, with what to do.
func TestLookupsTooSlow(t *testing.T) {
	dsn := pgtest.Database(t)
	executor(t, dsn)(`CREATE TABLE line (id int PRIMARY KEY, parent int); INSERT INTO line VALUES (1, 1);
		CREATE VIEW slow AS SELECT l.*, pg_sleep(10)::text AS zzz FROM line l`)
	live, err := NewLive(dsn+"&statement_timeout=20", "test", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(live.Close)
	live.cfg.RuntimeParams["statement_timeout"] = "20"
	link := &Link{Schema: "public", Table: "slow", By: "parent", Columns: []string{"zzz"}}
	now := time.Unix(1000, 0)
	l := NewLookups(live, LookupsConfig{Now: func() time.Time { return now }}, nil, nil)
	load := func() error {
		return l.Load(t.Context(), link, []int64{1}, func(int64, Linked) error { return nil })
	}
	var slow *SlowLookupError
	for n := range slowAttempts {
		if err := load(); isTemporary(err) != (n < slowAttempts-1) || errors.As(err, &slow) != (n == slowAttempts-1) {
			t.Errorf("attempt %d: %v", n, err)
		}
	}
	if slow == nil || slow.Hint() != `as the table's owner, where no index begins with that column: CREATE INDEX CONCURRENTLY ON "public"."slow" ("parent")` {
		t.Errorf("%v", slow)
	}
	queries := l.Stats().Queries
	if err := load(); !errors.As(err, &slow) || l.Stats().Queries != queries {
		t.Errorf("asked again at once: %v", err)
	}
	now = now.Add(2 * time.Minute)
	if err := load(); !errors.As(err, &slow) || l.Stats().Queries != queries+1 {
		t.Errorf("after a while: %v", err)
	}
}

// A look-up of a table that is locked ends, is worth another try, and says who is in the way: the stream waits, and nothing is lost.
func TestLookupsOfALockedTable(t *testing.T) {
	dsn := pgtest.Database(t)
	run := executor(t, dsn)
	run(`CREATE TABLE tag (id int PRIMARY KEY, name text); CREATE TABLE rel (a int, b int, PRIMARY KEY (a, b)); INSERT INTO tag VALUES (1, 'x'); INSERT INTO rel VALUES (7, 1)`)
	live := newLive(t, dsn)
	live.cfg.RuntimeParams["lock_timeout"] = "20ms"
	l := NewLookups(live, LookupsConfig{}, nil, nil)
	for _, tt := range []struct {
		link *Link
		id   int64
		lock string
		hint string
	}{
		{&Link{Schema: "public", Table: "tag", By: "id", Columns: []string{"name"}}, 1, "tag", "walhook waits for table public.tag as long as it takes"},
		{&Link{Schema: "public", Table: "tag", Rel: &LinkRelation{"public", "rel", "a", "b"}, Columns: []string{"name"}}, 7, "rel", "walhook waits for tables public.tag and public.rel as long"},
	} {
		found := 0
		load := func() error {
			return l.Load(t.Context(), tt.link, []int64{tt.id}, func(_ int64, got Linked) error { found += len(got.Rows); return nil })
		}
		run("BEGIN; LOCK TABLE " + tt.lock)
		for range slowAttempts + 1 { // however often: it is no slow look-up, which would be given up
			err := load()
			var locked *LockedError
			if !isTemporary(err) || !errors.As(err, &locked) || sqlState(err) != "55P03" || found > 0 {
				t.Fatalf("%s: %v, %d found", tt.link, err, found)
			}
			if len(locked.Blockers) != 1 || locked.Blockers[0].PID == 0 || !strings.Contains(err.Error(), fmt.Sprintf("locked by process %d", locked.Blockers[0].PID)) {
				t.Errorf("%v, by %v", err, locked.Blockers)
			} else if hint := locked.Hint(); !strings.HasPrefix(hint, tt.hint) || !strings.HasSuffix(hint, fmt.Sprintf("SELECT pg_terminate_backend(%d)", locked.Blockers[0].PID)) {
				t.Errorf("%s: hint: %s", tt.link, hint)
			}
		}
		run("COMMIT")
		if err := load(); err != nil || found != 1 {
			t.Errorf("%s: %v, %d found when the lock is gone", tt.link, err, found)
		}
	}
	// Who waits for the lock behind a long query is in the way, too.
	run("BEGIN; SELECT FROM tag")
	waiter := pgtest.Connect(t, dsn)
	done := make(chan error, 1)
	go func() {
		_, err := waiter.PgConn().Exec(context.Background(), "BEGIN; LOCK TABLE tag; COMMIT").ReadAll()
		done <- err
	}()
	see := pgtest.Connect(t, dsn)
	waiting := false
	for end := time.Now().Add(30 * time.Second); !waiting && time.Now().Before(end); {
		if err := see.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'tag'::regclass)").Scan(&waiting); err != nil {
			t.Fatal(err)
		}
	}
	var behind *LockedError
	err := l.Load(t.Context(), &Link{Schema: "public", Table: "tag", By: "id", Columns: []string{"name"}}, []int64{1}, func(int64, Linked) error { return nil })
	if !errors.As(err, &behind) || len(behind.Blockers) != 1 || behind.Blockers[0].PID != int(waiter.PgConn().PID()) {
		t.Errorf("process %d waits for the lock: %v", waiter.PgConn().PID(), err)
	}
	run("COMMIT")
	if err := <-done; err != nil {
		t.Error(err)
	}
	for _, tt := range []struct {
		by   []Blocker
		want string
	}{
		{nil, "; let what has locked them end"},
		{[]Blocker{{Prepared: "move"}}, "FROM pg_prepared_xacts"},
	} {
		if e := (&LockedError{Link: &Link{Schema: "public", Table: "tag"}, Blockers: tt.by, Err: errors.New("lock timeout")}); !strings.Contains(e.Hint(), tt.want) || e.Error() == "" {
			t.Errorf("%v: %s", e, e.Hint())
		}
	}
}
