package torture

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"walhook/internal/failpoint"
	"walhook/internal/harness"
	"walhook/internal/pgtest"
)

// The environment's say.
const (
	envDuration = "WALHOOK_TORTURE"      // how long new rounds are begun, as "10m"; default one short pair of rounds
	envSeed     = "WALHOOK_TORTURE_SEED" // of the first round, to repeat what was seen
	envReport   = "WALHOOK_TORTURE_JSON" // a file that the counts of long rounds are added to
)

func TestMain(m *testing.M) { pgtest.Main(m, harness.Remove) }

// TestTorture kills walhook at every fail point and at random, while a workload runs and the receiver fails. In its short form two
// rounds share the fail points; in the long one each round has them all.
func TestTorture(t *testing.T) {
	t.Parallel()
	seed := seedOf(t)
	var count harness.Tally
	defer func() { t.Logf("%s=%d\n%s", envSeed, seed, &count) }()
	if text := os.Getenv(envDuration); text != "" {
		long, err := time.ParseDuration(text)
		if err != nil {
			t.Fatalf("%s: %v", envDuration, err)
		}
		torment(t, seed, long, &count)
	} else {
		harry(t, seed, &count)
	}
	for _, p := range failpoint.Points() {
		if count.Count(kills, string(p)) == 0 && !t.Failed() {
			t.Errorf("nothing was killed at fail point %q", p)
		}
	}
}

func seedOf(t *testing.T) uint64 {
	t.Helper()
	text := os.Getenv(envSeed)
	if text == "" {
		return uint64(rand.Uint32())
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", envSeed, err)
	}
	return seed
}

// harry is the short form: the state in the source's database and in one of its own, each with half of the fail points.
func harry(t *testing.T, seed uint64, count *harness.Tally) {
	points := failpoint.Points()
	rnd := rand.New(rand.NewPCG(seed, 2))
	rnd.Shuffle(len(points), func(i, j int) { points[i], points[j] = points[j], points[i] })
	// The three that need a large transaction share one.
	large, small := []failpoint.Point{}, []failpoint.Point{}
	for _, p := range points {
		if slices.Contains(largePoints, p) {
			large = append(large, p)
		} else {
			small = append(small, p)
		}
	}
	half := (len(small) - len(large)) / 2
	halves := [][]failpoint.Point{append(large, small[:half]...), small[half:]}
	t.Run("rounds", func(t *testing.T) {
		for i, separate := range []bool{seed%2 == 0, seed%2 != 0} {
			t.Run(fmt.Sprintf("separate state %v", separate), func(t *testing.T) {
				t.Parallel()
				newRound(t, seed+uint64(i), count, plan{points: halves[i], random: 3, writers: 3, rows: 2500, separate: separate, patience: 30 * time.Second}).play()
			})
		}
	})
}

// torment is the long form: rounds, two at a time, until the time is over. A round is repeated with its own seed and a
// time of a second. One that fails does not count, and is no reason to end the run; several in a row are.
func torment(t *testing.T, seed uint64, long time.Duration, count *harness.Tally) {
	began := time.Now()
	t.Run("rounds", func(t *testing.T) {
		for side := range uint64(2) {
			t.Run(fmt.Sprintf("side %d", side), func(t *testing.T) {
				t.Parallel()
				for n, failed := side, 0; time.Since(began) < long && failed < 4; n += 2 {
					var one harness.Tally
					if failed++; t.Run(fmt.Sprintf("seed %d", seed+n), func(t *testing.T) {
						newRound(t, seed+n, &one, plan{points: failpoint.Points(), random: 15, writers: 4, rows: 6000, separate: (seed+n)%2 == 0, patience: 15 * time.Second}).play()
					}) {
						failed = 0
						add(t, count, &one)
					} else {
						var gone harness.Tally
						gone.Add("rounds", "that failed, and of which nothing else counts", 1)
						add(t, count, &gone)
					}
				}
			})
		}
	})
}

// add adds a round to the run, and to the report's file.
func add(t *testing.T, count, one *harness.Tally) {
	t.Helper()
	count.Take(one, "")
	if file := os.Getenv(envReport); file != "" {
		if err := one.AddTo(file, "kills: ", nil); err != nil {
			t.Error(err)
		}
	}
}

// Nothing of this is in the program that is shipped.
func TestProgramHasNoFailPoints(t *testing.T) {
	for tags, want := range map[string]bool{"": false, "failpoint": true} {
		program, err := os.ReadFile(harness.Binary(t, tags))
		if err != nil {
			t.Fatal(err)
		}
		for _, variable := range []string{"WALHOOK_FAILPOINT", "WALHOOK_CLOCK"} {
			if got := bytes.Contains(program, []byte(variable)); got != want {
				t.Errorf("the program built with tags %q has %s in it: %v, want %v", tags, variable, got, want)
			}
		}
	}
	cmd := exec.Command(harness.Binary(t, ""), "version")
	cmd.Env = append(os.Environ(), "WALHOOK_FAILPOINT=nonsense")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("the program that is shipped reads WALHOOK_FAILPOINT: %v\n%s", err, out)
	}
}

// What is armed wrongly ends the program at its start: no test believes that it has armed something.
func TestFailPointThatIsNone(t *testing.T) {
	for _, arm := range []string{"nonsense", "enqueued", "enqueued:0", "enqueued:x", "enqueued:1:cry", "nowhere:1"} {
		cmd := exec.Command(harness.Binary(t, "failpoint"), "version")
		cmd.Env = append(os.Environ(), "WALHOOK_FAILPOINT="+arm)
		out, err := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); err == nil || code != 2 || !strings.Contains(string(out), "error: WALHOOK_FAILPOINT="+arm) {
			t.Errorf("%s: exit status %d\n%s", arm, code, out)
		}
	}
}
