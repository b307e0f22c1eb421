package harness

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// Counts of several runs add up in a file, also when they are written at once.
func TestTallyAddsUp(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sum.json")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			var c Tally
			c.Add("faults", "SIGKILL", 2)
			c.Add("faults", "SIGKILL", 1)
			if err := c.AddTo(file, "torture: ", func(sum *Tally) {
				sum.Drop("below")
				sum.Add("below", "SIGKILL", 200-sum.Count("torture: faults", "SIGKILL"))
			}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	sum, err := ReadTally(file)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := sum.String(), "below (176): SIGKILL 176\ntorture: faults (24): SIGKILL 24\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := os.WriteFile(file, []byte("["), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadTally(file); err == nil {
		t.Error("a file that is broken was read")
	}
}
