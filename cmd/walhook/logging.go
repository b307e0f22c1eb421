package main

import (
	"io"
	"os"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/rs/zerolog"
)

// newLogger writes to w: for people when format is "console", one JSON object per
// line when it is "json", and whichever suits w when it is "".
func newLogger(w io.Writer, level, format string) (zerolog.Logger, error) {
	if level == "" {
		level = "info"
	}
	parsed, err := zerolog.ParseLevel(level)
	if err != nil || parsed == zerolog.NoLevel {
		return zerolog.Nop(), usagef("levels are debug, info, warn and error", "unknown log level %q", level)
	}
	switch format {
	case "":
		if isTerminal(w) {
			w = console(w, false)
		}
	case "console":
		w = console(w, !isTerminal(w))
	case "json":
	default:
		return zerolog.Nop(), usagef("formats are console and json", "unknown log format %q", format)
	}
	return zerolog.New(zerolog.SyncWriter(w)).Level(parsed).With().Timestamp().Logger(), nil
}

func console(w io.Writer, plain bool) io.Writer {
	return zerolog.ConsoleWriter{Out: w, NoColor: plain || os.Getenv("NO_COLOR") != "", TimeFormat: time.TimeOnly}
}

// isTerminal says whether people look at what is written to w, or type what is read from it.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}
