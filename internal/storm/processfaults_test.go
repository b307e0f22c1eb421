package storm

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// processFaults end, stop and reload walhook.
var processFaults = []Fault{sigkill{}, readerKilled{}, bothKilled{}, sigstop{}, overslept{}, sigterm{}, reload{}, brokenReload{}}

// moment lasts for a time between two bounds: for faults that are a length of time.
func moment(ctx context.Context, rnd *rand.Rand, from, to time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(from + time.Duration(rnd.Int64N(int64(to-from)))):
		return nil
	}
}

// any draws one of some.
func oneOf[T any](rnd *rand.Rand, some ...T) T { return some[rnd.IntN(len(some))] }

// reader is the process that reads the slot; nil if there is none at the moment.
func (w *World) reader(ctx context.Context) (*Process, error) {
	var pid int
	if err := w.State.Query(ctx, &pid, "SELECT coalesce((SELECT p.pid FROM walhook.process p JOIN walhook.source s ON s.reader = p.id), 0)"); err != nil {
		return nil, err
	}
	for _, p := range w.Walhooks {
		if pid != 0 && p.Pid() == pid {
			return p, nil
		}
	}
	return nil, nil
}

// awaitReader waits until a process reads, which is not the one named, and returns it.
func (w *World) awaitReader(ctx context.Context, not *Process) (p *Process, err error) {
	err = w.Await(ctx, "a process to read", func(ctx context.Context) (bool, error) {
		p, err = w.reader(ctx)
		return p != nil && p != not, err
	})
	return p, err
}

// sigkill kills a process, whichever of the two.
type sigkill struct{}

func (sigkill) Name() string { return "SIGKILL" }

func (sigkill) Weight() int { return 20 }

func (sigkill) Inject(_ context.Context, w *World, rnd *rand.Rand) (int, error) {
	if !oneOf(rnd, w.Walhooks...).Kill() {
		return 0, nil
	}
	return 1, nil
}

// readerKilled kills the reader, and lets it come back only when the other one reads.
type readerKilled struct{}

func (readerKilled) Name() string { return "SIGKILL of the reader, the stand-by takes over" }

func (readerKilled) Inject(ctx context.Context, w *World, _ *rand.Rand) (int, error) {
	p, err := w.awaitReader(ctx, nil)
	if err != nil {
		return 0, err
	}
	p.Hold()
	defer p.Release()
	if !p.Kill() {
		return 0, nil
	}
	_, err = w.awaitReader(ctx, p)
	return 1, err
}

// bothKilled kills all processes at once.
type bothKilled struct{}

func (bothKilled) Name() string { return "SIGKILL of all processes" }

func (bothKilled) Weight() int { return 5 }

func (bothKilled) Inject(ctx context.Context, w *World, rnd *rand.Rand) (count int, err error) {
	for _, p := range w.Walhooks {
		p.Hold()
		defer p.Release()
	}
	for _, p := range w.Walhooks {
		if p.Kill() {
			count++
		}
	}
	return count, moment(ctx, rnd, 0, 500*time.Millisecond)
}

// stopped says whether a process stands still.
func stopped(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(state, "T")
}

// stop stops a process, and waits until it stands still; false if there is none.
func (w *World) stop(ctx context.Context, p *Process) (bool, error) {
	pid := p.Pid()
	if pid == 0 || !p.Signal(syscall.SIGSTOP) {
		return false, nil
	}
	return true, w.Await(ctx, "a process to stand still", func(context.Context) (bool, error) { return stopped(pid) || p.Pid() != pid, nil })
}

// sigstop stops a process for less than its lease.
type sigstop struct{}

func (sigstop) Name() string { return "SIGSTOP for less than the lease" }

func (sigstop) Inject(ctx context.Context, w *World, rnd *rand.Rand) (int, error) {
	p := oneOf(rnd, w.Walhooks...)
	if stands, err := w.stop(ctx, p); err != nil || !stands {
		return 0, err
	}
	defer p.Signal(syscall.SIGCONT)
	return 1, moment(ctx, rnd, 50*time.Millisecond, 1500*time.Millisecond)
}

// overslept stops the reader until another one has taken its place, and wakes it up then.
type overslept struct{}

func (overslept) Name() string { return "SIGSTOP of the reader for longer than the lease" }

func (overslept) Costly() bool { return true }

func (overslept) Weight() int { return 4 }

func (overslept) Inject(ctx context.Context, w *World, rnd *rand.Rand) (int, error) {
	p, err := w.awaitReader(ctx, nil)
	if err != nil {
		return 0, err
	}
	if stands, err := w.stop(ctx, p); err != nil || !stands {
		return 0, err
	}
	defer p.Signal(syscall.SIGCONT)
	if _, err := w.awaitReader(ctx, p); err != nil {
		return 0, err
	}
	return 1, moment(ctx, rnd, 0, 500*time.Millisecond)
}

