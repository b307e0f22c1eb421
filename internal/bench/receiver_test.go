package bench

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"walhook/internal/harness"
)

// signedEvery is how many requests there are to one whose signature is verified.
const signedEvery = 97

// arrival is an accepted request.
type arrival struct {
	At      int64 // when it was read whole, ns since 1970
	Made    int64 // when its transaction was committed, by the body
	Record  int64
	Version int64
	id      uint64 // hash of the webhook-id
}

// sample is a request whose signature is looked at later.
type sample struct {
	header http.Header
	body   []byte
}

// route is one path of the receiver. Paths say how it answers: /ok/NAME at once, /slow/MILLISECONDS/NAME later, /flaky/NAME every other
// request with 500.
type route struct {
	pause time.Duration
	flaky bool

	requests atomic.Int64
	paused   atomic.Int64 // nanoseconds, over all requests
	mu       sync.Mutex
	arrivals []arrival
	samples  []sample
}

// envReceiver chooses how the receiver speaks HTTP: by hand, which costs as little as a receiver can, or "net/http", as receivers usually do, which costs
// several times as much. It shares the machine with what is measured, so that rates depend on it, and their ratio.
const envReceiver = "BENCH_RECEIVER"

// sink is a receiver.
type sink struct {
	seed   maphash.Seed
	mu     sync.RWMutex
	routes map[string]*route
}

// beReceiver is the role: it prints its address and serves.
func beReceiver() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := &sink{seed: maphash.MakeSeed(), routes: map[string]*route{}}
	go func() {
		if os.Getenv(envReceiver) == "net/http" {
			_ = http.Serve(l, s) // until the end of the process
			return
		}
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go s.serve(c)
		}
	}()
	fmt.Println(l.Addr())
	return orphaned()
}

