package pgserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Options say how to run a server. The zero value is a server with logical
// replication in a temporary directory, its programs found by [FindBinaries] or [Download].
type Options struct {
	Bin      string            // directory of initdb and postgres; "" searches, then downloads
	Dir      string            // parent directory of the cluster; "" is the system's temporary directory
	Settings map[string]string // postgresql.conf settings, over the defaults
	HBA      []string          // lines of pg_hba.conf before the default, which trusts local connections
	Log      io.Writer         // what the server logs; nil keeps its last lines for errors
}

// Server is a running cluster. Its methods may not be called concurrently.
type Server struct {
	opts   Options
	bin    string
	dir    string // holds data and socket
	port   int
	cred   *syscall.Credential
	log    *tail
	exited chan struct{} // closed when the postmaster has ended; nil when not started
	pid    int
}

// Superuser is the role that owns the cluster.
const Superuser = "postgres"

const startTimeout = 60 * time.Second

// Start makes a cluster and starts it. The caller must Close the server, also to remove its files.
func Start(ctx context.Context, opts Options) (*Server, error) {
	bin := opts.Bin
	if bin == "" {
		var err error
		if bin, err = FindBinaries(); err != nil {
			if bin, err = Download(ctx, opts.Log); err != nil {
				return nil, err
			}
		}
	}
	cred, err := unprivileged()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(opts.Dir, "walhook-pg-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for the cluster: %w", err)
	}
	s := &Server{opts: opts, bin: bin, dir: dir, cred: cred, log: &tail{next: opts.Log}}
	if err := s.create(ctx); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

// create runs initdb and writes the configuration.
func (s *Server) create(ctx context.Context) error {
	if s.cred != nil {
		if err := os.Chown(s.dir, int(s.cred.Uid), int(s.cred.Gid)); err != nil {
			return fmt.Errorf("hand the cluster's directory to an unprivileged user: %w", err)
		}
	}
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, "initdb"), "--pgdata", s.data(), "--username", Superuser,
		"--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync")
	cmd.Dir = s.dir
	cmd.Env = environment()
	cmd.SysProcAttr = childAttr(s.cred)
	if out, err := cmd.CombinedOutput(); err != nil {
		return &Error{Doing: "initdb", Err: err, Output: string(out), Advice: adviceInitdb(s.cred)}
	}
	if len(s.opts.HBA) > 0 {
		path := filepath.Join(s.data(), "pg_hba.conf")
		rest, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		text := strings.Join(s.opts.HBA, "\n") + "\n" + string(rest)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return err
		}
	}
	settings := map[string]string{
		"listen_addresses": "127.0.0.1", "wal_level": "logical",
		"max_wal_senders": "50", "max_replication_slots": "50", "max_connections": "200",
		"unix_socket_directories": s.socketDir(), "log_line_prefix": "%m [%p] ", "shared_buffers": "64MB",
	}
	maps.Copy(settings, s.opts.Settings)
	f, err := os.OpenFile(filepath.Join(s.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(f, "%s = '%s'\n", name, strings.ReplaceAll(settings[name], "'", "''"))
	}
	return f.Close()
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// socketDir is empty when the path would not fit a socket address (107 bytes on Linux).
func (s *Server) socketDir() string {
	if len(s.dir) > 80 {
		return ""
	}
	return s.dir
}

// start starts the postmaster and waits until it answers. A port that somebody
// else takes in between is no failure: another is tried.
func (s *Server) start(ctx context.Context) error {
	var err error
	for range 5 {
		if s.port == 0 {
			if s.port, err = freePort(); err != nil {
				return err
			}
		}
		if err = s.launch(); err != nil {
			return err
		}
		if err = s.ready(ctx); err == nil {
			return nil
		}
		s.signal(syscall.SIGQUIT)
		<-s.exited
		out := s.log.String()
		switch {
		case strings.Contains(out, "could not bind"):
			s.port = 0
		case strings.Contains(out, "shared memory block"), strings.Contains(out, "lock file"):
			time.Sleep(500 * time.Millisecond) // backends of a killed postmaster are on their way out
		default:
			return &Error{Doing: "start PostgreSQL", Err: err, Output: out}
		}
	}
	return &Error{Doing: "start PostgreSQL", Err: err, Output: s.log.String()}
}

// launch starts the postmaster from a thread that lives as long as the child: the
// signal that ends it with its parent is bound to the thread (prctl(2)).
func (s *Server) launch() error {
	s.log.Reset()
	cmd := exec.Command(filepath.Join(s.bin, "postgres"), "-D", s.data(), "-p", strconv.Itoa(s.port))
	cmd.Dir = s.dir
	cmd.Env = environment()
	cmd.Stdout, cmd.Stderr = s.log, s.log
	cmd.SysProcAttr = childAttr(s.cred)
	cmd.WaitDelay = 5 * time.Second
	started := make(chan error, 1)
	s.exited = make(chan struct{})
	go func(exited chan struct{}) {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(exited)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended stands in its log
		}
	}(s.exited)
	if err := <-started; err != nil {
		return &Error{Doing: "start PostgreSQL", Err: err}
	}
	s.pid = cmd.Process.Pid
	return nil
}