// sigterm has a process stop in order; it begins again.
type sigterm struct{}

func (sigterm) Name() string { return "SIGTERM" }

func (sigterm) Inject(ctx context.Context, w *World, rnd *rand.Rand) (int, error) {
	p := oneOf(rnd, w.Walhooks...)
	lives := p.Lives()
	if !p.Signal(syscall.SIGTERM) {
		return 0, nil
	}
	if err := w.Await(ctx, "a process to stop and begin again", func(context.Context) (bool, error) { return p.Lives() > lives, nil }); err != nil {
		return 0, err
	}
	said := p.life(fmt.Sprintf("life %d.%d: ", p.N, lives))
	excused := strings.Contains(said, "error: leave: ") || strings.Contains(said, "the lease of this process was lost") // the state has just gone; it stood still for too long
	if end := p.Last(); end.ExitCode() != 0 && end.String() != "signal: terminated" && !excused {                       // before it listens to signals
		w.T.Errorf("walhook %d, life %d was asked to stop and ended with %s", p.N, lives, end)
	}
	return 1, nil
}

// said returns what a process has written since.
func (p *Process) said() func() string {
	var from int64
	if info, err := os.Stat(p.log.Name()); err == nil {
		from = info.Size()
	}
	return func() string {
		text, err := os.ReadFile(p.log.Name())
		if err != nil || int64(len(text)) < from {
			return ""
		}
		return string(text[from:])
	}
}

// configFile is the name of a process's own configuration.
func configFile(n int) string { return fmt.Sprintf("walhook%d.toml", n) }

// hangUp sends SIGHUP with a changed configuration, and waits until the process says one of some words.
func (w *World) hangUp(ctx context.Context, rnd *rand.Rand, change func(string) string, words string) (int, error) {
	p := oneOf(rnd, w.Walhooks...)
	config := filepath.Join(w.Dir, configFile(p.N))
	before, err := os.ReadFile(config)
	if err != nil {
		return 0, err
	}
	if err := replaceFile(config, []byte(change(string(before)))); err != nil {
		return 0, err
	}
	defer func() { _ = replaceFile(config, before) }() // it could be written a moment ago
	said, lives := p.said(), p.Lives()
	if p.Pid() == 0 {
		return 0, nil
	}
	if err := w.Await(ctx, "walhook to say "+words, func(context.Context) (bool, error) {
		if strings.Contains(said(), words) || p.Lives() != lives {
			return true, nil
		}
		if pid := p.Pid(); pid != 0 && catches(pid, syscall.SIGHUP) {
			_ = syscall.Kill(pid, syscall.SIGHUP) // this one, or none: another life may have begun, which would be ended by it
			return false, moment(ctx, rnd, 200*time.Millisecond, 300*time.Millisecond)
		}
		return false, nil
	}); err != nil {
		return 0, err
	}
	return strings.Count(said(), words), nil
}

// replaceFile writes a file so that nobody reads half of it: another life may begin at any time.
func replaceFile(path string, text []byte) error {
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// catches says whether a process has made arrangements for a signal: one that has just begun has not, and would be ended by it.
func catches(pid int, s syscall.Signal) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(status), "SigCgt:\t")
	var mask uint64
	if _, err := fmt.Sscanf(rest, "%x", &mask); err != nil {
		return false
	}
	return mask>>(s-1)&1 == 1
}

// reload takes over a configuration that has changed: in what does no harm.
type reload struct{}

func (reload) Name() string { return "SIGHUP" }

func (reload) Inject(ctx context.Context, w *World, rnd *rand.Rand) (int, error) {
	n := 1 + rnd.IntN(24)
	return w.hangUp(ctx, rnd, func(text string) string {
		return strings.Replace(text, "concurrency = ", fmt.Sprintf("max_response = \"%dKiB\"\nconcurrency = ", n), 1)
	}, "configuration taken over")
}

// brokenReload offers a configuration that can't be used.
type brokenReload struct{}

func (brokenReload) Name() string { return "SIGHUP with a broken configuration" }

func (brokenReload) Weight() int { return 5 }

func (brokenReload) Inject(ctx context.Context, w *World, rnd *rand.Rand) (int, error) {
	broken := oneOf(rnd, "\n[oops\n", "\n[[rules]]\nname = \"misspelt\"\ntable = \"item\"\non = [\"create\"]\nendpoint = \"nowhere\"\n", "\n[log]\nlevel = 7\n")
	return w.hangUp(ctx, rnd, func(text string) string { return text + broken }, "the configuration was not taken over")
}
