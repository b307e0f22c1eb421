package status

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Bounds of the API. It must not disturb delivery, which shares its database connections.
const (
	apiAtOnce  = 2                // requests that ask the state
	apiPatient = 5 * time.Second  // how long one waits for its turn
	apiRead    = 10 * time.Second // for a page
	apiWork    = 25 * time.Second // for one step of something that changes much
	apiProbe   = 90 * time.Second // for a request to a receiver, whose timeout is the endpoint's
	apiBody    = 2 << 20          // bytes of a request's body
	apiPage    = 50               // entries of a page, unless asked otherwise
	apiPageMax = 500
	apiStep    = 1000 // deliveries of one step, unless asked otherwise
	apiStepMax = 10_000
)

// Audit is one call of the API that changed something, or tried to: who, what, and what came of it.
type Audit struct {
	Remote string // address of the caller
	Token  string // the first digits of the token's SHA-256, to tell tokens apart after one was replaced
	Action string // "retry", "pause" …
	What   string // what it was done to, in words
	Done   int64
	Failed int64
	Took   time.Duration
	Err    error
}

// api answers /api/v1. It guarantees that nothing is told to, or done for, a caller without the token, also on loopback, and that a page of any web site
// in a browser on this machine is none: it has neither the token nor, through a name of its own, the host's name; there are no cookies and no CORS.
type api struct {
	desk     Desk
	token    Token
	document func(context.Context) Document
	audit    func(Audit)
	loopback bool // listens there: a name in Host could be anybody's
	patience time.Duration

	mux   *http.ServeMux
	turn  chan struct{} // of those that ask the state
	probe chan struct{} // of those that ask a receiver
}

// call is one request on its way.
type call struct {
	*http.Request
	body  []byte
	audit Audit
}

// apiRoute is one call that the API has.
type apiRoute struct {
	method, path string
	query        []string // the parameters that it knows
	limit        time.Duration
	answer       func(*api, context.Context, *call) (any, error)
}

func newAPI(cfg Config, desk Desk, document func(context.Context) Document, audit func(Audit)) *api {
	host, _, err := net.SplitHostPort(cfg.Listen)
	a := &api{desk: desk, token: cfg.Token, document: document, audit: audit, loopback: err == nil && isLoopback(host), patience: apiPatient, mux: http.NewServeMux(),
		turn: make(chan struct{}, apiAtOnce), probe: make(chan struct{}, apiAtOnce)}
	for _, r := range apiRoutes {
		a.mux.HandleFunc(r.method+" "+r.path, func(w http.ResponseWriter, req *http.Request) { a.serve(w, req, r) })
	}
	return a
}

// ServeHTTP lets in whom it may concern.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if refusal := a.admit(r); refusal != nil {
		if refusal.Status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Bearer realm="walhook"`)
		}
		writeRefusal(w, refusal, nil)
		return
	}
	if _, pattern := a.mux.Handler(r); pattern == "" {
		a.unknown(w, r)
		return
	}
	a.mux.ServeHTTP(w, r)
}

// admit says why a request is not let in; nil when it is.
func (a *api) admit(r *http.Request) *Refusal {
	if a.loopback && !ownHost(r.Host) {
		return &Refusal{http.StatusMisdirectedRequest, "wrong_host", "this server answers to its own address only", "ask for it by 127.0.0.1 or localhost; a proxy in front of it must set Host so"}
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		if u, err := url.Parse(origin); err != nil || u.Host != r.Host {
			return &Refusal{http.StatusForbidden, "foreign_origin", "requests of other web sites are not answered", ""}
		}
	}
	if a.token.IsZero() {
		return &Refusal{http.StatusForbidden, "api_disabled", "the API needs a token, also on loopback, and none is configured", `[http] token = "…" or token_file, such as of: openssl rand -hex 24`}
	}
	if !a.token.admits(r.Header.Get("Authorization")) {
		return &Refusal{http.StatusUnauthorized, "unauthorized", "the token of [http] is missing or wrong", "Authorization: Bearer TOKEN"}
	}
	return nil
}

// ownHost says whether a Host header is an address, or this machine's name for itself, which no other web site can be.
func ownHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if host == "localhost" {
		return true
	}
	_, err := netip.ParseAddr(trimBrackets(host))
	return err == nil
}

// unknown answers what no route does: another path, or another method.
func (a *api) unknown(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := a.mux.Handler(other); pattern != "" {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 {
		writeRefusal(w, &Refusal{http.StatusNotFound, "unknown_path", "there is no " + r.URL.Path, "docs/api.md lists what there is"}, nil)
		return
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	writeRefusal(w, &Refusal{http.StatusMethodNotAllowed, "wrong_method", r.URL.Path + " does not take " + r.Method, "use " + strings.Join(allowed, " or ")}, nil)
}

// serve answers one request by its route.
func (a *api) serve(w http.ResponseWriter, r *http.Request, route apiRoute) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(r.Context(), route.limit)
	defer cancel()
	out := http.NewResponseController(w)
	_ = out.SetWriteDeadline(began.Add(apiPatient + route.limit + 10*time.Second)) // a writer of a test has none
	c := &call{Request: r}
	answer, err := a.answer(ctx, w, c, route)
	if c.audit.Action != "" && a.audit != nil {
		sum := sha256.Sum256([]byte(a.token.reveal()))
		c.audit.Remote, c.audit.Token, c.audit.Took, c.audit.Err = r.RemoteAddr, hex.EncodeToString(sum[:4]), time.Since(began), err
		a.audit(c.audit)
	}
	if err != nil {
		if ctx.Err() != nil && r.Context().Err() == nil { // whatever a driver made of it
			err = context.DeadlineExceeded
		}
		writeRefusal(w, refusalOf(err), answer)
		return
	}
	writeJSON(w, http.StatusOK, answer)
}

// answer checks the request's form, waits for its turn, and lets the route answer.
func (a *api) answer(ctx context.Context, w http.ResponseWriter, c *call, route apiRoute) (any, error) {
	for name, values := range c.URL.Query() {
		if !slices.Contains(route.query, name) {
			return nil, badRequest("unknown_parameter", fmt.Sprintf("unknown parameter %q", name), knownParameters(route))
		}
		if len(values) > 1 && name != "id" {
			return nil, badRequest("invalid_request", fmt.Sprintf("parameter %q stands there twice", name), "")
		}
	}
	if c.Method == http.MethodPost {
		if err := c.read(w); err != nil {
			return nil, err
		}
	}
	turn := a.turn
	if route.limit == apiProbe {
		turn = a.probe
	}
	patience := time.NewTimer(a.patience)
	defer patience.Stop()
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-patience.C:
		w.Header().Set("Retry-After", "1")
		return nil, &Refusal{http.StatusServiceUnavailable, "busy", "other requests are at work", "try again in a second"}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return route.answer(a, ctx, c)
}

func knownParameters(route apiRoute) string {
	if len(route.query) == 0 {
		return "it has no parameters"
	}
	return "one of " + strings.Join(route.query, ", ")
}
