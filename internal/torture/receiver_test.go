package torture

import (
	"crypto/md5"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"walhook/internal/harness"
)

// change is what an event says: which record, and the versions before and after; 0 where there was no row.
type change struct {
	Endpoint, Rule, Table, Key string
	Before, After              int64
}

// lane is what keeps an order: a record for an endpoint.
type lane struct{ Endpoint, Table, Key string }

// stream is a record as one rule tells it.
type stream struct {
	lane
	Rule string
}

func (c change) lane() lane { return lane{c.Endpoint, c.Table, c.Key} }

func (c change) stream() stream { return stream{c.lane(), c.Rule} }

// number is what an endpoint's deliveries are counted by.
type number struct {
	endpoint string
	n        int
}

// arrival is one request.
type arrival struct {
	change   change
	id       string
	number   number
	xid      uint32
	life     int
	accepted bool
}

// receiver fails at random: it answers 500, 503 and 429, closes connections before it has read, before and after it
// has taken note, answers slowly, and answers when nobody listens any more. It checks at once what can be told from one request.
type receiver struct {
	*httptest.Server
	t *testing.T

	mu       sync.Mutex
	rnd      *rand.Rand
	failures bool
	log      []arrival
	ids      map[change]string // and the other way round:
	known    map[string]event
	numbers  map[number]string // to ids
	open     map[openLane]int  // requests under way
	accepted int               // events, not requests
	fates    map[string]int    // requests by what became of them
	trap     *trap             // nil when none is set
}

// event is what stands behind an id.
type event struct {
	change   change
	number   number
	body     uint64 // its hash
	accepted bool
}

// trap calls a function in the middle of a request.
type trap struct {
	left   int  // requests until then
	accept bool // whether the receiver has taken note
	kill   func()
}

// openLane is a lane as one life sends it. The lives tell requests of a process that was killed, which
// may be under way here still, from those of the next one.
type openLane struct {
	lane
	life int
}

func newReceiver(t *testing.T, seed uint64) *receiver {
	r := &receiver{t: t, rnd: rand.New(rand.NewPCG(seed, 0)), failures: true, ids: map[change]string{}, known: map[string]event{}, numbers: map[number]string{},
		open: map[openLane]int{}, fates: map[string]int{}}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

// document is the body of an event, as far as it matters.
type document struct {
	Data struct {
		Model, Op, Rule string
		XID             uint32
		Record          map[string]json.RawMessage
		Changes         map[string]struct{ Before, After json.RawMessage }
	}
}

// parse reads an event, and finds what can't be: versions and digests that don't belong together, images of the wrong operation.
func parse(endpoint string, body []byte) (c change, xid uint32, err error) {
	var d document
	if err := json.Unmarshal(body, &d); err != nil {
		return c, 0, err
	}
	version := func(raw json.RawMessage) int64 {
		n, e := strconv.ParseInt(string(raw), 10, 64)
		if e != nil && err == nil {
			err = fmt.Errorf("%q is no version or digest: %w", raw, e)
		}
		return n
	}
	r := d.Data.Record
	c = change{Endpoint: endpoint, Rule: d.Data.Rule, Table: d.Data.Model, Key: string(r["id"])}
	if r["order_id"] != nil && r["tag_id"] != nil {
		c.Key = string(r["order_id"]) + "," + string(r["tag_id"])
	}
	v := version(r["v"])
	if digest := version(r["digest"]); digest != v*7919%1000003 {
		return c, 0, fmt.Errorf("version %d has the digest %d: the row is put together from two", v, digest)
	}
	if err := checkNote(r["note"], r["note_sum"]); err != nil {
		return c, 0, err
	}
	switch before := d.Data.Changes["v"]; d.Data.Op {
	case "create":
		c.After = v
	case "unlink":
		c.Before = v
	case "write":
		c.Before, c.After = version(before.Before), v
		if digest := version(d.Data.Changes["digest"].Before); err == nil && (version(before.After) != v || digest != c.Before*7919%1000003) {
			err = fmt.Errorf("version %d becomes %s, the record has %d, the digest before is %d", c.Before, before.After, v, digest)
		}
	default:
		err = fmt.Errorf("operation %q", d.Data.Op)
	}
	return c, d.Data.XID, err
}

// checkNote finds a long text that is not the row's: most updates leave it out of WAL.
func checkNote(note, sum json.RawMessage) error {
	var text, want *string
	if note == nil {
		return nil // another table
	}
	if err := errors.Join(json.Unmarshal(note, &text), json.Unmarshal(sum, &want)); err != nil {
		return err
	}
	switch {
	case text == nil && want == nil:
		return nil
	case text == nil || want == nil || fmt.Sprintf("%x", md5.Sum([]byte(*text))) != *want:
		return fmt.Errorf("the note %.40s does not have the sum %s", note, sum)
	}
	return nil
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if r.refuses() {
		hangUp(w)
		return
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the client was killed while it was writing
	}
	if r.late(req.Header) {
		hangUp(w)
		return
	}
	if err := harness.VerifySignature(req.Header, body); err != nil {
		r.t.Error(err)
	}
	life, err := strconv.Atoi(req.Header.Get("X-Life"))
	if err != nil {
		r.t.Errorf("life: %v", err)
	}
	c, xid, err := parse(req.URL.Path[1:], body)
	if err != nil {
		r.t.Errorf("event %s: %v", body, err)
		return
	}
	n, err := strconv.Atoi(req.Header.Get("webhook-sequence"))
	if err != nil || n < 1 || len(req.Header.Get("webhook-epoch")) != len("1795212345678") {
		r.t.Errorf("sequence %q, epoch %q", req.Header.Get("webhook-sequence"), req.Header.Get("webhook-epoch"))
	}
	a := arrival{change: c, id: req.Header.Get("webhook-id"), number: number{c.Endpoint, n}, xid: xid, life: life}
	open := openLane{c.lane(), life}
	f := r.note(a, maphash.Bytes(hashSeed, body), open)
	if f.kill != nil {
		f.kill()
	}
	if f.wait > 0 {
		select {
		case <-time.After(f.wait):
		case <-req.Context().Done(): // the client is dead or out of patience; the answer goes out all the same
		}
		if f.wait < timeout {
			r.closeLane(open)
		}
	}
	if f.hangUp {
		hangUp(w)
		return
	}
	if f.status == http.StatusTooManyRequests && n%4 == 0 { // each of these holds the whole endpoint for a second
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(f.status)
}

// hangUp closes the connection without an answer.
func hangUp(w http.ResponseWriter) {
	if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
		conn.Close()
	}
}

var hashSeed = maphash.MakeSeed()

// refuses says whether the connection is closed before the request is read.
func (r *receiver) refuses() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.failures || r.rnd.IntN(100) > 0 {
		return false
	}
	r.fates["cut before it was read"]++
	return true
}

