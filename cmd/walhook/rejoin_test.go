package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"walhook/cdc"
	"walhook/delivery"
	"walhook/state"
)

// Only a membership that ended by another process's taking over is followed by another one.
func TestMembershipLost(t *testing.T) {
	superseded := fmt.Errorf("stream: %w", delivery.ErrSuperseded)
	for _, tc := range []struct {
		name string
		err  error
		want bool
	}{
		{"superseded", superseded, true},
		{"lease lost", fmt.Errorf("process lease: %w", state.ErrLeaseLost), true},
		{"superseded with outcomes that could not be written", errors.Join(superseded, errors.New("delivery: commit 3 outcomes")), true},
		{"superseded, and the slot is lost", errors.Join(superseded, fmt.Errorf("stream: %w", &cdc.SlotError{Problem: cdc.SlotLost})), false},
		{"superseded, and the source is another one", errors.Join(fmt.Errorf("identity watch: %w", environmentError(&state.MismatchError{}, "")), superseded), false},
		{"another end", errors.New("stream: disk full"), false},
		{"no error", nil, false},
	} {
		if got := membershipLost(tc.err); got != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
}

// While a process joins again it waits for what heals by itself, and ends for what a person must mend.
func TestPasses(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	for _, tc := range []struct {
		name string
		err  error
		want bool
	}{
		{"server away", environmentError(&connectError{key: "source.dsn", err: refused}, ""), true},
		{"server starting", &pgconn.PgError{Code: "57P03"}, true},
		{"too many connections", environmentError(&pgconn.PgError{Code: "53300"}, ""), true},
		{"connection cut", fmt.Errorf("look: %w", io.ErrUnexpectedEOF), true},
		{"staying away", &cdc.AwayError{Until: time.Now(), Why: "detach"}, true},
		{"slot in use", &cdc.SlotError{Problem: cdc.SlotInUse}, true},
		{"slot gone", &cdc.SlotError{Problem: cdc.SlotMissing, Err: refused}, false},
		{"password", &pgconn.PgError{Code: "28P01"}, false},
		{"another source", environmentError(&state.MismatchError{}, ""), false},
		{"a finding of preflight", environmentError(errors.New("wal_level is replica"), ""), false},
		{"one that heals and one that does not", errors.Join(refused, errors.New("wal_level is replica")), false},
	} {
		if got := passes(tc.err); got != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
}

// A lease that the engine would not send under is a mistake in the configuration.
func TestLeaseTooShort(t *testing.T) {
	for lease, short := range map[string]bool{"1s": true, "4s": true, "5s": false, "30s": false} {
		_, err := parseConfig("w.toml", []byte(whole("[state]\nlease = \""+lease+"\"\n")), variables())
		if got := err != nil && strings.Contains(err.Error(), "nothing is sent in its last 2s"); got != short {
			t.Errorf("%s: %v", lease, err)
		}
	}
}
