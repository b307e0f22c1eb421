//go:build unix

package pgserver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Server is a running cluster. Its methods may not be called concurrently.
type Server struct {
	opts     Options
	account  account
	bin      *binaries
	dir      string // holds data and socket
	password string // the superuser's; empty under Trust
	port     int
	pid      int
	log      *tail
	exited   chan struct{} // closed when the postmaster has ended
}

// Superuser is the role that owns the cluster.
const Superuser = "postgres"

// Start makes a cluster and starts it. The caller must Close the server, which removes its files.
func Start(ctx context.Context, opts Options) (*Server, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	a, err := serverAccount()
	if err != nil {
		return nil, err
	}
	bin, err := opts.findBinaries(ctx, a)
	if err == nil && bin == nil {
		bin, err = opts.download(ctx, a)
	}
	if err != nil {
		return nil, err
	}
	dir, err := opts.makeDir()
	if err != nil {
		return nil, err
	}
	s := &Server{opts: opts, account: a, bin: bin, dir: dir, port: opts.Port, log: &tail{next: opts.Log}}
	if err = s.create(ctx); err == nil {
		err = s.start(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

func (o Options) makeDir() (string, error) {
	if o.Dir == "" {
		dir, err := os.MkdirTemp("", "walhook-pg-")
		if err != nil {
			return "", fmt.Errorf("make a directory for the cluster: %w", err)
		}
		return dir, nil
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return "", fmt.Errorf("make the cluster's directory: %w", err)
	}
	entries, err := os.ReadDir(o.Dir)
	if err != nil {
		return "", fmt.Errorf("read the cluster's directory: %w", err)
	}
	if len(entries) > 0 {
		return "", &Error{Message: o.Dir + " is not empty", hint: "the directory of a private cluster is removed at the end: name one that does not exist yet"}
	}
	return filepath.Abs(o.Dir)
}

// create runs initdb and writes the configuration.
func (s *Server) create(ctx context.Context) error {
	if err := s.account.own(s.dir); err != nil {
		return err
	}
	args := []string{"--pgdata", s.DataDir(), "--username", Superuser, "--encoding", "UTF8", "--locale", "C", "--no-sync"}
	method := "trust"
	if !s.opts.Trust {
		method = "md5" // scram-sha-256 where that is how the password is stored
		s.password = rand.Text()
		pwfile := filepath.Join(s.dir, "password")
		if err := os.WriteFile(pwfile, []byte(s.password+"\n"), 0o600); err != nil {
			return fmt.Errorf("write the superuser's password: %w", err)
		}
		defer os.Remove(pwfile)
		if err := s.account.own(pwfile); err != nil {
			return err
		}
		args = append(args, "--pwfile", pwfile)
	}
	ctx, cancel := context.WithTimeout(ctx, s.opts.startTimeout())
	defer cancel()
	cmd := s.account.command(ctx, s.dir, filepath.Join(s.bin.dir, "initdb"), append(args, "--auth", method)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return &Error{Message: "initdb failed" + s.account.as(), Err: fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out))),
			hint: "the directory " + s.dir + " and the way to it must be open to that user; TMPDIR moves it"}
	}
	hba := append(append([]string(nil), s.opts.HBA...),
		"local all all "+method, "host all all 127.0.0.1/32 "+method)
	if err := s.write("pg_hba.conf", strings.Join(hba, "\n")+"\n"); err != nil {
		return err
	}
	var conf strings.Builder
	for name, value := range s.opts.settings() {
		fmt.Fprintf(&conf, "%s = %s\n", name, quoteSetting(value))
	}
	fmt.Fprintf(&conf, "listen_addresses = '127.0.0.1'\nlogging_collector = off\nunix_socket_directories = %s\n", quoteSetting(s.socketDir()))
	return s.write("postgresql.conf", conf.String())
}

