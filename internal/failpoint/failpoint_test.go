package failpoint

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A name stands at one place only: a count of kills by name would else be about two.
func TestEveryPointStandsAtOnePlace(t *testing.T) {
	points, err := os.ReadFile("points.go")
	if err != nil {
		t.Fatal(err)
	}
	declared := map[string]string{} // Go's name to the point's
	for _, m := range regexp.MustCompile(`(?m)^\t(\w+)\s+Point = "([a-z-]+)"`).FindAllStringSubmatch(string(points), -1) {
		declared[m[1]] = m[2]
	}
	var names []string
	for _, name := range declared {
		names = append(names, name)
	}
	var listed []string
	for _, p := range append(Points(), ResyncPoints()...) {
		listed = append(listed, string(p))
	}
	slices.Sort(names)
	slices.Sort(listed)
	if !slices.Equal(names, listed) || len(slices.Compact(names)) != len(listed) {
		t.Errorf("declared are %q, Points and ResyncPoints return %q", names, listed)
	}
	places := map[string][]string{}
	call := regexp.MustCompile(`failpoint\.(?:Hit|HitIf)\(.*\bfailpoint\.(\w+)\)`)
	err = filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		src, err := os.ReadFile(path)
		for _, m := range call.FindAllSubmatch(src, -1) {
			places[string(m[1])] = append(places[string(m[1])], path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range declared {
		if len(places[name]) != 1 {
			t.Errorf("fail point %s is at %d places, want one: %q", name, len(places[name]), places[name])
		}
	}
}

// BenchmarkHit costs what an empty loop costs.
func BenchmarkHit(b *testing.B) {
	for b.Loop() {
		Hit(Enqueued)
	}
}
