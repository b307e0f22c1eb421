package harness

import (
	"os"
	"strings"
	"testing"
)

// The sources that the clock is moved in differ in nothing else, and not one place that reads it is left.
func TestMovableClock(t *testing.T) {
	got, err := askFailpoint("x.go", []byte("package x // y\n\nimport (\n\tt \"testing\"\n\t\"time\"\n)\n\ntype z struct{ now func() time.Time }\n\nvar a, b = z{time.Now}, time.Since(time.Now()) + time.Until(c) // time.Now\n"))
	if err != nil {
		t.Fatal(err)
	}
	const want = "package x; import movableclock \"walhook/internal/failpoint\" // y\n\nimport (\n\tt \"testing\"\n\t\"time\"\n)\n\ntype z struct{ now func() time.Time }\n\n" +
		"var a, b = z{movableclock.Now}, movableclock.Since(movableclock.Now()) + movableclock.Until(c) // time.Now\n\nvar _ = time.Now // the import stays in use\n"
	if string(got) != want {
		t.Errorf("%s", got)
	}
	dir := t.TempDir()
	overlay, err := movableClock(dir)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(overlay)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"state/process.go", "cmd/walhook/pulse.go", "delivery/sender_http.go"} {
		if !strings.Contains(string(text), file) {
			t.Errorf("%s reads the clock and is not replaced", file)
		}
	}
}
