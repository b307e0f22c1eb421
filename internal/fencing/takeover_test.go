package fencing

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"walhook/internal/pgserver"
	"walhook/internal/pgtest"
)

// defaultLease is that of a configuration which says nothing.
const defaultLease = 30 * time.Second

// A reader that is killed is replaced as soon as its session has ended, however long its lease is. Whether its place is
// known, as on one machine, or not makes no difference to that; lanes that it had in hand wait for its lease when nobody can tell that it is dead.
func TestTakeover(t *testing.T) {
	t.Parallel()
	for _, elsewhere := range []bool{false, true} {
		t.Run(fmt.Sprintf("elsewhere=%t", elsewhere), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, options{lease: defaultLease})
			a, b := s.node("a"), s.node("b")
			a.start()
			a.becomes("reader")
			b.start()
			b.becomes("standby")
			if elsewhere {
				pgtest.Exec(t, s.in.Super, fmt.Sprintf("UPDATE walhook.process SET place = 'another machine' WHERE pid = %d", a.cmd.Process.Pid))
			}
			stop := s.traffic()
			s.more(100)
			took, sent := s.fall(a.kill, b)
			s.more(50)
			stop()
			s.check()
			t.Logf("with a lease of %s: reader after %s, events of after that arrive after %s, all delivered after %s", s.lease, took, sent, time.Since(s.fell).Round(time.Millisecond))
			b.stop()
		})
	}
}

// fall lets the reader die, and measures how long it takes until another node reads, and until events arrive again that were committed after.
func (s *site) fall(die func(), next *node) (took, sent time.Duration) {
	s.t.Helper()
	die()
	s.fell = time.Now()
	next.becomes("reader")
	took = time.Since(s.fell).Round(time.Millisecond)
	s.more(1)
	sent = time.Since(s.fell).Round(time.Millisecond)
	if took > s.lease-2*time.Second { // it was not the lease that was waited for
		s.t.Errorf("taken over after %s", took)
	}
	return took, sent
}

// envNetwork says that this is the test binary in a network of its own.
const envNetwork = "WALHOOK_TEST_NETWORK"

// A machine that vanishes says nothing: its connections stay open at the server until keepalives find out. The test has a network of its own, in which an
// address can be made to vanish.
func TestTakeoverFromAMachineThatVanished(t *testing.T) {
	t.Parallel()
	if os.Getenv(envNetwork) == "" {
		if out, err := exec.Command("unshare", "--net", "ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
			t.Skipf("no network of its own can be made here (that takes root, unshare and ip): %v %s", err, out)
		}
		cmd := exec.Command("unshare", "--net", os.Args[0], "-test.run", "^TestTakeoverFromAMachineThatVanished$", "-test.v")
		cmd.Env = append(os.Environ(), envNetwork+"=1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, "taken over") {
				t.Log(strings.TrimSpace(line))
			}
		}
		return
	}
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v %s", strings.Join(args, " "), err, out)
		}
	}
	ip("link", "set", "lo", "up")
	server := pgtest.Cluster(t, pgserver.Options{Trust: true, HBA: []string{"host all all 127.0.0.2/32 trust"}, Settings: map[string]string{"fsync": "off", "shared_buffers": "32MB"}})
	pgtest.Exec(t, server.DSN("postgres"), "ALTER SYSTEM SET listen_addresses = '127.0.0.1,127.0.0.2'")
	if err := server.Restart(t.Context(), "fast"); err != nil {
		t.Fatal(err)
	}
	o := options{server: server, lease: 20 * time.Second}
	if os.Getenv("WALHOOK_LONG") != "" {
		o.lease = defaultLease
	}
	s := newSite(t, o)
	a, b := s.node("a"), s.node("b")
	a.moveTo("127.0.0.2")
	a.start()
	a.becomes("reader")
	b.start()
	b.becomes("standby")
	pgtest.Exec(t, s.in.Super, fmt.Sprintf("UPDATE walhook.process SET place = 'another machine' WHERE pid = %d", a.cmd.Process.Pid))
	stop := s.traffic()
	s.more(100)
	took, sent := s.fall(func() {
		ip("route", "add", "blackhole", "127.0.0.2/32", "table", "local")
		a.kill()
	}, b)
	s.more(50)
	stop()
	s.check()
	t.Logf("taken over after %s with a lease of %s, events of after that arrive after %s, all delivered after %s", took, s.lease, sent, time.Since(s.fell).Round(time.Millisecond))
	b.stop()
}

// moveTo lets a node connect from and to another address of this machine.
func (n *node) moveTo(address string) {
	n.t.Helper()
	text, err := os.ReadFile(n.config)
	if err != nil {
		n.t.Fatal(err)
	}
	for _, old := range []string{"localhost", "127.0.0.1"} {
		text = []byte(strings.ReplaceAll(string(text), fmt.Sprintf("@%s:%d/", old, n.site.server.Port()), fmt.Sprintf("@%s:%d/", address, n.site.server.Port())))
	}
	if !strings.Contains(string(text), "@"+address) {
		n.t.Fatalf("the configuration names no server:\n%s", text)
	}
	if err := os.WriteFile(n.config, text, 0o600); err != nil {
		n.t.Fatal(err)
	}
}
