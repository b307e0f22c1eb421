package main

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/rs/zerolog"
)

// newLogger writes to w: for people when format is "console", one JSON object per
// line when it is "json", and whichever suits w when it is "". flush is called when nothing more is to be logged.
func newLogger(w io.Writer, level, format string) (log zerolog.Logger, flush func(), err error) {
	if level == "" {
		level = "info"
	}
	parsed, err := zerolog.ParseLevel(level)
	if err != nil || parsed == zerolog.NoLevel {
		return zerolog.Nop(), nil, usagef("levels are debug, info, warn and error", "unknown log level %q", level)
	}
	people := false
	switch format {
	case "":
		if people = isTerminal(w); people {
			w = console(w, false)
		}
	case "console":
		people, w = true, console(w, !isTerminal(w))
	case "json":
	default:
		return zerolog.Nop(), nil, usagef("formats are console and json", "unknown log format %q", format)
	}
	flush = func() {}
	if f, ok := w.(*os.File); ok && !people {
		lines := &logLines{to: f}
		flush, w = lines.flush, lines
	} else {
		w = zerolog.SyncWriter(w)
	}
	return zerolog.New(w).Level(parsed).With().Timestamp().Logger(), flush, nil
}

const (
	// logLinger is how long lines may wait for others, when there are many. A process that is killed or crashes loses those of so long.
	logLinger = 5 * time.Millisecond
	// logGather is how many bytes of lines are written at once: what Linux writes to a pipe in one piece, whoever else writes to it.
	logGather = 4 << 10
)

// logLines writes lines to a file several at a time when many come: a write of one costs walhook, and whoever reads a pipe, as much as one of many.
// A line that comes alone is written at once, and so is a warning or worse, with what waits before it. It implements zerolog.LevelWriter.
type logLines struct {
	to io.Writer

	mu      sync.Mutex
	waiting []byte
	written time.Time   // when something was, last
	failed  error       // of the timer's writing, which nobody has been told
	timer   *time.Timer // writes what waits; nil until needed
}

// Write takes a line.
func (l *logLines) Write(line []byte) (int, error) { return l.WriteLevel(zerolog.NoLevel, line) }

// WriteLevel takes a line of a level. Its error may be another line's.
func (l *logLines) WriteLevel(level zerolog.Level, line []byte) (int, error) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.failed
	l.failed = nil
	if len(l.waiting)+len(line) > logGather && len(l.waiting) > 0 {
		err = errors.Join(err, l.write(now))
	}
	wait := logLinger - now.Sub(l.written)
	if len(l.waiting) == 0 && wait > 0 {
		l.later(wait)
	}
	l.waiting = append(l.waiting, line...)
	if level > zerolog.InfoLevel || wait <= 0 || len(line) >= logGather {
		err = errors.Join(err, l.write(now))
	}
	return len(line), err
}

// later has what waits written then.
func (l *logLines) later(wait time.Duration) {
	if l.timer == nil {
		l.timer = time.AfterFunc(wait, l.flush)
		return
	}
	l.timer.Reset(wait)
}

// flush writes what waits.
func (l *logLines) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) > 0 {
		l.failed = l.write(time.Now())
	}
}

func (l *logLines) write(now time.Time) error {
	l.written = now
	_, err := l.to.Write(l.waiting)
	if l.waiting = l.waiting[:0]; cap(l.waiting) > 2*logGather {
		l.waiting = nil
	}
	return err
}

func console(w io.Writer, plain bool) io.Writer {
	return zerolog.ConsoleWriter{Out: w, NoColor: plain || os.Getenv("NO_COLOR") != "", TimeFormat: time.TimeOnly}
}

// isTerminal says whether people look at what is written to w, or type what is read from it.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}
