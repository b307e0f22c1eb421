package pgserver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// childEnv makes the test binary an owner that is killed.
const childEnv = "WALHOOK_TEST_PGSERVER_OWNER"

func TestServerDiesWithItsOwner(t *testing.T) {
	if os.Getenv(childEnv) != "" {
		s, err := Start(context.Background(), Options{Dir: os.Getenv(childEnv), Trust: true})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("dsn %s\n", s.DSN("postgres"))
		select {}
	}
	dir, err := os.MkdirTemp("", "walhook-owner-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	child := exec.Command(os.Args[0], "-test.run=^TestServerDiesWithItsOwner$")
	child.Env = append(os.Environ(), childEnv+"="+dir)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	var dsn string
	for dsn == "" && lines.Scan() {
		dsn, _ = strings.CutPrefix(lines.Text(), "dsn ")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)

	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // killed, as it should be
	for {
		if _, err = conn.Exec(ctx, "SELECT 1"); err != nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if ctx.Err() != nil {
		t.Fatal("the server answers although its owner is dead")
	}
	// The postmaster goes last.
	for {
		if _, err := pgx.Connect(ctx, dsn); err != nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if ctx.Err() != nil {
		t.Fatal("the server takes connections although its owner is dead")
	}
}

func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	_, err = Start(context.Background(), Options{Port: port})
	var e *Error
	if !errors.As(err, &e) || !strings.Contains(err.Error(), fmt.Sprintf("port %d on 127.0.0.1 is in use", port)) || e.Hint() == "" {
		t.Fatalf("want the port and a hint, got %v", err)
	}
}

// A password is asked for unless everybody is trusted, and lines of pg_hba.conf come first.
func TestWhoGetsIn(t *testing.T) {
	ctx := context.Background()
	s, err := Start(ctx, Options{HBA: []string{"host all guest 127.0.0.1/32 trust", "host all banned 127.0.0.1/32 reject"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	if got := query(t, s, "SELECT current_user::text"); got != Superuser {
		t.Errorf("DSN is %s's", got)
	}
	conn, err := pgx.Connect(ctx, s.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	for _, sql := range []string{"CREATE ROLE guest LOGIN", "CREATE ROLE banned LOGIN PASSWORD 'secret'", "CREATE ROLE app LOGIN PASSWORD 'p@ss/word'"} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		user, password string
		in             bool
	}{
		{Superuser, "", false}, {Superuser, "wrong", false}, {"guest", "", true}, {"banned", "secret", false}, {"app", "p@ss/word", true},
	} {
		conn, err := pgx.Connect(ctx, s.DSNFor(c.user, c.password, "postgres"))
		if (err == nil) != c.in {
			t.Errorf("%s with password %q: %v", c.user, c.password, err)
		}
		if err == nil {
			conn.Close(ctx)
		}
	}
}