func (s *sink) route(path []byte) *route {
	s.mu.RLock()
	r := s.routes[string(path)]
	s.mu.RUnlock()
	if r != nil {
		return r
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r = s.routes[string(path)]; r == nil {
		r = &route{flaky: bytes.HasPrefix(path, []byte("/flaky/"))}
		if rest, ok := strings.CutPrefix(string(path), "/slow/"); ok {
			ms, _, _ := strings.Cut(rest, "/")
			n, _ := strconv.Atoi(ms) // else at once
			r.pause = time.Duration(n) * time.Millisecond
		}
		s.routes[string(path)] = r
	}
	return r
}

var (
	answerOK     = []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nok\n")
	answerFailed = []byte("HTTP/1.1 500 Internal Server Error\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\noops\n")
)

// serve answers the requests of one connection.
func (s *sink) serve(c net.Conn) {
	defer c.Close()
	br := bufio.NewReaderSize(c, 16<<10)
	var head, body []byte
	for {
		head = head[:0]
		var ends []int // of the lines in head
		for {
			line, err := br.ReadSlice('\n')
			if err != nil {
				return
			}
			line = bytes.TrimRight(line, "\r\n")
			if len(line) == 0 {
				break
			}
			head = append(head, line...)
			ends = append(ends, len(head))
		}
		if len(ends) == 0 {
			return
		}
		request := bytes.Fields(head[:ends[0]])
		if len(request) < 2 {
			return
		}
		field := func(name string) []byte {
			for i := range ends[1:] {
				line := head[ends[i]:ends[i+1]]
				if len(line) > len(name) && line[len(name)] == ':' && bytes.EqualFold(line[:len(name)], []byte(name)) {
					return bytes.TrimSpace(line[len(name)+1:])
				}
			}
			return nil
		}
		length, _ := strconv.Atoi(string(field("content-length"))) // none is 0
		if cap(body) < length {
			body = make([]byte, length)
		}
		body = body[:length]
		if _, err := io.ReadFull(br, body); err != nil {
			return
		}
		path := request[1]
		if bytes.HasPrefix(path, []byte("/control/")) {
			text, err := s.control(string(path))
			if err == nil {
				_, err = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
			}
			if err != nil {
				return
			}
			continue
		}
		answer := answerOK
		if !s.take(path, field, body) {
			answer = answerFailed
		}
		if _, err := c.Write(answer); err != nil {
			return
		}
	}
}

// ServeHTTP does the same with net/http.
func (s *sink) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if strings.HasPrefix(req.URL.Path, "/control/") {
		text, err := s.control(req.URL.Path)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = w.Write(text) // whoever asked may have gone
		return
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // cut short by its sender
	}
	w.Header()["Date"] = nil
	w.Header().Set("Content-Type", "text/plain")
	if !s.take([]byte(req.URL.Path), func(name string) []byte { return []byte(req.Header.Get(name)) }, body) {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	_, _ = io.WriteString(w, "ok\n") // as above
}

// take notes a request that was read whole, and says whether it is accepted, when it is time to answer.
func (s *sink) take(path []byte, field func(name string) []byte, body []byte) bool {
	now := time.Now()
	r := s.route(path)
	n := r.requests.Add(1)
	if r.pause > 0 {
		pause(now.Add(r.pause))
		r.paused.Add(int64(time.Since(now)))
	}
	if r.flaky && n%2 == 1 {
		return false
	}
	a := arrival{At: now.UnixNano(), Made: madeAt(body), Record: number(body, `"id":`), Version: number(body, `"version":`), id: maphash.Bytes(s.seed, field("webhook-id"))}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.arrivals = append(r.arrivals, a)
	if n%signedEvery == 1 {
		h := http.Header{}
		for _, name := range []string{"webhook-id", "webhook-timestamp", "webhook-signature"} {
			h.Set(name, string(field(name)))
		}
		r.samples = append(r.samples, sample{h, bytes.Clone(body)})
	}
	return true
}

// number is the first whole number behind a key; -1 when there is none.
func number(body []byte, key string) int64 {
	for {
		i := bytes.Index(body, []byte(key))
		if i < 0 {
			return -1
		}
		body = body[i+len(key):]
		n := 0
		for n < len(body) && '0' <= body[n] && body[n] <= '9' {
			n++
		}
		if v, err := strconv.ParseInt(string(body[:n]), 10, 64); err == nil {
			return v
		}
	}
}

// madeAt is the body's timestamp; 0 when there is none.
func madeAt(body []byte) int64 {
	const key = `"timestamp":"`
	i := bytes.Index(body, []byte(key))
	if i < 0 {
		return 0
	}
	body = body[i+len(key):]
	t, err := time.Parse(time.RFC3339Nano, string(body[:max(bytes.IndexByte(body, '"'), 0)]))
	if err != nil {
		return 0
	}
	return t.UnixNano()
}

// control answers the questions of the tests: /control/reset, /control/count/PATH, /control/summary/PATH, /control/arrivals/PATH.
func (s *sink) control(path string) ([]byte, error) {
	verb, rest, _ := strings.Cut(strings.TrimPrefix(path, "/control/"), "/")
	var answer any
	switch verb {
	case "reset":
		s.mu.Lock()
		s.routes = map[string]*route{}
		s.mu.Unlock()
	case "count":
		r := s.route([]byte("/" + rest))
		r.mu.Lock()
		answer = len(r.arrivals)
		r.mu.Unlock()
	case "summary":
		answer = s.route([]byte("/" + rest)).summary()
	case "arrivals":
		r := s.route([]byte("/" + rest))
		r.mu.Lock()
		defer r.mu.Unlock()
		answer = r.arrivals
	}
	return json.Marshal(answer)
}

// summary is what a path has seen.
type summary struct {
	PID         int
	Requests    int64
	Accepted    int
	Distinct    int     // by webhook-id
	Misplaced   int     // not the version after the last one of the record
	First, Last int64   // ns since 1970
	Paused      float64 // milliseconds that a request was made to wait, on average: a timer on a busy machine is late
	Signed      int     // signatures verified
	BadSigned   string
}

func (r *route) summary() summary {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := summary{PID: os.Getpid(), Requests: r.requests.Load(), Accepted: len(r.arrivals)}
	s.Paused = float64(r.paused.Load()) / 1e6 / float64(max(s.Requests, 1))
	ids, versions := make(map[uint64]struct{}, len(r.arrivals)), map[int64]int64{}
	for _, a := range r.arrivals {
		if s.First == 0 || a.At < s.First {
			s.First = a.At
		}
		s.Last = max(s.Last, a.At)
		if _, again := ids[a.id]; again {
			continue
		}
		ids[a.id] = struct{}{}
		if versions[a.Record]++; versions[a.Record] != a.Version {
			s.Misplaced++
			versions[a.Record] = a.Version
		}
	}
	s.Distinct = len(ids)
	for _, x := range r.samples {
		if err := harness.VerifySignature(x.header, x.body); err != nil {
			s.BadSigned = err.Error()
			continue
		}
		s.Signed++
	}
	return s
}
