package storm

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

// clockFaults set walhook's wall clock, and set it right again.
var clockFaults = []Fault{clockJump{"a minute", time.Minute}, clockJump{"an hour", time.Hour}, clockJump{"half a day", 12 * time.Hour},
	clockJump{"a minute back", -time.Minute}, clockJump{"an hour back", -time.Hour}, clockJump{"half a day back", -12 * time.Hour}}

// envClock is what internal/failpoint reads.
const envClock = "WALHOOK_CLOCK"

// clockFile is what says how far a process's wall clock is off.
func clockFile(dir string, n int) string { return filepath.Join(dir, fmt.Sprintf("clock%d", n)) }

// clockJump moves the wall clock of one process, or of all.
type clockJump struct {
	name string
	by   time.Duration
}

func (j clockJump) Name() string { return "clock set, " + j.name }

func (clockJump) Weight() int { return 5 }

func (j clockJump) Inject(ctx context.Context, w *World, rnd *rand.Rand) (count int, err error) {
	some := w.Walhooks
	if rnd.IntN(2) == 0 {
		some = []*Process{oneOf(rnd, some...)}
	}
	by := j.by + time.Duration(rnd.Int64N(int64(10*time.Second))).Round(time.Second)
	for _, p := range some {
		n, err := w.setClock(ctx, p, by)
		if count += n; err != nil {
			return count, err
		}
		defer func() {
			if _, mend := w.setClock(context.WithoutCancel(ctx), p, 0); mend != nil && err == nil {
				err = mend
			}
		}()
	}
	return count, moment(ctx, rnd, 200*time.Millisecond, 3*time.Second)
}

// setClock tells a process how far its clock is off, and waits until it has understood. 0 if it is not there to understand.
func (w *World) setClock(ctx context.Context, p *Process, by time.Duration) (int, error) {
	file := clockFile(w.Dir, p.N)
	if err := os.WriteFile(file+".new", []byte(by.String()), 0o600); err != nil {
		return 0, err
	}
	if err := os.Rename(file+".new", file); err != nil {
		return 0, err
	}
	understood := false
	err := w.Await(ctx, "a process to see its clock", func(context.Context) (bool, error) {
		seen, err := os.ReadFile(file + ".seen")
		understood = err == nil && string(seen) == by.String()
		return understood || p.Pid() == 0, nil
	})
	if understood {
		return 1, err
	}
	return 0, err
}
