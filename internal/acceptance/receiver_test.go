package acceptance

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"walhook/internal/harness"
)

// received is one request that a receiver accepted.
type received struct {
	Path string
	ID   string
	At   time.Time
	Type string `json:"type"`
	Data struct {
		ID      json.Number                `json:"id"`
		Model   string                     `json:"model"`
		Op      string                     `json:"op"`
		Rule    string                     `json:"rule"`
		Record  map[string]json.RawMessage `json:"record"`
		Omitted []string                   `json:"omitted"`
		Changes map[string]struct {
			Before json.RawMessage `json:"before"`
			After  json.RawMessage `json:"after"`
		} `json:"changes"`
		Lines   json.RawMessage `json:"lines"`
		Cascade json.RawMessage `json:"cascade"`
	} `json:"data"`
}

// receiver keeps what it gets, and checks signatures.
type receiver struct {
	*httptest.Server
	mu   sync.Mutex
	got  []received
	slow time.Duration // of paths that end in /slow
}

const secret = harness.Secret

func newReceiver(t *testing.T) *receiver {
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			t.Errorf("read request: %v", err)
			return
		}
		if err := harness.VerifySignature(req.Header, body); err != nil {
			t.Error(err)
		}
		e := received{Path: req.URL.Path, ID: req.Header.Get("webhook-id"), At: time.Now()}
		decoder := json.NewDecoder(strings.NewReader(string(body)))
		decoder.UseNumber()
		if err := decoder.Decode(&e); err != nil {
			t.Errorf("body %s: %v", body, err)
		}
		if strings.HasSuffix(req.URL.Path, "/slow") {
			time.Sleep(r.slow)
		}
		r.mu.Lock()
		r.got = append(r.got, e)
		r.mu.Unlock()
	}))
	t.Cleanup(r.Close)
	return r
}

// all returns what was received so far.
func (r *receiver) all() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]received(nil), r.got...)
}

func (r *receiver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.got)
}