func (s *Server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		conn, err := pgconn.Connect(ctx, s.DSN("postgres")+"&connect_timeout=5")
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-s.exited:
			return errors.New("the server ended while starting")
		case <-ctx.Done():
			return fmt.Errorf("wait until the server answers: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// DSN returns a connection URL of the superuser.
func (s *Server) DSN(database string) string { return s.DSNFor(Superuser, "", database) }

// DSNFor returns a connection URL for a role.
func (s *Server) DSNFor(user, password, database string) string {
	u := url.URL{Scheme: "postgres", User: url.User(user), Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)),
		Path: "/" + database, RawQuery: "sslmode=disable"}
	if password != "" {
		u.User = url.UserPassword(user, password)
	}
	return u.String()
}

// Port is the TCP port on 127.0.0.1. It survives restarts.
func (s *Server) Port() int { return s.port }

// Bin is the directory of the server's programs, psql and pg_dump included where the machine has them.
func (s *Server) Bin() string { return s.bin }

// DataDir is the cluster's data directory.
func (s *Server) DataDir() string { return s.data() }

// Stop shuts down fast: sessions are ended, transactions rolled back.
func (s *Server) Stop(ctx context.Context) error { return s.end(ctx, syscall.SIGINT) }

// Restart shuts down in a mode, "fast" or "immediate" (as after a crash), and starts again on the same port.
func (s *Server) Restart(ctx context.Context, mode string) error {
	sig, ok := map[string]syscall.Signal{"fast": syscall.SIGINT, "immediate": syscall.SIGQUIT}[mode]
	if !ok {
		return fmt.Errorf("restart mode %q: want fast or immediate", mode)
	}
	if err := s.end(ctx, sig); err != nil {
		return err
	}
	return s.start(ctx)
}

// Resume starts a server again that was stopped or killed.
func (s *Server) Resume(ctx context.Context) error { return s.start(ctx) }

// Kill ends the postmaster with SIGKILL, and waits for it; its backends notice and end.
func (s *Server) Kill() error {
	s.signal(syscall.SIGKILL)
	<-s.exited
	return nil
}

// Close stops the server, if it runs, and removes its files.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	return errors.Join(s.end(ctx, syscall.SIGQUIT), os.RemoveAll(s.dir))
}

func (s *Server) end(ctx context.Context, sig syscall.Signal) error {
	s.signal(sig)
	select {
	case <-s.exited:
		return nil
	case <-ctx.Done():
		s.signal(syscall.SIGKILL)
		<-s.exited
		return fmt.Errorf("stop PostgreSQL: %w", ctx.Err())
	}
}

func (s *Server) signal(sig syscall.Signal) {
	select {
	case <-s.exited:
	default:
		_ = syscall.Kill(s.pid, sig) // it may have ended in this moment
	}
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// tail keeps the last lines that the server logged, for error messages.
type tail struct {
	mu   sync.Mutex
	buf  []byte
	next io.Writer
}

const tailSize = 8 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if n := len(t.buf) - tailSize; n > 0 {
		t.buf = t.buf[n:]
	}
	if t.next != nil {
		return t.next.Write(p)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}

// Reset forgets what an earlier start logged.
func (t *tail) Reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = t.buf[:0]
}
