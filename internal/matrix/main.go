//go:build unix

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// errFailed says that some test failed, which the table has told.
var errFailed = errors.New("tests failed; see above")

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("matrix", flag.ContinueOnError)
	versions := flags.String("pg", "", "major versions, separated by commas (default all)")
	short := flags.Bool("short", false, "only the packages that speak to the server themselves")
	packages := flags.String("pkg", "", "packages, separated by blanks (default all whose tests start a server)")
	var test suite
	flags.StringVar(&test.run, "run", "", "only tests that match, as for go test")
	flags.StringVar(&test.race, "race", "", "with the race detector, if not empty")
	flags.StringVar(&test.timeout, "timeout", "20m", "of one package's tests, as for go test")
	flags.StringVar(&test.parallel, "p", "2", "packages at a time, as for go test")
	if err := flags.Parse(args); err != nil {
		return err
	}
	builds, err := choose(*versions)
	if err != nil {
		return err
	}
	if test.packages = strings.Fields(*packages); len(test.packages) == 0 {
		if test.packages, err = find(ctx, *short); err != nil {
			return err
		}
	}
	t := &table{}
	for _, b := range builds {
		server, err := b.provide(ctx, out)
		if err != nil {
			fmt.Fprintf(out, "PostgreSQL %d: %v\n", b.Major, err)
			t.missing(b, err)
			continue
		}
		fmt.Fprintf(out, "PostgreSQL %d (%s)\n", b.Major, server.name)
		if err := test.against(ctx, server, t.column(b.Major, server.name), out); err != nil {
			return err
		}
	}
	t.print(out)
	if t.failed() {
		return errFailed
	}
	return nil
}

// choose finds the builds of the versions named, of all if none is.
func choose(versions string) ([]build, error) {
	all, err := pinned()
	if err != nil || versions == "" {
		return all, err
	}
	var chosen []build
	for text := range strings.SplitSeq(versions, ",") {
		major, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("-pg: %q is no major version of PostgreSQL", text)
		}
		b := build{Major: major} // one of the user's own may be any
		for _, known := range all {
			if known.Major == major {
				b = known
			}
		}
		chosen = append(chosen, b)
	}
	return chosen, nil
}

// speakers are the packages of the short form: those whose SQL the server has to understand.
var speakers = []string{"walhook/cdc", "walhook/cdc/catalog", "walhook/state", "walhook/cmd/walhook"}

// harnesses are the packages that start servers for tests.
var harnesses = []string{"walhook/internal/pgtest", "walhook/internal/pgserver", "walhook/internal/harness"}

// find lists the packages whose tests start a server. Measuring is no test.
func find(ctx context.Context, short bool) ([]string, error) {
	if short {
		return speakers, nil
	}
	cmd := exec.CommandContext(ctx, "go", "list", "-f", `{{.ImportPath}}:{{join .TestImports " "}} {{join .XTestImports " "}}`, "./...")
	cmd.Stderr = os.Stderr
	listed, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list packages: %w", err)
	}
	var found []string
	for line := range strings.Lines(string(listed)) {
		path, imports, _ := strings.Cut(strings.TrimSpace(line), ":")
		for _, name := range strings.Fields(imports) {
			if path != "walhook/internal/bench" && slices.Contains(harnesses, name) {
				found = append(found, path)
				break
			}
		}
	}
	if len(found) == 0 {
		return nil, errors.New("list packages: found none whose tests start a server; run it in walhook's source directory")
	}
	return found, nil
}
