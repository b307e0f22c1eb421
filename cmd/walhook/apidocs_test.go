package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/internal/pgtest"
)

// envUpdateDocs rewrites the answers in docs/api.md by those that the server gives.
const envUpdateDocs = "UPDATE_DOCS"

// apiServer runs walhook with a delivered, a dead and a parked event, and a gap.
type apiServer struct {
	base, token string
	log         *syncBuffer
	delivered   string // id
	owner       string // DSN of the database's owner
	refused     *httptest.Server
	db          *pgx.Conn
}

// syncBuffer is a buffer that several goroutines write to.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// startAPI starts it, with further lines of the endpoint's configuration.
func startAPI(t *testing.T, endpoint ...string) *apiServer {
	t.Helper()
	s := &apiServer{token: "3f9c1e0b5a7d48f2", log: &syncBuffer{}}
	s.refused = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if strings.Contains(string(body), "Refused") {
			w.WriteHeader(http.StatusUnprocessableEntity)
			return
		}
		fmt.Fprintln(w, "thank you")
	}))
	t.Cleanup(s.refused.Close)
	super := pgtest.Database(t)
	env := map[string]string{}
	if err := provide(t, func(name, value string) { env[name] = value }, super, pgtest.Server(t)); err != nil {
		t.Fatal(err)
	}
	address, err := freeAddress(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.base, s.owner = "http://"+address, env["OWNER_DSN"]
	config := filepath.Join(t.TempDir(), "walhook.toml")
	text := fmt.Sprintf(`
[source]
dsn  = %q
slot = %q
[http]
listen = %q
token  = %q
[endpoints.erp]
url     = "%s/hooks/odoo"
secrets = [%q]
%s
[[rules]]
name     = "partner"
model    = "res.partner"
on       = ["create"]
endpoint = "erp"
fields   = ["name"]
[[rules]]
name     = "credit"
model    = "res.partner"
on       = ["write"]
when     = 'int(after.ref) > 5'
endpoint = "erp"
fields   = ["name", "ref"]
`, env["WALHOOK_DSN"], env["SLOT"], address, s.token, s.refused.URL, env["SECRET"], strings.Join(endpoint, "\n"))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if code := run(t.Context(), []string{"setup", "--dsn", env["OWNER_DSN"], "--config", config}, s.log, s.log); code != exitOK {
		t.Fatalf("setup: %d %s", code, s.log)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"run", "--config", config, "--log-format", "json"}, s.log, s.log)
	}()
	t.Cleanup(func() {
		cancel(errInterrupted)
		if code := <-ended; code != exitOK {
			t.Errorf("run ended with %d\n%s", code, s.log)
		}
	})
	if s.db, err = pgx.Connect(t.Context(), super); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.db.Close(context.Background()) })
	s.await(t, "SELECT coalesce((SELECT active FROM pg_replication_slots WHERE slot_name = '"+env["SLOT"]+"'), false)")
	pgtest.Exec(t, env["OWNER_DSN"], `INSERT INTO res_partner (name) VALUES ('Azure Interior');
		INSERT INTO res_partner (name) VALUES ('Refused 1'), ('Refused 2'), ('Refused 3')`)
	pgtest.Exec(t, env["OWNER_DSN"], `UPDATE res_partner SET ref = 'not a number' WHERE name = 'Azure Interior'`)
	s.await(t, "SELECT (SELECT count(*) FROM walhook.dead_letter) = 3 AND (SELECT count(*) FROM walhook.parked) = 1 AND (SELECT count(*) FROM walhook.attempt WHERE result = 'delivered') = 1")
	if err := s.db.QueryRow(t.Context(), "SELECT id FROM walhook.delivery d WHERE NOT EXISTS (SELECT FROM walhook.dead_letter x WHERE x.seq = d.seq)").Scan(&s.delivered); err != nil {
		t.Fatal(err)
	}
	return s
}

// await waits until a condition holds.
func (s *apiServer) await(t *testing.T, condition string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		var holds bool
		if err := s.db.QueryRow(t.Context(), condition).Scan(&holds); err != nil {
			t.Fatal(err)
		}
		if holds {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s does not come true\n%s", condition, s.log)
		}
	}
}

// ask makes a request and returns the status and the answer.
func (s *apiServer) ask(t *testing.T, method, path, body string) (int, map[string]any) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, s.base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+s.token)
	if method == http.MethodPost {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatalf("%v\n%s", err, s.log)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	answer := map[string]any{}
	if err := json.Unmarshal(text, &answer); err != nil {
		t.Fatalf("%s %s: %v %s", method, path, err, text)
	}
	return response.StatusCode, answer
}

