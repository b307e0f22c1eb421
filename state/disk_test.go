package state

import (
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"walhook/delivery"
	"walhook/internal/pgtest"
)

// noise is text that does not compress.
func noise(n int) []byte {
	raw := make([]byte, n/2)
	for i := range raw {
		raw[i] = byte(rand.Uint32())
	}
	return []byte(hex.EncodeToString(raw))
}

// F2: with its disk full the store refuses, in words and as something that passes. Nothing of a refused batch is there, and the same calls succeed
// once there is space: attempts that were made are logged once, numbers have no hole.
func TestFullDisk(t *testing.T) {
	disk := pgtest.SmallDisk(t, 32)
	_, dsn := disk.Database(t)
	db := open(t, Config{DSN: dsn})
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Bind(t.Context(), testBinding, BindOptions{Start: testStart, Created: true}); err != nil {
		t.Fatal(err)
	}
	exec(t, db, "UPDATE {schema}.source SET epoch = 1")
	p := register(t, db)
	f := newFeed(t, p)
	sent := f.many("a", 20)
	f.enqueue(t, all, sent...)
	outcomes := make([]delivery.Outcome, len(sent))
	for i, d := range sent {
		outcomes[i] = outcome(d, delivery.Delivered)
		outcomes[i].Attempt.ResponseBody = noise(64 << 10)
	}
	batch := f.many("a", 200)
	for _, d := range batch {
		d.Body = noise(8 << 10)
	}

	disk.Fill(t)
	before := f.at
	for range 3 {
		_, enqueueErr := f.try(t.Context(), all, batch...)
		_, finishErr := p.Finish(t.Context(), outcomes, 10)
		for what, err := range map[string]error{"enqueue": enqueueErr, "finish": finishErr} {
			var pg *pgconn.PgError
			if !errors.As(err, &pg) || pg.Code != "53100" || !isTemporary(err) || !strings.Contains(hintOf(err), "disk") || !strings.Contains(hintOf(err), "nothing is lost") {
				t.Fatalf("%s on a full disk: %v, hint %q", what, err, hintOf(err))
			}
		}
	}
	if at, err := db.StoredPosition(t.Context()); at != before || err != nil {
		t.Errorf("the position is %v, was %v: %v", at, before, err)
	}
	if q, a := rows(t, db, "queue"), rows(t, db, "attempt"); q != len(sent) || a != 0 {
		t.Errorf("%d in the queue, %d attempts", q, a)
	}
	if err := p.renew(t.Context()); err != nil { // or the lanes would be lost meanwhile
		t.Errorf("renew the lease: %v", err)
	}

	disk.Free(t)
	f.enqueue(t, none, batch...)
	finish(t, p, 10, outcomes...)
	wantNumbers(t, "a:1/21", batch[0])
	if q, a := rows(t, db, "queue"), rows(t, db, "attempt"); q != len(batch) || a != len(sent) {
		t.Errorf("%d in the queue, %d attempts", q, a)
	}
	consistent(t, db)
	proveComplete(t, db)
}
