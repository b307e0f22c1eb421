package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"walhook/status"
)

func (a *app) reloadCommand() *cobra.Command {
	var pid int
	var asJSON bool
	c := &cobra.Command{
		Use:   "reload",
		Short: "Let the running process read its configuration anew",
		Long: `reload checks the configuration, sends SIGHUP to the running process, and tells what came of it. The process is found
by its status pages (http.listen); where these are off, name it with --pid. systemctl reload does the same.

The process reads the configuration, all secrets and all certificate files anew. What it finds is checked whole, with the
rules against the live schema and the publication: if anything is wrong, nothing changes, and the error is logged, shown by
walhook status, and told here. Otherwise rules, endpoints and alerts are taken over from one moment on: requests under way
are finished as they are, what is queued keeps the rule that it was made by. Changes of [source], [state], [http] and [log]
take effect with the next start; reload names them.

Rules that need tables or old values that the publication does not provide yet are refused: run walhook setup first.`,
		Example: "  walhook reload\n  walhook reload --pid 4711\n  systemctl reload walhook",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.load()
			if err != nil {
				fmt.Fprintln(a.stderr, "nothing was reloaded: the running process goes on with the configuration before")
				return err
			}
			if pid != 0 {
				if err := hangUp(pid); err != nil {
					return err
				}
				_, err := fmt.Fprintf(a.stdout, "process %d was asked to reload: its log tells what came of it\n", pid)
				return err
			}
			d, err := cfg.running(cmd.Context())
			if err != nil {
				return err
			}
			if err := hangUp(d.Process.PID); err != nil {
				return err
			}
			after, err := cfg.reloaded(cmd.Context(), d)
			if err != nil {
				return err
			}
			if asJSON && after.Error == "" {
				return a.printJSON(map[string]any{"pid": d.Process.PID, "restart_needed_for": append([]string{}, after.Restart...)})
			}
			return a.printReload(d.Process.PID, after)
		},
	}
	c.Flags().IntVar(&pid, "pid", 0, "the process's number, where its status pages cannot be asked")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.MarkFlagsMutuallyExclusive("pid", "json")
	return c
}

const pidHint = "on the machine where it runs: walhook reload --pid PID, kill -HUP PID, or systemctl reload walhook"

// running finds the process on this machine.
func (c *Config) running(ctx context.Context) (*status.Document, error) {
	d, _, err := c.askProcess(ctx)
	switch {
	case err != nil:
		return nil, &failure{err: fmt.Errorf("no walhook answers: %w", err), code: exitEnvironment, hint: orElse(hintOf(err), "is it running, or was http.listen changed in this file? If it runs, "+pidHint)}
	case d.Process == nil || d.Config == nil:
		return nil, &failure{err: errors.New("the process that answers is of another version"), code: exitEnvironment, hint: pidHint}
	case d.Process.Host != hostname():
		return nil, &failure{err: fmt.Errorf("the process runs on %s", d.Process.Host), code: exitEnvironment, hint: pidHint}
	}
	return d, nil
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// hangUp sends SIGHUP.
func hangUp(pid int) error {
	process, err := os.FindProcess(pid)
	if err == nil {
		err = process.Signal(syscall.SIGHUP)
	}
	if err == nil {
		return nil
	}
	hint := "is it running?"
	if errors.Is(err, os.ErrPermission) {
		hint = "run the command as the user that runs walhook, or: systemctl reload walhook"
	}
	return &failure{err: fmt.Errorf("signal process %d: %w", pid, err), code: exitEnvironment, hint: hint}
}

// reloadPatience is how long the process may take: it connects to the source and compiles all rules.
const reloadPatience = 60 * time.Second

// reloaded waits until the process has tried, later than before was asked for, and is not to try again: an attempt that was under way then may
// have read the file as it was before.
func (c *Config) reloaded(ctx context.Context, before *status.Document) (*status.ConfigState, error) {
	for end := time.Now().Add(reloadPatience); ; {
		d, _, err := c.askProcess(ctx)
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err == nil && d.Process != nil && d.Process.PID == before.Process.PID && d.Config != nil && d.Config.SettledAfter(before.Config):
			return d.Config, nil
		case time.Now().After(end):
			return nil, &failure{err: fmt.Errorf("the process has not reloaded within %s", reloadPatience), code: exitFailed, hint: "see its log, and walhook status: is it starting, or staying away from the database?"}
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (a *app) printReload(pid int, s *status.ConfigState) error {
	if s.Error != "" {
		return &failure{err: fmt.Errorf("process %d refuses the configuration, and goes on with the one before: %s", pid, s.Error), code: exitFailed, hint: s.Hint}
	}
	if _, err := fmt.Fprintf(a.stdout, "process %d has taken over the configuration\n", pid); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if len(s.Restart) > 0 {
		_, err := fmt.Fprintf(a.stdout, "these keys have changed and take effect when it is started anew: %s\n", strings.Join(s.Restart, ", "))
		return err
	}
	return nil
}

// reloadLines tell of a configuration that was refused, or waits for a restart.
func reloadLines(d *status.Document) (lines []string) {
	if d.Config == nil {
		return nil
	}
	if d.Config.Error != "" {
		first, _, _ := strings.Cut(d.Config.Error, "\n")
		lines = append(lines, "refused"+ago(" ", d.At, d.Config.ErrorAt)+", the one before goes on: "+first)
	}
	if len(d.Config.Restart) > 0 {
		lines = append(lines, "changed, and waiting for a restart: "+strings.Join(d.Config.Restart, ", "))
	}
	return lines
}