// The requests of docs/api.md are made in their order, and are answered by what stands there: the same fields of the same kinds.
func TestAPIDocsExamples(t *testing.T) {
	t.Parallel()
	file := filepath.Join("..", "..", "docs", "api.md")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := startAPI(t)
	example := regexp.MustCompile("(?s)```sh\n(curl [^\n]*)\n```\n\n```json\n(.*?)\n```")
	count := 0
	updated := example.ReplaceAllStringFunc(string(text), func(block string) string {
		count++
		m := example.FindStringSubmatch(block)
		line := strings.NewReplacer("'$ID'", s.delivered, "$ID", s.delivered, "$JOB", "1", "http://127.0.0.1:8070", s.base).Replace(m[1])
		method, body, path := http.MethodGet, "", line[strings.LastIndex(line, s.base)+len(s.base):]
		if d := regexp.MustCompile(`-d '(.*?)' http`).FindStringSubmatch(line); d != nil {
			method, body = http.MethodPost, d[1]
		}
		if !strings.Contains(line, `-H "Authorization: Bearer $TOKEN"`) || (method == http.MethodPost) != strings.Contains(line, `-H "Content-Type: application/json"`) {
			t.Errorf("this would be refused: %s", line)
		}
		status, answer := s.ask(t, method, strings.Trim(path, `"`), body)
		if status != http.StatusOK {
			t.Errorf("%s\n%d %v", line, status, answer)
		}
		var want map[string]any
		if err := json.Unmarshal([]byte(m[2]), &want); err != nil {
			t.Errorf("%s: %v", line, err)
		}
		if os.Getenv(envUpdateDocs) == "" {
			if len(want) == 0 {
				t.Errorf("%s: no answer is shown", line)
			}
			sameShape(t, line, want, answer)
		}
		return strings.TrimSuffix(block, m[2]+"\n```") + s.shown(t, answer) + "\n```"
	})
	if t.Failed() {
		t.Logf("to show the answers as they are now: %s=1 go test -run TestAPIDocsExamples ./cmd/walhook", envUpdateDocs)
	}
	if count < 20 {
		t.Errorf("%d examples only", count)
	}
	if os.Getenv(envUpdateDocs) != "" {
		if err := os.WriteFile(file, []byte(updated), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// Each call that changed something is in the log.
	for _, want := range []string{`"action":"pause"`, `"action":"retry"`, `"action":"discard"`, `"action":"replay"`, `"action":"retry-parked"`, `"action":"send-test"`} {
		if !regexp.MustCompile(want + `.*"remote":"127\.0\.0\.1:.*"message":"api"`).MatchString(s.log.String()) {
			t.Errorf("the log lacks %s", want)
		}
	}
	if strings.Contains(s.log.String(), s.token) {
		t.Error("the log holds the token")
	}
}

// sameShape compares kinds: what the docs show is there, and what is there the docs show, but for fields that are empty at times.
func sameShape(t *testing.T, where string, want, got any) {
	t.Helper()
	switch want := want.(type) {
	case map[string]any:
		is, ok := got.(map[string]any)
		if !ok {
			t.Errorf("%s: %v is no object", where, got)
			return
		}
		for name, value := range want {
			other, there := is[name]
			if !there {
				if !volatile[name] {
					t.Errorf("%s: no %q in the answer", where, name)
				}
				continue
			}
			sameShape(t, where+"."+name, value, other)
		}
		for name := range is {
			if _, shown := want[name]; !shown && !volatile[name] {
				t.Errorf("%s: the docs do not show %q", where, name)
			}
		}
	case []any:
		is, ok := got.([]any)
		if !ok {
			t.Errorf("%s: %v is no list", where, got)
			return
		}
		if len(want) > 0 && len(is) > 0 {
			sameShape(t, where+"[0]", want[0], is[0])
		}
	default:
		if fmt.Sprintf("%T", want) != fmt.Sprintf("%T", got) {
			t.Errorf("%s: %T in the docs, %T in the answer", where, want, got)
		}
	}
}

// volatile are fields that are there or not by the moment: times and errors of what may not have happened yet, phases of a connection.
var volatile = map[string]bool{
	"dns": true, "connect": true, "tls": true, "first_byte": true, "phases_ms": true, "oldest_pending": true, "next_attempt_at": true, "due_at": true, "ended_at": true, "next": true, "failed": true,
	"last_error_at": true, "last_error": true, "last_success_at": true, "connected_since": true, "last_message_at": true, "slot_checked_at": true, "reasons": true, "slot_alarms": true, "headroom_bytes": true,
	"last_commit_at": true, "reason": true, "status": true, "class": true, "failing_since": true, "open": true, "Content-Length": true, "asked_at": true, "received": true, "handled": true, "confirmed": true, "end": true,
	"wal_status": true, "remedy": true, "late": true, "updated_at": true, "last_match_at": true, "begun_at": true, "moved_at": true, "after": true, "waits": true, "error": true,
	"slot_inactive_since": true, // which servers tell from PostgreSQL 17 on
}

// shown is an answer as the docs show it: lists cut to their first entry, and names of this machine and this test replaced.
func (s *apiServer) shown(t *testing.T, answer any) string {
	t.Helper()
	var text strings.Builder
	e := json.NewEncoder(&text)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(cut(answer)); err != nil {
		t.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	receiver := strings.TrimPrefix(s.refused.URL, "http://")
	out := strings.NewReplacer(`"`+host+`"`, `"walhook-1"`, receiver, "127.0.0.1:9000", s.base, "http://127.0.0.1:8070").Replace(strings.TrimSpace(text.String()))
	out = regexp.MustCompile(`"slot_t\d+"`).ReplaceAllString(out, `"walhook"`)
	out = regexp.MustCompile(`"t\d+"`).ReplaceAllString(out, `"odoo"`)
	return strings.ReplaceAll(out, `port `+receiver[strings.LastIndexByte(receiver, ':')+1:], "port 9000")
}

func cut(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for name, value := range v {
			out[name] = cut(value)
		}
		return out
	case []any:
		if len(v) > 1 && fmt.Sprintf("%T", v[0]) == "map[string]interface {}" {
			v = v[:1]
		}
		out := []any{}
		for _, value := range v {
			out = append(out, cut(value))
		}
		return out
	}
	return v
}
