package survival

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// receiver keeps what it gets. A repeat of a request that it has answered is allowed, with the same id.
type receiver struct {
	*httptest.Server
	t *testing.T

	mu      sync.Mutex
	events  map[int64]string // record → webhook-id
	docs    map[int]int      // document → last n
	ids     map[string]string
	repeats int
	gaps    bool // some were lost on purpose: writes of a document may be missing, but not come out of order
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{t: t, events: map[int64]string{}, docs: map[int]int{}, ids: map[string]string{}}
	r.Server = httptest.NewServer(http.HandlerFunc(r.take))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) take(_ http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // walhook was ended in the middle; it sends it again
	}
	var e struct {
		Data struct {
			Rule   string `json:"rule"`
			Record struct {
				ID int64 `json:"id"`
				N  int   `json:"n"`
			} `json:"record"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &e); err != nil {
		r.t.Errorf("%v: %s", err, body)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	id, record := req.Header.Get("webhook-id"), e.Data.Record
	what := fmt.Sprintf("%s %d %d", e.Data.Rule, record.ID, record.N)
	if was, ok := r.ids[id]; ok {
		r.repeats++
		if was != what {
			r.t.Errorf("id %s was %q and is %q", id, was, what)
		}
		return
	}
	r.ids[id] = what
	if e.Data.Rule == "event" {
		if was, ok := r.events[record.ID]; ok {
			r.t.Errorf("event %d came with id %s and with id %s", record.ID, was, id)
		}
		r.events[record.ID] = id
		return
	}
	// Every write is one more than the one before: none is missing, and none comes before another.
	if want := r.docs[int(record.ID)] + 1; record.N != want && (!r.gaps || record.N < want) {
		r.t.Errorf("document %d: write %d came, %d was next", record.ID, record.N, want)
	}
	r.docs[int(record.ID)] = record.N
}

// allowGaps says that from now on something is missing.
func (r *receiver) allowGaps() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gaps = true
}

func (r *receiver) has(event int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.events[event] != ""
}

// missing names something that has not arrived yet; "" when everything has.
func (r *receiver) missing(l ledger) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id := range l.events {
		if r.events[id] == "" {
			return fmt.Sprintf("event %d", id)
		}
	}
	for id, n := range l.docs {
		if r.docs[id] < n {
			return fmt.Sprintf("write %d of document %d", n, id)
		}
	}
	return ""
}

// check complains of what was not committed.
func (r *receiver) check(l ledger) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for id := range r.events {
		if !l.events[id] {
			r.t.Errorf("event %d arrived and was not committed", id)
		}
	}
	for id, n := range r.docs {
		if l.docs[id] != n {
			r.t.Errorf("document %d: write %d arrived, %d were committed", id, n, l.docs[id])
		}
	}
	r.t.Logf("%d events, %d repeated requests", len(r.events), r.repeats)
}
