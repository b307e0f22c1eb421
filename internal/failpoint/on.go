//go:build failpoint && unix

package failpoint

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// env arms a point: NAME:N or NAME:N:stop.
const env = "WALHOOK_FAILPOINT"

// arming is one point and what happens there.
type arming struct {
	point  Point
	left   atomic.Int64 // hits until then
	signal syscall.Signal
}

// armed is read before main runs; nil when nothing is armed.
var armed = arm(os.Getenv(env))

func arm(text string) *arming {
	if text == "" {
		return nil
	}
	name, rest, _ := strings.Cut(text, ":")
	number, what, _ := strings.Cut(rest, ":")
	a := &arming{point: Point(name), signal: syscall.SIGKILL}
	n, err := strconv.ParseInt(number, 10, 64)
	switch {
	case !slices.Contains(append(Points(), ResyncPoints()...), a.point):
		refuse(text, fmt.Sprintf("there is no fail point %q; the points are %q and %q", name, Points(), ResyncPoints()))
	case err != nil || n < 1:
		refuse(text, fmt.Sprintf("%q is no number of a hit, counted from 1", number))
	case what == "stop":
		a.signal = syscall.SIGSTOP
	case what != "":
		refuse(text, fmt.Sprintf("%q is nothing that a fail point does; it kills, or with \"stop\" it stops", what))
	}
	a.left.Store(n)
	return a
}

// refuse ends the program before it begins.
func refuse(text, why string) {
	fmt.Fprintf(os.Stderr, "error: %s=%s: %s\n", env, text, why)
	os.Exit(2)
}

// Hit is the code coming by a point. It writes a line to standard error before it ends the program, which is how
// a test knows that the point was it.
func Hit(p Point) {
	if armed == nil || armed.point != p || armed.left.Add(-1) != 0 {
		return
	}
	fmt.Fprintf(os.Stderr, "failpoint %s\n", p)
	// The signal goes to the process as a whole: when it is handled no goroutine runs any more.
	if err := syscall.Kill(os.Getpid(), armed.signal); err != nil || armed.signal == syscall.SIGKILL {
		select {}
	}
}

// HitIf is Hit on a condition.
func HitIf(yes bool, p Point) {
	if yes {
		Hit(p)
	}
}
