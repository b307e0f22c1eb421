package storm

import (
	"context"
	"fmt"
	"hash/maphash"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"walhook/internal/harness"
)

// timeout is the endpoints'. It is long, so that only a receiver that means to be too late is.
const timeout = 5 * time.Second

// Receivers is a server with an endpoint on each path: "first", "second" (by TLS), "third" (on_dead hold), "batch", "slow" (debounced). It checks at once what
// can be told from one request, and keeps the rest for the check at the end.
type Receivers struct {
	*httptest.Server
	t     testing.TB
	tally *harness.Tally
	faces *faces

	mu       sync.Mutex
	rnd      *rand.Rand
	moods    map[string]Mood
	healed   bool
	requests map[string]int
	serial   int // of requests
	log      []arrival
	known    map[string]*event // by id
	ids      map[identity]string
	numbers  map[number]string           // to ids
	open     map[openLane][]*openRequest // events under way
	problems []string
}

// Mood decides what becomes of a request to an endpoint. It is called once for each, one at a time, after the request was read.
type Mood func(rnd *rand.Rand, endpoint string, header http.Header) Fate

// Fate is what becomes of a request.
type Fate struct {
	Name   string           // as the report counts it: "500", "cut, noted"
	Accept bool             // the receiver takes note of the events
	Wait   time.Duration    // before the answer
	Status int              // default 200 (Accept) or 500
	Header http.Header      // of the answer: Retry-After, Location
	HangUp bool             // closes the connection without an answer
	Answer http.HandlerFunc // in place of all that: writes whatever it likes; nil for none
}

// identity is what makes two deliveries one and the same: what happened to which record, for whom. Where a record before or after
// has no number of a write, it is "".
type identity struct{ Endpoint, Rule, Table, Key, Op, Old, New string }

// number is what an endpoint's deliveries are counted by.
type number struct {
	Endpoint, Epoch string
	N               int
}

// event is what stands behind an id.
type event struct {
	identity
	ID                   string
	number               number
	XID                  uint32
	LSN                  uint64
	OldDigest, NewDigest string // "" where a rule does not send the whole row
	Cascade              string // the order it was deleted with
	Lines                string // of a rollup: what was added, changed and removed
	again                bool   // of a resync or a backfill
	late                 bool   // this time, a person had it sent again
	body                 uint64 // its hash
	accepted             bool
	refused              bool // by an answer that is final
}

// arrival is one event in one request.
type arrival struct {
	*event
	life     string
	accepted bool
	request  int  // what comes in one request has one number
	late     bool // a person had it sent again
	fresh    bool // the request was made just before
}

// openLane is a record that an endpoint has in hand, from one life of a process.
type openLane struct{ endpoint, table, key, life string }

// openRequest is a request under way, and what another one of the same record says against it that came meanwhile.
type openRequest struct{ problem string }

func newReceivers(t testing.TB, seed uint64, counts *harness.Tally) *Receivers {
	r := &Receivers{t: t, tally: counts, faces: newFaces(t), rnd: rand.New(rand.NewPCG(seed, 1<<40)), moods: map[string]Mood{}, requests: map[string]int{}, known: map[string]*event{},
		ids: map[identity]string{}, numbers: map[number]string{}, open: map[openLane][]*openRequest{}}
	r.Server = httptest.NewUnstartedServer(r)
	r.Listener = &eitherListener{r.Listener, r.faces, r.faces.config()}
	r.Start()
	t.Cleanup(func() {
		r.CloseClientConnections()
		r.Close()
	})
	return r
}

// SetMood changes an endpoint's mood; nil is the usual one, which fails now and then. The endpoint "" stands for all of them.
func (r *Receivers) SetMood(endpoint string, m Mood) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.moods[endpoint] = m
}

// Requests is how many requests an endpoint has had.
func (r *Receivers) Requests(endpoint string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.requests[endpoint]
}

// total is how many requests there have been.
func (r *Receivers) total() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range r.requests {
		n += one
	}
	return n
}

// has tells whether an event has been accepted that a rule made of a write.
func (r *Receivers) has(rule, endpoint, written string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := len(r.log) - 1; i >= 0; i-- {
		if a := r.log[i]; a.Rule == rule && a.Endpoint == endpoint && a.New == written {
			return a.event.accepted
		}
	}
	return false
}

// heard is all that has arrived, and what was wrong with it at once.
func (r *Receivers) heard() ([]arrival, []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.log), slices.Clone(r.problems)
}

// heal ends all failures.
func (r *Receivers) heal() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.healed = true
	clear(r.moods)
}

