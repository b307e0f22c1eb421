package bench

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"walhook/internal/harness"
	"walhook/internal/pgtest"
)

// envRole makes this test binary one of the processes beside the tests.
const envRole = "WALHOOK_BENCH_ROLE"

// roles are what a child can be. Each works until its standard input ends, which it does with its parent too.
var roles = map[string]func() error{"receiver": beReceiver, "floor": beFloor, "queue": beQueue, "keeper": beKeeper, "reader": beReader, "starter": beStarter}

func TestMain(m *testing.M) {
	role := os.Getenv(envRole)
	if role == "" {
		pgtest.Main(m, harness.Remove)
		return
	}
	if err := roles[role](); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", role, err)
		os.Exit(1)
	}
}

// child is a process beside the tests.
type child struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   *bufio.Reader
	errs  *strings.Builder
}

// spawn starts this test binary in a role; env is added to its environment.
func spawn(t *testing.T, role string, env ...string) *child {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{t: t, cmd: exec.Command(path), errs: &strings.Builder{}}
	c.cmd.Env = append(append(os.Environ(), envRole+"="+role), env...)
	c.cmd.Stderr = c.errs
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.out = bufio.NewReader(out)
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.end)
	return c
}

// line is the next line that the child prints.
func (c *child) line() string {
	c.t.Helper()
	text, err := c.out.ReadString('\n')
	if err != nil {
		c.end()
		c.t.Fatalf("child: %v\n%s", err, c.errs)
	}
	return strings.TrimSpace(text)
}

// end lets the child end; a second call does nothing.
func (c *child) end() {
	if c.cmd.ProcessState != nil {
		return
	}
	c.stdin.Close()
	timer := time.AfterFunc(20*time.Second, func() { _ = c.cmd.Process.Kill() })
	defer timer.Stop()
	if err := c.cmd.Wait(); err != nil {
		c.t.Errorf("child: %v\n%s", err, c.errs)
	}
}

// orphaned returns when standard input ends.
func orphaned() error {
	_, err := io.Copy(io.Discard, os.Stdin)
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}
