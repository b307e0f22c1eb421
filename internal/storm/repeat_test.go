package storm

import (
	"context"
	"math"
	"net/url"
	"strings"
	"testing"
	"time"

	"walhook/internal/harness"
	"walhook/internal/pgtest"
)

// write lets writers do their actions in a database of their own.
func write(t *testing.T, seed uint64, writers, actions int) *Workload {
	t.Helper()
	dsn := pgtest.Database(t)
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	source := &Cluster{Name: "source", Database: strings.TrimPrefix(u.Path, "/"), server: pgtest.Server(t)}
	t.Cleanup(source.hangUp)
	pgtest.Exec(t, dsn, schema)
	w := newWorkload(t, source, seed, writers, actions, 300, &harness.Tally{})
	w.limit.Store(math.MaxInt64)
	w.start()
	for end := time.Now().Add(patience); !w.done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the writers do not come to an end")
		}
	}
	return w
}

// written is what one writer has entered in its ledger.
func written(t *testing.T, seed uint64) (text string) {
	t.Helper()
	const all = "SELECT coalesce(string_agg(concat_ws(' ', action, tab, key, op, old_wd, new_wd, old_digest, new_digest, old_facts, new_facts, parent), chr(10) ORDER BY n), '') FROM ledger"
	if err := write(t, seed, 1, 15).source.Query(context.Background(), &text, all); err != nil {
		t.Fatal(err)
	}
	return text
}

// The same seed writes the same, and another one does not: a storm can be repeated.
func TestSeedDecidesWhatIsWritten(t *testing.T) {
	t.Parallel()
	first, again, other := written(t, 5), written(t, 5), written(t, 6)
	if first == "" || first != again {
		t.Errorf("one seed, two ledgers:\n%s\n\n%s", first, again)
	}
	if first == other {
		t.Error("two seeds, one ledger")
	}
}

// What the ledger says of the rows after the last write is what the tables hold: the writer's knowledge is not made up.
func TestLedgerIsWhatTablesHold(t *testing.T) {
	t.Parallel()
	w := write(t, 7, 3, 15)
	ctx := context.Background()
	ledger, err := readLedger(ctx, w.source)
	if err != nil {
		t.Fatal(err)
	}
	last := map[string]line{}
	for _, l := range ledger {
		switch l.op {
		case 't':
			for k, e := range last {
				if e.table == l.table {
					delete(last, k)
				}
			}
		case 'm':
		default:
			last[l.table.name+"/"+l.key] = l
		}
	}
	conn, err := w.source.Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	one := &writer{Workload: w, conn: conn, m: newModel()}
	if err := one.exec("BEGIN"); err != nil {
		t.Fatal(err)
	}
	rows := 0
	for name, l := range last {
		err := one.lock(l.table, l.key)
		switch {
		case l.new == nil && err == nil:
			t.Errorf("%s is there, though it was deleted", name)
		case l.new != nil && err != nil:
			t.Errorf("%s: %v", name, err)
		case l.new != nil:
			rows++
			if got := l.table.digest(one.m[l.table][l.key]); got != l.new.digest {
				t.Errorf("%s has the digest %s, the ledger says %s", name, got, l.new.digest)
			}
		}
	}
	if rows == 0 {
		t.Error("no rows to compare")
	}
}
