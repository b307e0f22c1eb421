package storm

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// receiverFaults are the ways in which a receiver fails.
var receiverFaults = func() (all []Fault) {
	for _, m := range moods {
		all = append(all, m)
	}
	return all
}()

// remedy is what a person has to do afterwards.
type remedy int

const (
	byItself  remedy = iota
	retryDead        // some deliveries are dead letters
	resume           // the endpoint is disabled or left alone for hours
)

// mood makes some requests of an endpoint fail in one way.
type mood struct {
	name   string
	remedy remedy
	fate   func(rnd *rand.Rand) Fate
}

func (m mood) Name() string { return "receiver: " + m.name }

func (m mood) Weight() int { return 3 }

// answers answers with one of some statuses, and takes no note.
func answers(some ...int) func(*rand.Rand) Fate {
	return func(rnd *rand.Rand) Fate { return Fate{Status: oneOf(rnd, some...)} }
}

// retryAfter answers with a Retry-After.
func retryAfter(value func(*rand.Rand) string) func(*rand.Rand) Fate {
	return func(rnd *rand.Rand) Fate {
		return Fate{Status: oneOf(rnd, 408, 425, 429, 503, 500), Header: http.Header{"Retry-After": {value(rnd)}}}
	}
}

// rawAnswer writes bytes in place of an answer. With noted the receiver has taken note of the request.
func rawAnswer(noted bool, texts ...string) func(*rand.Rand) Fate {
	return func(rnd *rand.Rand) Fate {
		text := oneOf(rnd, texts...)
		return Fate{Accept: noted, Answer: func(w http.ResponseWriter, _ *http.Request) {
			if conn := hijack(w); conn != nil {
				_, _ = io.WriteString(conn, text) // the client may have had enough
				conn.Close()
			}
		}}
	}
}

func hijack(w http.ResponseWriter) net.Conn {
	h, ok := w.(http.Hijacker)
	if !ok {
		return nil
	}
	conn, _, err := h.Hijack()
	if err != nil {
		return nil
	}
	return conn
}

// resets ends the connection as a machine does that has crashed.
func resets(noted bool) func(*rand.Rand) Fate {
	return func(*rand.Rand) Fate {
		return Fate{Accept: noted, Answer: func(w http.ResponseWriter, _ *http.Request) {
			if conn := hijack(w); conn != nil {
				if tcp, ok := conn.(interface{ SetLinger(int) error }); ok {
					_ = tcp.SetLinger(0)
				}
				conn.Close()
			}
		}}
	}
}

// answerBody writes an answer slowly, or a long one.
func answerBody(noted bool, status int, chunk string, chunks int, pause time.Duration) func(*rand.Rand) Fate {
	return func(*rand.Rand) Fate {
		return Fate{Accept: noted, Answer: func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(status)
			for range chunks {
				if _, err := io.WriteString(w, chunk); err != nil {
					return
				}
				if pause > 0 {
					_ = http.NewResponseController(w).Flush() // the next write finds out
					select {
					case <-r.Context().Done():
						return
					case <-time.After(pause):
					}
				}
			}
		}}
	}
}

