package survival

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/internal/pgserver"
	"walhook/internal/pgtest"
)

// contains says whether one of the words is in a text.
func contains(text string, words ...string) bool {
	for _, word := range words {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}

// crowd is how many connections the server has for others than superusers, of whom one looks on: 16 - 3 - 1.
const crowd = 12

// exhaust takes all connections of a server that are not the superuser's, those of a role included: its sessions are ended, and
// whatever becomes free is taken at once, until release is called.
func exhaust(t *testing.T, s *pgserver.Server, role string) (release func()) {
	t.Helper()
	pgtest.Exec(t, s.DSN("postgres"), "CREATE ROLE crowd LOGIN")
	admin := pgtest.Connect(t, s.DSN("postgres"))
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	var mu sync.Mutex
	held := 0
	for range crowd {
		done.Go(func() {
			for ctx.Err() == nil {
				conn, err := pgx.Connect(ctx, s.DSNFor("crowd", "", "postgres"))
				if err != nil {
					select {
					case <-ctx.Done():
					case <-time.After(10 * time.Millisecond):
					}
					continue
				}
				mu.Lock()
				held++
				mu.Unlock()
				<-ctx.Done()
				_ = conn.Close(context.Background())
			}
		})
	}
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		if _, err := admin.Exec(context.Background(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", role); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		all := held == crowd
		mu.Unlock()
		if all {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the server's connections could not be taken")
		}
	}
	return func() {
		cancel()
		done.Wait()
	}
}
