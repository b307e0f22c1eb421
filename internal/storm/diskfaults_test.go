package storm

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

// diskFaults fill the disk of the state's database.
var diskFaults = []Fault{diskFull{}}

// diskFull leaves no room for the state's database, until it has noticed, and gives it back.
type diskFull struct{}

func (diskFull) Name() string { return "disk of the state full" }

func (diskFull) Inject(ctx context.Context, w *World, rnd *rand.Rand) (count int, err error) {
	if w.Disk == nil {
		return 0, nil
	}
	before, err := noRoom(w)
	if err != nil {
		return 0, err
	}
	if err := w.Disk.fill(); err != nil {
		return 0, err
	}
	defer func() {
		if mend := w.Disk.free(); mend != nil && err == nil {
			err = mend
		}
	}()
	// A page that is there may hold what comes next for a while.
	for end := time.Now().Add(5 * time.Second); count == 0 && time.Now().Before(end) && ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		n, err := noRoom(w)
		if err != nil {
			return 0, err
		}
		count = n - before
	}
	if count == 0 {
		return 0, nil
	}
	if err := moment(ctx, rnd, 500*time.Millisecond, 2500*time.Millisecond); err != nil {
		return count, err
	}
	n, err := noRoom(w) // statements that have failed
	return n - before, err
}

// noRoom counts how often the server has said so.
func noRoom(w *World) (int, error) {
	log, err := os.ReadFile(filepath.Join(w.Dir, "state.log"))
	return bytes.Count(log, []byte("No space left on device")), err
}
