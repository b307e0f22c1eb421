package cdc

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"walhook/internal/pgtest"
)

// A stream from a standby that is promoted is of the new timeline, which is noted before anything more is persisted (invariant 8).
func TestInvariant8StandbyPromotedUnderTheStream(t *testing.T) {
	t.Parallel()
	server := ownServer(t, nil)
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(server.DataDir(), "standby.signal"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := server.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	var noted []uint32
	s := NewSource(SourceConfig{DSN: server.DSN("postgres"), Slot: "s", Publication: "p", NewTimeline: func(_ context.Context, timeline uint32) error {
		if noted = append(noted, timeline); len(noted) == 1 {
			return temporary("the state is away")
		}
		return nil
	}}, &recorder{}, nil, Trace{})
	conn := pgtest.Connect(t, server.DSN("postgres"))
	address := conn.PgConn().Conn().RemoteAddr()
	place := address.String()
	s.line.begin(1, true, address, "10.9.8.7:5432")
	if err := s.line.follow(t.Context(), s); !isTemporary(err) || s.line.continues(address, place) {
		t.Errorf("another server behind the address: %v", err)
	}
	s.line.begin(1, true, address, place)
	if err := s.line.follow(t.Context(), s); err != nil || len(noted) > 0 || !s.line.continues(address, place) {
		t.Fatalf("on the standby: %v, noted %d", err, noted)
	}
	pgtest.Exec(t, server.DSN("postgres"), "SELECT pg_promote()")
	if err := s.line.follow(t.Context(), s); !isTemporary(err) || s.line.current() != 1 {
		t.Errorf("a timeline that could not be noted: %v", err)
	}
	if err := s.line.follow(t.Context(), s); err != nil || !slices.Equal(noted, []uint32{2, 2}) || s.line.current() != 2 || s.line.continues(address, place) {
		t.Errorf("after the promotion: %v, noted %d", err, noted)
	}
	if err := s.line.follow(t.Context(), s); err != nil || len(noted) != 2 {
		t.Errorf("later: %v, noted %d", err, noted)
	}
	s.line.begin(2, true, address, place)
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := s.line.follow(ctx, s); !isTemporary(err) {
		t.Errorf("of a server that is away: %v", err)
	}
}
