package status

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"walhook/cdc"
)

// Server answers /, /status, /healthz, /readyz and /metrics, and /api/v1. It guarantees that
// looking at the former costs little: the state schema is read at most once per CacheFor, the
// source never. They do not change anything; what the API may do is its [Desk]'s.
type Server struct {
	cfg     Config
	info    Info
	sources Sources
	now     func() time.Time

	cache    *cache
	metrics  *metrics
	api      *api // nil without a Desk
	listener net.Listener

	mu    sync.Mutex
	clock LagClock
}

// Listen takes the port, so that a port in use is told before anything else starts. The error is a *[ListenError].
// With Listen "off" the listener is nil.
func Listen(ctx context.Context, cfg Config) (net.Listener, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.WithDefaults()
	if cfg.Off() {
		return nil, nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return nil, &ListenError{Address: cfg.Listen, InUse: errors.Is(err, syscall.EADDRINUSE), Err: err}
	}
	return l, nil
}

// New returns a server for a listener, which is nil when no pages are wanted. Run starts it.
func New(cfg Config, info Info, sources Sources, listener net.Listener) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.WithDefaults()
	s := &Server{cfg: cfg, info: info, sources: sources, listener: listener, now: time.Now, cache: &cache{reader: sources.State, ttl: cfg.CacheFor}}
	s.metrics = newMetrics(info, func() Document { return s.Document(context.Background()) })
	if sources.Desk != nil {
		s.api = newAPI(cfg, sources.Desk, s.Document, sources.Audit)
	}
	return s, nil
}

// Addr is the listener's address, "" without one.
func (s *Server) Addr() string {
	if s.listener == nil {
		return ""
	}
	return s.listener.Addr().String()
}

// Attempt notes a delivery attempt for the metrics. result is "delivered", "retry" or
// "dead".
func (s *Server) Attempt(endpoint, result string, took time.Duration) {
	s.metrics.attempt(endpoint, result, took)
}

// Run serves until the context is cancelled, and watches the stream's progress all the while.
// It closes the listener. Requests under way get two seconds to end.
func (s *Server) Run(ctx context.Context) error {
	watch := make(chan struct{})
	go func() {
		defer close(watch)
		s.watch(ctx)
	}()
	defer func() { <-watch }()
	if s.listener == nil {
		<-ctx.Done()
		return nil
	}
	server := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(s.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve status pages on %s: %w", s.Addr(), err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		_ = server.Close() // cuts what would not end; its error says nothing new
	}
	<-served
	return nil
}

// watch looks at the stream every second, for lag and stalls.
func (s *Server) watch(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		s.look(s.now())
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (s *Server) look(now time.Time) (stream cdc.Progress, slot SlotState) {
	slot.Headroom = -1
	if s.sources.Stream != nil {
		stream = s.sources.Stream()
	}
	if s.sources.Slot != nil {
		slot = s.sources.Slot()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if stream.Connected && stream.ServerEnd != 0 {
		s.clock.Observe(now, stream.Handled, end(stream, slot))
	} else {
		s.clock.advance(now, stream.Handled)
	}
	return stream, slot
}

// Document composes what /status answers.
func (s *Server) Document(ctx context.Context) Document {
	now := s.now()
	f := s.cache.get(ctx, now)
	stream, slot := s.look(now)
	var handler HandlerState
	if s.sources.Handler != nil {
		handler = s.sources.Handler()
	}
	var activity []Activity
	if s.sources.Activity != nil {
		activity = s.sources.Activity()
	}
	var blockers []string
	if s.sources.Blockers != nil {
		blockers = s.sources.Blockers()
	}
	role := Role{Name: RoleReader}
	if s.sources.Role != nil {
		role = s.sources.Role()
	}
	stream = role.seenBy(stream, f)
	d := compose(now, s.Info(), f, role, stream, handler, slot, activity)
	if s.sources.Related != nil {
		d.Related = s.sources.Related()
	}
	if s.sources.Images != nil {
		d.Images = s.sources.Images()
	}
	if s.sources.Reserved != nil {
		d.Reserved = s.sources.Reserved()
	}
	_, age := stream.Lag(now)
	s.mu.Lock()
	defer s.mu.Unlock()
	d.Position.LagSeconds = role.lag(slot, max(age, s.clock.Lag(now))).Round(time.Millisecond).Seconds()
	d.Reasons = reasons(now, f, role, stream, handler, slot, &s.clock, s.cfg.StallAfter, blockers)
	d.Ready = len(d.Reasons) == 0
	return d
}

// Handler returns the pages, access control included.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.guard(s.index))
	mux.HandleFunc("GET /status", s.guard(s.status))
	mux.HandleFunc("GET /metrics", s.guard(promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{Registry: s.metrics.registry}).ServeHTTP))
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	if s.api != nil {
		mux.Handle("/api/", s.api)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
		if !s.hostAllowed(r.Host) {
			http.Error(w, "this server answers to its own address only", http.StatusMisdirectedRequest)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// guard asks for the token, when there is one.
func (s *Server) guard(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !s.authorized(r) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="walhook"`)
			http.Error(w, "the token of [http] is missing or wrong", http.StatusUnauthorized)
			return
		}
		next(w, r)
	}
}

func (s *Server) authorized(r *http.Request) bool {
	return s.cfg.Token.IsZero() || s.cfg.Token.admits(r.Header.Get("Authorization"))
}

// hostAllowed refuses host names that are not ours while no token is asked for: a web page in a browser
// on this machine could otherwise read the pages under a name of its own that resolves to 127.0.0.1.
func (s *Server) hostAllowed(host string) bool {
	if !s.cfg.Token.IsZero() {
		return true
	}
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if host == "localhost" || host == "" {
		return true
	}
	_, err := netip.ParseAddr(trimBrackets(host))
	return err == nil
}

func trimBrackets(host string) string {
	if len(host) > 1 && host[0] == '[' && host[len(host)-1] == ']' {
		return host[1 : len(host)-1]
	}
	return host
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, s.Document(r.Context()))
}

// healthz answers as long as the process lives.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"status": "alive"})
}

// readyz answers 200 or 503; reasons may name hosts, and go only to those who may read /status.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	d := s.Document(r.Context())
	answer := struct {
		Ready   bool     `json:"ready"`
		Reasons []string `json:"reasons,omitempty"`
	}{Ready: d.Ready}
	if s.authorized(r) {
		answer.Reasons = d.Reasons
	}
	code := http.StatusOK
	if !d.Ready {
		code = http.StatusServiceUnavailable
	}
	writeJSON(w, code, answer)
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	var body bytes.Buffer
	e := json.NewEncoder(&body)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false) // it is JSON, and said to be nothing else
	if err := e.Encode(v); err != nil {
		http.Error(w, "encode: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(body.Bytes()) // the client is gone: nobody is left to tell
}
