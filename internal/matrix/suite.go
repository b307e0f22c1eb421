//go:build unix

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// suite is what is run against each server.
type suite struct {
	packages       []string
	run, timeout   string
	race, parallel string
}

// against runs the tests with a server and notes what became of them. That tests fail is no error of its own.
func (s suite) against(ctx context.Context, on server, col *column, out io.Writer) error {
	args := []string{"test", "-json", "-count=1", "-vet=off", "-timeout", s.timeout, "-p", s.parallel}
	if s.run != "" {
		args = append(args, "-run", s.run)
	}
	if s.race != "" {
		args = append(args, "-race")
	}
	cmd := exec.CommandContext(ctx, "go", append(args, s.packages...)...)
	// Tests end with go test, and the servers with the tests: a group of its own would outlive a terminal's Ctrl-C.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.Env = append(os.Environ(), "WALHOOK_PG_BIN="+on.bin)
	cmd.Stderr = out
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("go test: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("go test: %w", err)
	}
	err = col.read(pipe, out)
	ended := cmd.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var exit *exec.ExitError
	if errors.As(ended, &exit) && len(col.cells) > 0 {
		ended = nil // the events have told
	}
	return errors.Join(err, ended)
}

// event is a line of go test -json.
type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64
}

// read takes the events of a run. It prints a line for each package, and what failing tests have said.
func (c *column) read(r io.Reader, out io.Writer) error {
	said := map[string][]string{} // by package and test
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil || e.Package == "" {
			if e.Output != "" { // of the compiler
				fmt.Fprint(out, e.Output)
			}
			continue
		}
		key := e.Package + " " + e.Test
		if e.Action == "output" {
			said[key] = append(said[key], e.Output)
			continue
		}
		cell := c.cell(e.Package)
		switch e.Action {
		case "pass":
			if e.Test != "" {
				cell.passed++
			}
		case "skip":
			if e.Test != "" {
				cell.skips = append(cell.skips, skip{e.Test, reason(said[key])})
			}
		case "fail":
			if e.Test != "" {
				cell.failures = append(cell.failures, e.Test)
			}
			cell.broken = cell.broken || e.Test == ""
			fmt.Fprint(out, strings.Join(said[key], ""))
		default:
			continue
		}
		delete(said, key)
		if e.Test == "" {
			fmt.Fprintf(out, "  %-36s %-24s %5.1fs\n", short(e.Package), cell, e.Elapsed)
		}
	}
	return lines.Err()
}

// reason is what a skipped test has said: the line that names its file.
func reason(said []string) string {
	for _, line := range said {
		if _, text, ok := strings.Cut(line, ".go:"); ok {
			_, text, _ = strings.Cut(text, ": ")
			return strings.TrimSpace(text)
		}
	}
	return "no reason given"
}

func short(path string) string { return strings.TrimPrefix(path, "walhook/") }
