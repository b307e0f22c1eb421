package main

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// diary notes what happens in which order.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) note(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, line)
}

// until is a service that runs until it is told to stop, and takes a while for it.
func (d *diary) until(name string, takes time.Duration, err error) service {
	return service{name, func(ctx context.Context) error {
		<-ctx.Done()
		time.Sleep(takes)
		d.note(name)
		return err
	}}
}

func TestSuperviseStopsTheLastFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			time.Sleep(time.Minute)
			cancel()
		}()
		err := supervise(ctx, []service{d.until("lease", 0, nil), d.until("engine", time.Second, nil), d.until("stream", 2*time.Second, nil)}, 10*time.Second)
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([]string{"stream", "engine", "lease"}, d.lines); diff != "" {
			t.Error(diff)
		}
	})
}

func TestSuperviseEndsAllWhenOneFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		failing := service{"stream", func(context.Context) error {
			time.Sleep(time.Second)
			return errors.New("slot lost")
		}}
		err := supervise(t.Context(), []service{d.until("lease", 0, errors.New("gone")), failing, d.until("status", 0, nil)}, time.Second)
		if err == nil || err.Error() != "stream: slot lost\nlease: gone" {
			t.Errorf("error: %v", err)
		}
		if diff := cmp.Diff([]string{"status", "lease"}, d.lines); diff != "" {
			t.Error(diff)
		}
	})
}

// A group of services within the process names its errors itself.
func TestSuperviseNested(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		group := service{"", func(ctx context.Context) error {
			return supervise(ctx, []service{{"stream", func(context.Context) error { return errors.New("slot lost") }}}, time.Second)
		}}
		if err := supervise(t.Context(), []service{group}, time.Second); err == nil || err.Error() != "stream: slot lost" {
			t.Errorf("error: %v", err)
		}
	})
}

func TestSuperviseNamesWhatEndsByItselfOrNotAtAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		stuck := service{"engine", func(context.Context) error {
			<-release
			return nil
		}}
		early := service{"stream", func(context.Context) error { return nil }}
		err := supervise(t.Context(), []service{stuck, early}, time.Second)
		for _, want := range []string{"stream: ended by itself", "engine: did not stop within 1s"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v lacks %q", err, want)
			}
		}
		close(release)
	})
}

func TestErrorsPrintWithTheirHints(t *testing.T) {
	var out strings.Builder
	err := errors.Join(
		environmentError(errors.New("there is no publication"), "walhook setup"),
		&problem{file: "w.toml", line: 3, column: 4, message: "unknown key", suggestion: "did you mean x?"},
		&problem{file: "w.toml", line: 5, column: 4, message: "unknown key", suggestion: "did you mean x?"},
		errors.New("plain"),
	)
	printError(&out, err)
	want := "error: there is no publication\nhint: walhook setup\nerror: w.toml:3:4: unknown key\nhint: did you mean x?\nerror: w.toml:5:4: unknown key\nerror: plain\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
	if got := exitCode(err); got != exitEnvironment {
		t.Errorf("exit status %d", got)
	}
	if got := exitCode(errors.New("plain")); got != exitFailed {
		t.Errorf("exit status of a plain error %d", got)
	}
}
