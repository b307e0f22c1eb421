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
	envSides    = "WALHOOK_STORM_SIDES"  // how many rounds at a time; default 2
	envSeed     = "WALHOOK_STORM_SEED"   // of the first round, to repeat what was seen
	envFault    = "WALHOOK_STORM_FAULT"  // a regular expression: only faults whose names match
	envEach     = "WALHOOK_STORM_EACH"   // so many actions of each of six writers, and every kind of fault once
	envList     = "WALHOOK_STORM_LIST"   // a file that names the faults of the rounds, one a line, as a failed round leaves it behind
	envReport   = "WALHOOK_TORTURE_JSON" // a file that the counts are added to; long rounds draw what is rarest there
	envDir      = "WALHOOK_STORM_DIR"    // where the evidence of failed rounds goes; default the system's place for temporary files
)

// quick are the faults of the short form: those after which walhook need not stay away from a server for half a minute.
var quick = regexp.MustCompile(`^(SIGKILL|SIGTERM|SIGHUP|SIGSTOP for less|statements|latency|slicer|reset_peer|connections (cut|refused)|receiver: (500|408|hangs up|slow|certificate)|backfill|DDL|clock|disk)`)

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
	a, err := newAgenda(os.Getenv(envReport))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { t.Logf("%s=%d\n%s", envSeed, seed, a.report()) }()
	var p plan
	if text := os.Getenv(envFault); text != "" {
		p.only = regexp.MustCompile(text)
	}
	if file := os.Getenv(envList); file != "" {
		if p.list, err = readList(file); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := strconv.Atoi(os.Getenv(envEach)); err == nil {
		p.writers, p.actions, p.rows, p.each = 6, n, 1500, true
		a.play(t, seed, p)
		return
	}
	text := os.Getenv(envDuration)
	if text == "" {
		p.writers, p.actions, p.rows, p.faults = 6, 40, 1500, 6
		if p.only == nil {
			p.only, p.hurry = quick, true
		}
		a.play(t, seed, p)
		return
	}
	long, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("%s: %v", envDuration, err)
	}
	sides := 2
	if n, err := strconv.Atoi(os.Getenv(envSides)); err == nil && n > 0 {
		sides = n
	}
	began := time.Now()
	t.Run("rounds", func(t *testing.T) {
		for side := range sides { // faults wait more than they work
			t.Run(fmt.Sprintf("side %d", side), func(t *testing.T) {
				t.Parallel()
				// A round that fails is no reason to end the run; several in a row are.
				for n, failed := seed+uint64(side), 0; time.Since(began) < long && failed < 4; n += uint64(sides) {
					if failed++; a.play(t, n, planOf(n, p)) {
						failed = 0
					}
				}
			})
		}
	})
}

// planOf draws the size of a long round.
func planOf(seed uint64, p plan) plan {
	rnd := rand.New(rand.NewPCG(seed, 1<<43))
	p.writers = []int{8, 20, 50, 200}[rnd.IntN(4)]
	p.actions, p.rows, p.faults, p.catchUp = 1200/p.writers, 4000, 120, true
	return p
}