// write replaces a file of the cluster; initdb made it for the account, which keeps it.
func (s *Server) write(name, text string) error {
	if err := os.WriteFile(filepath.Join(s.DataDir(), name), []byte(text), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// socketDir is empty when the path would not fit a socket address (107 bytes on Linux).
func (s *Server) socketDir() string {
	if len(s.dir) > 80 {
		return ""
	}
	return s.dir
}

// start starts the postmaster and waits until it answers. At the first start a free port that
// somebody else takes in between is no failure: another is tried. Later the port stays.
func (s *Server) start(ctx context.Context) error {
	var err error
	first := s.port == 0
	patience := time.Now().Add(s.opts.startTimeout())
	for tries := 0; tries < 10 || !first && time.Now().Before(patience); tries++ {
		if first {
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
		if ctx.Err() != nil {
			return s.failure(err)
		}
		out := s.log.String()
		switch {
		case strings.Contains(out, "could not bind") && first:
		case strings.Contains(out, "could not bind") && s.opts.Port == 0,
			strings.Contains(out, "shared memory block"), strings.Contains(out, "lock file"):
			time.Sleep(200 * time.Millisecond) // what is left of a stopped server is on its way out
		default:
			return s.failure(err)
		}
	}
	return s.failure(err)
}

// failure explains a start that failed with the server's own words.
func (s *Server) failure(err error) error {
	out := strings.TrimSpace(s.log.String())
	e := &Error{Message: "PostgreSQL did not start", Err: fmt.Errorf("%w: %s", err, out)}
	switch {
	case strings.Contains(out, "could not bind"):
		e.Message = fmt.Sprintf("PostgreSQL did not start: port %d on 127.0.0.1 is in use", s.port)
		e.hint = "stop what listens there, or choose another port"
	case strings.Contains(out, "No space left on device"):
		e.hint = "free disk space, or set TMPDIR to a place that has some; the cluster is in " + s.dir
	case strings.Contains(out, "could not create shared memory segment"), strings.Contains(out, "could not resize shared memory segment"):
		e.hint = "allow more shared memory, in a container with --shm-size"
	}
	return e
}

// launch starts the postmaster from a thread that lives as long as the child: the
// signal that ends it with its parent is bound to the thread (prctl(2)).
func (s *Server) launch() error {
	s.log.forget()
	cmd := s.account.command(context.Background(), s.dir, filepath.Join(s.bin.dir, "postgres"), "-D", s.DataDir(), "-p", strconv.Itoa(s.port))
	cmd.Stdout, cmd.Stderr = s.log, s.log
	cmd.WaitDelay = 5 * time.Second
	guard(cmd.SysProcAttr)
	started, exited := make(chan error, 1), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(exited)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended stands in its log
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	s.exited, s.pid = exited, cmd.Process.Pid
	return nil
}

// ready waits for the status line that the postmaster writes into its lock file, which is what
// pg_ctl goes by. Asking at the port could reach somebody else's server.
func (s *Server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.opts.startTimeout())
	defer cancel()
	for {
		if s.status() == "ready" {
			return nil
		}
		select {
		case <-s.exited:
			return errors.New("the server ended")
		case <-ctx.Done():
			return fmt.Errorf("wait for the server to be ready: %w", ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// status is the eighth line of postmaster.pid; empty when the file is an earlier postmaster's.
func (s *Server) status() string {
	content, err := os.ReadFile(filepath.Join(s.DataDir(), "postmaster.pid"))
	if err != nil {
		return ""
	}
	lines := strings.Split(string(content), "\n")
	if len(lines) < 8 || strings.TrimSpace(lines[0]) != strconv.Itoa(s.pid) {
		return ""
	}
	return strings.TrimSpace(lines[7])
}

// DSN returns a connection URL of the superuser.
func (s *Server) DSN(database string) string { return s.DSNFor(Superuser, s.password, database) }

// DSNFor returns a connection URL of a role.
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

// Bin is the directory of the server's programs; psql and pg_dump are there where the machine has them.
func (s *Server) Bin() string { return s.bin.dir }

// Major is the server's major version.
func (s *Server) Major() int { return s.bin.major }

// DataDir is the cluster's data directory.
func (s *Server) DataDir() string { return filepath.Join(s.dir, "data") }

// Stop shuts down fast.
func (s *Server) Stop(ctx context.Context) error { return s.end(ctx, syscall.SIGINT) }

// Restart shuts down in a mode, "fast" or "immediate", and starts again on the same port.
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

// Resume starts a server again that was stopped or killed, on the same port.
func (s *Server) Resume(ctx context.Context) error { return s.start(ctx) }

// Kill ends the postmaster with SIGKILL and waits for it. Its backends notice and end by themselves.
func (s *Server) Kill() error {
	s.signal(syscall.SIGKILL)
	<-s.exited
	return nil
}

// Close stops the server, if it runs, and removes its files.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), s.opts.startTimeout())
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
