package main

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

// writes keeps what was written, each time.
type writes []string

// Write keeps it.
func (w *writes) Write(p []byte) (int, error) {
	*w = append(*w, string(p))
	return len(p), nil
}

// Many lines are written together, in their order; a line alone, and a warning with what waits before it, at once.
func TestLogLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got writes
		lines := &logLines{to: &got}
		log := zerolog.New(lines)
		expect := func(want ...string) {
			t.Helper()
			lines.mu.Lock()
			defer lines.mu.Unlock()
			var messages []string
			for _, text := range got {
				var of []string
				for line := range strings.Lines(text) {
					_, message, _ := strings.Cut(strings.TrimSuffix(line, "\"}\n"), `"message":"`)
					of = append(of, message)
				}
				messages = append(messages, strings.Join(of, " "))
			}
			if !slices.Equal(messages, want) {
				t.Errorf("written: %q, want %q", messages, want)
			}
			got = nil
		}
		log.Info().Msg("alone")
		expect("alone")
		for i := range 3 {
			log.Info().Msgf("many%d", i)
		}
		expect()
		time.Sleep(logLinger + time.Millisecond)
		synctest.Wait()
		expect("many0 many1 many2")
		log.Debug().Msg("again")
		expect()
		log.Warn().Msg("warned")
		expect("again warned")
		time.Sleep(2 * logLinger) // the timer finds nothing
		synctest.Wait()
		expect()
		log.Info().Msg("alone")
		log.Info().Msg("last")
		lines.flush()
		lines.flush()
		expect("alone", "last")
		log.Info().Msg(strings.Repeat("x", logGather))
		expect(strings.Repeat("x", logGather))
		half := strings.Repeat("y", logGather/2)
		log.Info().Msg("short")
		log.Info().Msg(half)
		expect()
		log.Warn().Msg(half) // not together with what waits, which would be more than a pipe takes whole
		expect("short "+half, half)
	})
}

// A failure to write is told with the next line, which is not lost.
func TestLogLinesFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full := errors.New("disk full")
		to := &failing{err: full}
		lines := &logLines{to: to}
		for range 2 {
			if _, err := lines.Write([]byte("a\n")); !errors.Is(err, full) {
				t.Errorf("got %v", err)
			}
		}
		if _, err := lines.WriteLevel(zerolog.InfoLevel, []byte("b\n")); err != nil {
			t.Errorf("a line that waits: %v", err)
		}
		time.Sleep(2 * logLinger)
		synctest.Wait()
		to.err = nil
		if _, err := lines.WriteLevel(zerolog.InfoLevel, []byte("c\n")); !errors.Is(err, full) {
			t.Errorf("the timer's failure: %v", err)
		}
		if lines.flush(); !slices.Equal(to.writes, []string{"c\n"}) {
			t.Errorf("written: %q", to.writes)
		}
	})
}

// failing keeps what was written while it has no error.
type failing struct {
	writes
	err error
}

// Write fails or keeps it.
func (f *failing) Write(p []byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	return f.writes.Write(p)
}

// A file gets everything, and a buffer each line at once.
func TestLogToFile(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/log")
	if err != nil {
		t.Fatal(err)
	}
	log, flush, err := newLogger(f, "info", "json")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5000 {
		log.Info().Msg("attempt")
		if i%1000 == 0 {
			log.Error().Msg("failed")
		}
	}
	flush()
	text, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(string(text), "\n"); got != 5005 || strings.Count(string(text), `"message":"attempt"`) != 5000 {
		t.Errorf("%d lines", got)
	}
	var buf strings.Builder
	if log, _, err = newLogger(&buf, "", ""); err != nil {
		t.Fatal(err)
	}
	log.Info().Msg("one")
	log.Info().Msg("two")
	if got := strings.Count(buf.String(), "\n"); got != 2 {
		t.Errorf("%d lines: %s", got, buf.String())
	}
}