// late says whether a request is about as old as a client's patience: on a machine that stands still for seconds it may come
// after the next attempt, which is HTTP's fault and not what is tested here.
func (r *receiver) late(header http.Header) bool {
	sent, err := strconv.ParseInt(header.Get("webhook-timestamp"), 10, 64)
	if err != nil {
		r.t.Errorf("webhook-timestamp: %v", err)
	}
	if time.Since(time.Unix(sent, 0)) < timeout-time.Second {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fates["cut, came late"]++
	return true
}

// note checks an arrival against all others, decides what becomes of it, and takes note. The lane counts as in flight until
// the answer begins.
func (r *receiver) note(a arrival, body uint64, open openLane) fate {
	r.mu.Lock()
	defer r.mu.Unlock()
	if id, ok := r.ids[a.change]; ok && id != a.id {
		r.t.Errorf("one change, two ids: %+v is %s and %s", a.change, id, a.id)
	}
	known, ok := r.known[a.id]
	switch {
	case ok && known.change != a.change:
		r.t.Errorf("one id, two changes: %s is %+v and %+v", a.id, known.change, a.change)
	case ok && known.body != body:
		r.t.Errorf("one id, two bodies: %s, %+v", a.id, a.change)
	case ok && known.number != a.number:
		r.t.Errorf("one id, two numbers: %s is %+v and %+v", a.id, known.number, a.number)
	}
	if id, ok := r.numbers[a.number]; ok && id != a.id {
		r.t.Errorf("one number, two ids: %+v is %s and %s", a.number, id, a.id)
	}
	r.ids[a.change], r.numbers[a.number] = a.id, a.id
	if r.open[open]++; r.open[open] > 1 {
		r.t.Errorf("two requests of lane %+v are under way at once", open)
	}
	f := r.fate()
	if !known.accepted && f.accept {
		r.accepted++
	}
	r.known[a.id] = event{a.change, a.number, body, known.accepted || f.accept}
	a.accepted = f.accept
	r.log = append(r.log, a)
	r.fates[f.name]++
	if f.wait == 0 || f.wait >= timeout { // a client that is out of patience may come back before its context is seen to end
		r.closing(open)
	}
	return f
}

func (r *receiver) closeLane(l openLane) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closing(l)
}

func (r *receiver) closing(l openLane) {
	if r.open[l]--; r.open[l] <= 0 {
		delete(r.open, l)
	}
}

// fate is what the receiver makes of a request.
type fate struct {
	name   string
	accept bool // it takes note
	status int
	hangUp bool
	wait   time.Duration
	kill   func()
}

// fate draws one. The caller holds the mutex.
func (r *receiver) fate() fate {
	good := fate{name: "200", accept: true, status: http.StatusOK}
	if t := r.trap; t != nil {
		if t.left--; t.left <= 0 {
			r.trap = nil
			// There is nobody to answer; the wait is for the client's end of the connection to go.
			return fate{name: "client killed meanwhile", accept: t.accept, hangUp: true, wait: time.Minute, kill: t.kill}
		}
	}
	if !r.failures {
		return good
	}
	switch n := r.rnd.IntN(10_000); {
	case n < 400:
		return fate{name: "500", status: http.StatusInternalServerError}
	case n < 600:
		return fate{name: "503", status: http.StatusServiceUnavailable}
	case n < 650:
		return fate{name: "429", status: http.StatusTooManyRequests}
	case n < 850:
		return fate{name: "cut, not noted", hangUp: true}
	case n < 1050:
		return fate{name: "cut, noted", accept: true, hangUp: true}
	case n < 1250:
		good.name, good.wait = "200, slow", time.Duration(1+r.rnd.IntN(150))*time.Millisecond
	case n < 1253:
		good.name, good.wait = "200, too late", 5*timeout
	}
	return good
}

// set sets a trap: the n-th request from now kills.
func (r *receiver) set(t *trap) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trap = t
}

// heal ends the failures.
func (r *receiver) heal() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures, r.trap = false, nil
}

// acceptedEvents is how many different events were accepted.
func (r *receiver) acceptedEvents() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.accepted
}

// arrivals is the log, in the order of arrival.
func (r *receiver) arrivals() []arrival {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.log)
}
