package storm

import (
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"walhook/internal/harness"
	"walhook/internal/pgtest"
)

// The environment's say.
const (
	envDuration = "WALHOOK_TORTURE"      // how long new rounds are begun, as "10m"; default one short round
	envSeed     = "WALHOOK_STORM_SEED"   // of the first round, to repeat what was seen
	envFault    = "WALHOOK_STORM_FAULT"  // a regular expression: only faults whose names match
	envEach     = "WALHOOK_STORM_EACH"   // so many actions of each of six writers, and every kind of fault once
	envReport   = "WALHOOK_TORTURE_JSON" // a file that the counts are added to
	envDir      = "WALHOOK_STORM_DIR"    // where the evidence of failed rounds goes; default the system's place for temporary files
)

// quick are the faults of the short form: those after which walhook need not stay away from a server for half a minute.
var quick = regexp.MustCompile(`^(SIGKILL|SIGTERM|SIGHUP|SIGSTOP for less|statements|latency|slicer|reset_peer|connections (cut|refused)|receiver: (500|408|hangs up|slow)|DDL|clock|disk)`)

func TestMain(m *testing.M) {
	zerolog.SetGlobalLevel(zerolog.Disabled) // toxiproxy's, which traces each toxic
	pgtest.Main(m, harness.Remove)
}

// TestStorm is the great torture.
func TestStorm(t *testing.T) {
	t.Parallel()
	seed := uint64(rand.Uint32())
	if text := os.Getenv(envSeed); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s: %v", envSeed, err)
		}
	}
	var counts tally
	defer func() {
		t.Logf("%s=%d\n%s", envSeed, seed, &counts)
		if path := os.Getenv(envReport); path != "" {
			if err := counts.merge(path); err != nil {
				t.Error(err)
			}
		}
	}()
	var only *regexp.Regexp
	if text := os.Getenv(envFault); text != "" {
		only = regexp.MustCompile(text)
	}
	if n, err := strconv.Atoi(os.Getenv(envEach)); err == nil {
		play(t, seed, plan{writers: 6, actions: n, rows: 1500, only: only, each: true}, &counts)
		return
	}
	text := os.Getenv(envDuration)
	if text == "" {
		hurry := only == nil
		if hurry {
			only = quick
		}
		play(t, seed, plan{writers: 6, actions: 40, rows: 1500, faults: 6, hurry: hurry, only: only}, &counts)
		return
	}
	long, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("%s: %v", envDuration, err)
	}
	began := time.Now()
	t.Run("rounds", func(t *testing.T) {
		for side := range uint64(2) { // faults wait more than they work
			t.Run(fmt.Sprintf("side %d", side), func(t *testing.T) {
				t.Parallel()
				for n := side; time.Since(began) < long && !t.Failed(); n += 2 {
					t.Run(fmt.Sprintf("seed %d", seed+n), func(t *testing.T) { play(t, seed+n, planOf(seed+n, only), &counts) })
				}
			})
		}
	})
}

// planOf draws the size of a long round.
func planOf(seed uint64, only *regexp.Regexp) plan {
	rnd := rand.New(rand.NewPCG(seed, 1<<43))
	writers := []int{8, 20, 50, 200}[rnd.IntN(4)]
	return plan{writers: writers, actions: 3000 / writers, rows: 4000, faults: 60, only: only}
}