// complain notes what must not be. The caller holds the mutex.
func (r *Receivers) complain(format string, args ...any) {
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

// usual is the mood of every day.
func usual(rnd *rand.Rand, _ string, _ http.Header) Fate {
	switch n := rnd.IntN(10_000); {
	case n < 150:
		return Fate{Name: "500", Status: http.StatusInternalServerError}
	case n < 250:
		return Fate{Name: "503", Status: http.StatusServiceUnavailable}
	case n < 330:
		return Fate{Name: "cut, not noted", HangUp: true}
	case n < 410:
		return Fate{Name: "cut, noted", HangUp: true, Accept: true}
	case n < 510:
		return Fate{Name: "200, slow", Accept: true, Wait: time.Duration(1+rnd.IntN(100)) * time.Millisecond}
	}
	return Fate{Name: "200", Accept: true}
}

func (r *Receivers) fate(endpoint string, header http.Header) Fate {
	if r.healed {
		return Fate{Name: "200", Accept: true}
	}
	m := r.moods[endpoint]
	if m == nil {
		m = r.moods[""]
	}
	if m == nil {
		m = usual
	}
	return m(r.rnd, endpoint, header)
}

func (r *Receivers) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	endpoint := strings.TrimPrefix(req.URL.Path, "/")
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the client was killed, or the connection cut, while it was writing
	}
	life := req.Header.Get("X-Life")
	sent, err := strconv.ParseInt(req.Header.Get("webhook-timestamp"), 10, 64)
	age := time.Since(time.Unix(sent, 0))
	fresh := err == nil && age > -time.Second && age < timeout-time.Second
	var all []*event
	signed := harness.VerifySignature(req.Header, body)
	all, problem := parseRequest(endpoint, req.Header, body)
	if req.Header.Get("webhook-test") != "" {
		w.WriteHeader(http.StatusOK)
		return
	}

	r.mu.Lock()
	r.requests[endpoint]++
	if signed != nil {
		r.complain("signature of %s: %v", req.Header.Get("webhook-id"), signed)
	}
	if problem != nil {
		r.complain("request to %s: %v\n%.2000s", endpoint, problem, body)
	}
	f := r.fate(endpoint, req.Header)
	r.tally.Add("requests", f.Name, 1)
	lanes := map[openLane]bool{}
	r.serial++
	for _, e := range all {
		r.note(e, f, life, fresh)
		if !e.late {
			lanes[openLane{endpoint, e.Table, e.Key, life}] = true
		}
	}
	this := &openRequest{}
	for l := range lanes {
		for _, other := range r.open[l] {
			if fresh && f.Answer == nil {
				other.problem = fmt.Sprintf("two requests of %+v are under way at once", l)
			}
		}
		r.open[l] = append(r.open[l], this)
	}
	long := f.Wait >= timeout || f.Answer != nil // whoever runs out of patience may come back before its context is seen to end
	if f.Wait == 0 || long {
		r.shut(lanes, this)
	}
	r.mu.Unlock()

	if f.Wait > 0 {
		select {
		case <-time.After(f.Wait):
		case <-req.Context().Done():
		}
		if !long {
			r.finish(req.Context(), lanes, this)
		}
	}
	switch {
	case f.Answer != nil:
		f.Answer(w, req)
	case f.HangUp:
		if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
			conn.Close()
		}
	default:
		for k, v := range f.Header {
			w.Header()[k] = v
		}
		status := f.Status
		if status == 0 {
			status = http.StatusInternalServerError
			if f.Accept {
				status = http.StatusOK
			}
		}
		w.WriteHeader(status)
	}
}

// finish ends a request that took a while. If the client has sent another one of the same record meanwhile, it must have given this one up:
// the server learns of that a moment later.
func (r *Receivers) finish(ctx context.Context, lanes map[openLane]bool, this *openRequest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shut(lanes, this)
	if this.problem == "" {
		return
	}
	r.mu.Unlock()
	select {
	case <-ctx.Done():
		r.mu.Lock()
	case <-time.After(timeout / 2):
		r.mu.Lock()
		r.complain("%s", this.problem)
	}
}

func (r *Receivers) shut(lanes map[openLane]bool, this *openRequest) {
	for l := range lanes {
		r.open[l] = slices.DeleteFunc(r.open[l], func(o *openRequest) bool { return o == this })
		if len(r.open[l]) == 0 {
			delete(r.open, l)
		}
	}
}

var hashSeed = maphash.MakeSeed()

// note checks an arrival against all others.
func (r *Receivers) note(e *event, f Fate, life string, fresh bool) {
	late := e.late
	if id, ok := r.ids[e.identity]; ok && id != e.ID && !e.again {
		r.complain("one event, two ids: %+v is %s and %s", e.identity, id, e.ID)
	}
	if known := r.known[e.ID]; known != nil {
		switch {
		case known.identity != e.identity:
			r.complain("one id, two events: %s is %+v and %+v", e.ID, known.identity, e.identity)
		case known.body != e.body:
			r.complain("one id, two bodies: %s, %+v", e.ID, e.identity)
		case known.number != e.number:
			r.complain("one id, two numbers: %s is %+v and %+v", e.ID, known.number, e.number)
		}
		e = known
	}
	if id, ok := r.numbers[e.number]; ok && id != e.ID {
		r.complain("one number, two ids: %+v is %s and %s", e.number, id, e.ID)
	}
	r.known[e.ID], r.ids[e.identity], r.numbers[e.number] = e, e.ID, e.ID
	e.accepted = e.accepted || f.Accept
	e.refused = e.refused || f.Answer == nil && !f.HangUp && (f.Status/100 == 4 && f.Status != 408 && f.Status != 425 && f.Status != 429 || f.Status/100 == 3)
	r.log = append(r.log, arrival{e, life, f.Accept, r.serial, late, fresh})
}
