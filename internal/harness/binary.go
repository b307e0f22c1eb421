package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// EnvBinary names a program to test in place of the one that is built: an older one, to compare with.
const EnvBinary = "WALHOOK_BINARY"

var built struct {
	sync.Mutex
	byTags map[string]func() (string, error)
}

// Binary builds walhook once for each set of build tags (separated by commas, or "") and returns its path.
func Binary(t testing.TB, tags string) string {
	t.Helper()
	if path := os.Getenv(EnvBinary); path != "" && tags == "" {
		return path
	}
	built.Lock()
	once := built.byTags[tags]
	if once == nil {
		if built.byTags == nil {
			built.byTags = map[string]func() (string, error){}
		}
		once = sync.OnceValues(func() (string, error) { return build(tags) })
		built.byTags[tags] = once
	}
	built.Unlock()
	path, err := once()
	if err != nil {
		t.Fatalf("build walhook: %v", err)
	}
	return path
}

func build(tags string) (string, error) {
	dir, err := os.MkdirTemp("", "walhook-bin-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "walhook")
	args := []string{"build", "-tags", tags, "-o", path}
	if slices.Contains(strings.Split(tags, ","), "failpoint") {
		overlay, err := movableClock(dir)
		if err != nil {
			return "", err
		}
		args = append(args, "-overlay", overlay)
	}
	if out, err := exec.Command("go", append(args, "walhook/cmd/walhook")...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
}

// Remove deletes what Binary has built. Call it at the end of a TestMain.
func Remove() {
	built.Lock()
	defer built.Unlock()
	for _, once := range built.byTags {
		if path, err := once(); err == nil {
			_ = os.RemoveAll(filepath.Dir(path)) // in the system's folder for temporary files
		}
	}
}