var moods = []mood{
	{"500, 502, 504, 599", byItself, answers(500, 502, 504, 599)},
	{"503", byItself, answers(503)},
	{"408, 425, 429", byItself, answers(408, 425, 429)},
	{"a status that HTTP does not define", byItself, rawAnswer(false, "HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 600 Odd\r\nContent-Length: 0\r\n\r\n")},
	{"400, 404, 422", retryDead, answers(400, 404, 405, 413, 422, 451)},
	{"401, 403, 407", retryDead, answers(401, 403, 407)},
	{"410", resume, answers(410)},
	{"redirect", retryDead, func(rnd *rand.Rand) Fate {
		return Fate{Status: oneOf(rnd, 301, 302, 303, 307, 308), Header: http.Header{"Location": {oneOf(rnd, "/elsewhere", "http://127.0.0.1:1/", "", "::", "https://user:secret@example.com/x?token=1")}}}
	}},
	{"Retry-After in seconds", byItself, retryAfter(func(rnd *rand.Rand) string { return oneOf(rnd, "0", "1", "2") })},
	{"Retry-After as a date", byItself, retryAfter(func(rnd *rand.Rand) string {
		return time.Now().Add(time.Duration(rnd.IntN(5)-2) * time.Second).UTC().Format(http.TimeFormat)
	})},
	{"Retry-After that is none", byItself, retryAfter(func(rnd *rand.Rand) string {
		return oneOf(rnd, "soon", "-5", "1.5", "1e3", "Fri, 32 Jan 2026 03:00:00 GMT", "0x10", "١")
	})},
	{"Retry-After that is huge", resume, retryAfter(func(rnd *rand.Rand) string {
		return oneOf(rnd, "86400", "999999999999999999999999", "Fri, 02 Jan 2099 03:00:00 GMT")
	})},
	{"hangs up", byItself, func(rnd *rand.Rand) Fate { return Fate{HangUp: true} }},
	{"hangs up, noted", byItself, func(rnd *rand.Rand) Fate { return Fate{Accept: true, HangUp: true} }},
	{"reset", byItself, resets(false)},
	{"reset, noted", byItself, resets(true)},
	{"hangs past the timeout", byItself, func(rnd *rand.Rand) Fate { return Fate{Wait: time.Minute} }},
	{"hangs past the timeout, noted", byItself, func(rnd *rand.Rand) Fate { return Fate{Accept: true, Wait: time.Minute} }},
	{"slow answer", byItself, func(rnd *rand.Rand) Fate {
		return Fate{Accept: true, Wait: time.Duration(rnd.IntN(1500)) * time.Millisecond}
	}},
	{"body that takes for ever", byItself, answerBody(true, 200, "x", 600, 100*time.Millisecond)},
	{"huge body", byItself, answerBody(true, 200, strings.Repeat("walhook ", 8<<10), 64, 0)}, // 4 MiB
	{"huge body of an error", byItself, answerBody(false, 500, strings.Repeat("\xff\x00<b>", 8<<10), 64, 0)},
	{"answer cut short", byItself, rawAnswer(true, "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nonly this", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nonly")},
	{"wrong content-length", byItself, rawAnswer(true, "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabcde")},
	{"not HTTP", byItself, rawAnswer(false, "SSH-2.0-OpenSSH_9.6\r\n", "\x00\x01\x02\x03\x04", "220 mail ESMTP\r\n", "<html>hello</html>", "HTTP/1.1 two hundred\r\n\r\n")},
	{"odd headers", byItself, rawAnswer(true, "HTTP/1.1 200 OK\r\nX-Odd: \xff\xfe\r\nContent-Length: 2\r\n\r\n\xff\x00", "HTTP/1.1 500 \xc3\x28\r\nContent-Length: 3\r\n\r\n\x00\xff\xfe",
		"HTTP/1.1 200 OK\r\nX-Long: "+strings.Repeat("a", 100<<10)+"\r\n\r\n", "HTTP/1.1 200 OK\r\nbroken header\r\n\r\n")},
	{"answer packed as it says it is not", byItself, rawAnswer(true, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nplain")},
	{"answer before its time", byItself, rawAnswer(true, strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 3)+"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")},
}

// Inject has some requests fail, and waits until they have. What is dead then is sent again, as it would be by a person.
func (m mood) Inject(ctx context.Context, w *World, rnd *rand.Rand) (int, error) {
	endpoints := []string{"first", "second", "third", "batch"}
	rnd.Shuffle(len(endpoints), func(i, j int) { endpoints[i], endpoints[j] = endpoints[j], endpoints[i] })
	endpoints = endpoints[:1+rnd.IntN(3)]
	want := int32(1 + rnd.IntN(20))
	var failed atomic.Int32
	fails := func(rnd *rand.Rand, _ string, _ http.Header) Fate {
		if failed.Load() >= want {
			return Fate{Name: "200", Accept: true}
		}
		failed.Add(1)
		f := m.fate(rnd)
		f.Name = m.name
		return f
	}
	set := func(mood Mood) {
		for _, endpoint := range endpoints {
			w.Receivers.SetMood(endpoint, mood)
		}
	}
	set(fails)
	defer set(nil)
	for end := time.Now().Add(2500 * time.Millisecond); failed.Load() < want && time.Now().Before(end) && ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
	}
	set(nil)
	n := int(failed.Load())
	if n == 0 || m.remedy == byItself {
		return n, nil
	}
	// The outcomes are committed a moment after the answers; what comes later is for the end.
	const stands = `SELECT EXISTS (SELECT FROM walhook.dead_letter WHERE endpoint = ANY ($1)) OR EXISTS (SELECT FROM walhook.endpoint WHERE name = ANY ($1) AND (disabled_reason IS NOT NULL OR open_until > now() + interval '1 minute'))`
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		var is bool
		if err := w.State.Query(ctx, &is, stands, endpoints); err != nil {
			return n, err
		}
		if is {
			break
		}
	}
	w.repairOnce("dead letters", w.revive)
	for _, endpoint := range endpoints {
		if err := w.reviveEndpoint(ctx, endpoint, m.remedy == resume); err != nil {
			return n, err
		}
	}
	return n, nil
}

// revive sends what is dead, or has been put off for hours, again until there is nothing left of that.
func (w *World) revive(ctx context.Context) error {
	return w.Await(ctx, "no dead letter and no disabled endpoint", func(ctx context.Context) (bool, error) {
		var names []string
		const all = `SELECT coalesce(array_agg(DISTINCT name), '{}') FROM (
			SELECT endpoint AS name FROM walhook.dead_letter UNION ALL
			SELECT name FROM walhook.endpoint WHERE disabled_reason IS NOT NULL OR open_until > now() + interval '1 minute' UNION ALL
			SELECT endpoint FROM walhook.lane WHERE due > now() + interval '10 minutes' AND due < 'infinity') e`
		if err := w.State.Query(ctx, &names, all); err != nil {
			return false, err
		}
		for _, name := range names {
			if err := w.reviveEndpoint(ctx, name, true); err != nil {
				return false, err
			}
		}
		return len(names) == 0, nil
	})
}

func (w *World) reviveEndpoint(ctx context.Context, endpoint string, resume bool) error {
	commands := [][]string{{"deliveries", "retry", "--endpoint", endpoint, "--yes"}}
	if resume {
		commands = append(commands, []string{"endpoints", "resume", endpoint}, []string{"deliveries", "retry", "--retrying", "--pending", "--endpoint", endpoint, "--yes"})
	}
	for _, command := range commands {
		if out, err := w.Walhook(ctx, command...); err != nil {
			return fmt.Errorf("walhook %s: %w\n%s", strings.Join(command, " "), err, out)
		}
	}
	return nil
}

// repairOnce registers a repair that is needed once, however often something was broken.
func (w *World) repairOnce(what string, do func(context.Context) error) {
	w.mu.Lock()
	known := w.once[what]
	if w.once == nil {
		w.once = map[string]bool{}
	}
	w.once[what] = true
	w.mu.Unlock()
	if !known {
		w.Repair(what, do)
	}
}
