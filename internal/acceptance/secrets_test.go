package acceptance

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"walhook/internal/harness"
	"walhook/internal/pgtest"
)

// canary is a secret that is easy to find: its core of letters and digits survives every way to escape a text.
type canary string

func (c canary) core() string { return string(c)[:len("Cnry0000000000Q9zX41")] }

// odd appends what is escaped in addresses, forms, JSON, HTML and headers.
func (c canary) odd() string { return string(c) + `/+=&<">\ ~x` }

// forms are what the core looks like, also inside of base64 and in a dump of bytes.
func (c canary) forms() map[string]string {
	core := c.core()
	all := map[string]string{"raw": core, "hex": hex.EncodeToString([]byte(core))}
	for pad := range 3 {
		text := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", pad) + core))
		all[fmt.Sprintf("base64 after %d", pad)] = text[4 : len(text)-4] // what does not depend on its neighbours
	}
	return all
}

// parrot is a receiver, token endpoint and proxy that repeats whatever it hears, in every spelling and place.
type parrot struct {
	*httptest.Server
	tokens []canary // that it gives out
	mu     sync.Mutex
	heard  strings.Builder
}

func newParrot(t *testing.T, tokens []canary) *parrot {
	p := &parrot{tokens: tokens}
	p.Server = httptest.NewServer(http.HandlerFunc(p.serve))
	t.Cleanup(p.Close)
	return p
}

// said is everything that a request says, word by word.
func said(r *http.Request, body []byte) []string {
	words := []string{r.URL.String(), r.URL.Path, string(body)}
	for _, values := range r.URL.Query() {
		words = append(words, values...)
	}
	for _, values := range r.Header {
		words = append(words, values...)
	}
	for _, name := range []string{"Authorization", "Proxy-Authorization"} {
		scheme, credentials, _ := strings.Cut(r.Header.Get(name), " ")
		words = append(words, credentials)
		if plain, err := base64.StdEncoding.DecodeString(credentials); err == nil && scheme == "Basic" {
			user, password, _ := strings.Cut(string(plain), ":")
			words = append(words, user, password)
			decoded, err := url.QueryUnescape(password)
			if err == nil && r.Header.Get("Content-Type") == "application/x-www-form-urlencoded" { // of a token endpoint, as RFC 6749 wants it
				words = append(words, decoded)
			}
		}
	}
	if form, err := url.ParseQuery(string(body)); err == nil && strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		for _, values := range form {
			words = append(words, values...)
		}
	}
	return slices.DeleteFunc(words, func(w string) bool { return w == "" })
}

func (p *parrot) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	words := said(r, body)
	p.mu.Lock()
	p.heard.WriteString(strings.Join(words, "\n") + "\n")
	p.mu.Unlock()
	credentials := url.QueryEscape(strings.Join(words, " "))
	var all strings.Builder
	for _, word := range words {
		quoted, _ := json.Marshal(word)
		fmt.Fprintf(&all, "%s %s %s %s %s %q %s %s\n", word, url.QueryEscape(word), url.PathEscape(word), html.EscapeString(word), quoted, word, strings.ReplaceAll(word, "/", `\/`),
			strings.NewReplacer("%2F", "%2f", "%2B", "%2b", "%3D", "%3d", "%3C", "%3c", "%3E", "%3e", "%5C", "%5c").Replace(url.QueryEscape(word)))
		fmt.Fprintln(&all, base64.StdEncoding.EncodeToString([]byte(word)), base64.RawURLEncoding.EncodeToString([]byte("x"+word)))
	}
	line := strings.NewReplacer("\r", " ", "\n", " ").Replace(all.String())
	behaviour, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if r.Method == http.MethodConnect {
		behaviour = "connect"
	}
	switch behaviour {
	case "garbage", "connect":
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		start := "NOISE "
		if behaviour == "connect" {
			start = "HTTP/1.1 407 "
		}
		_, _ = io.WriteString(c, start+line[:min(len(line), 3000)]+"\r\n\r\n")
		_ = c.Close()
		return
	case "hang":
		w.WriteHeader(200)
		_, _ = io.WriteString(w, all.String())
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return
	case "grant":
		i := 0
		if strings.Contains(r.URL.Path, "other") {
			i = 1
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": p.tokens[i].odd(), "expires_in": 600})
		return
	case "deny":
		w.WriteHeader(400)
		_ = json.NewEncoder(w).Encode(map[string]any{"error": line[:min(len(line), 150)], "error_description": words, "access_token": p.tokens[0].odd()})
		return
	}
	w.Header().Set("X-Echo", line)
	w.Header().Set("Set-Cookie", "session="+credentials)
	w.Header().Set("Location", "https://elsewhere.example.com/"+url.PathEscape(words[len(words)-1])+"?all="+credentials)
	w.Header().Set("Retry-After", "after "+words[len(words)-1])
	w.WriteHeader(map[string]int{"ok": 200, "moved": 302, "wrong": 400, "unauthorized": 401, "broken": 500}[behaviour])
	_, _ = io.WriteString(w, all.String())
}

// E2: whatever receivers, token endpoints and proxies answer and whatever goes wrong, no log line, no command, no page and no row of
// the state holds a secret of the configuration, or a token that was given out for one.
func TestNoSecretLeaks(t *testing.T) {
	t.Parallel()
	var all []canary
	next := func() canary {
		c := canary(fmt.Sprintf("Cnry%010dQ9zX41", 7_000_000_000+len(all)*1_234_567))
		all = append(all, c)
		return c
	}
	p := newParrot(t, []canary{next(), next()})
	files := t.TempDir()
	var config strings.Builder
	sent := map[canary]bool{p.tokens[0]: true, p.tokens[1]: true} // those that receivers hear
	toml := func(s string) string { quoted, _ := json.Marshal(s); return string(quoted) }
	heard := func() canary { c := next(); sent[c] = true; return c }
	httpToken, sourceDSN, stateDSN, ownerDSN := next(), next(), next(), next()

	var names []string
	host := strings.TrimPrefix(p.URL, "http://")
	endpoint := func(name, address, rest string) {
		names = append(names, name)
		fmt.Fprintf(&config, "[endpoints.%s]\nurl = %s\ntimeout = \"1s\"\nretry = { schedule = [\"0s\", \"0s\"] }\n%s\n", name, toml(address), rest)
	}
	kinds := map[string]func() (query, rest string){
		"query":  func() (string, string) { return "", "query = { a = " + toml(heard().odd()) + " }" },
		"header": func() (string, string) { return "", "headers = { X-Tenant = " + toml(heard().odd()) + " }" },
		"basic": func() (string, string) {
			return "", `auth = { type = "basic", username = "u", password = ` + toml(heard().odd()) + " }"
		},
		"bearer": func() (string, string) { return "", `auth = { type = "bearer", token = ` + toml(heard().odd()) + " }" },
		"key":    func() (string, string) { return "", `auth = { type = "api_key", value = ` + toml(heard().odd()) + " }" },
		"querykey": func() (string, string) {
			return "", `auth = { type = "api_key", in = "query", name = "k", value = ` + toml(heard().odd()) + " }"
		},
		"urlquery": func() (string, string) { return "?t=" + url.QueryEscape(heard().odd()), "" },
		"signature": func() (string, string) {
			return "", "secrets = [" + toml(next().odd()) + ", " + toml("whsec_"+base64.StdEncoding.EncodeToString([]byte(next()))) + "]"
		},
		"asymmetric": func() (string, string) {
			return "", "secrets = [" + toml("whsk_"+base64.StdEncoding.EncodeToString([]byte(next()+"0123456789ab"))) + "]"
		},
		"hmac": func() (string, string) {
			return "", `hmac = { secrets = [` + toml(next().odd()) + "], prefix = \"sha256=\" }"
		},
		"oauth1": func() (string, string) {
			return "", fmt.Sprintf(`auth = { type = "oauth1", consumer_key = %s, consumer_secret = %s, token = %s, token_secret = %s, realm = "1" }`,
				toml(heard().odd()), toml(next().odd()), toml(heard().odd()), toml(next().odd()))
		},
		"oauth2": func() (string, string) {
			return "", fmt.Sprintf(`auth = { type = "oauth2", token_url = %s, client_id = "i", client_secret = %s }`, toml(p.URL+"/grant?k="+url.QueryEscape(heard().odd())), toml(heard().odd()))
		},
		"file": func() (string, string) {
			c := heard()
			path := filepath.Join(files, fmt.Sprint("token", len(all)))
			if err := os.WriteFile(path, []byte(c.odd()+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			return "", `auth = { type = "bearer", token_file = ` + toml(path) + " }"
		},
	}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		for _, behaviour := range []string{"ok", "moved", "unauthorized", "broken", "garbage"} {
			query, rest := kinds[kind]()
			endpoint(kind+"-"+behaviour, p.URL+"/"+behaviour+query, rest)
		}
	}
	path := func() string { return heard().core() + "abc" }
	endpoint("user", fmt.Sprintf("http://u:%s@%s/wrong/%s", url.PathEscape(heard().odd()), host, path()), "")
	endpoint("hang", p.URL+"/hang/"+path(), `auth = { type = "bearer", token = `+toml(heard().odd())+" }")
	endpoint("refused", "http://u:"+next().core()+"@127.0.0.1:1/"+next().core()+"?q="+next().core(), "")
	endpoint("dns", "http://u:"+next().core()+"@no-such-host.invalid/"+next().core()+"?q="+next().core(), "")
	endpoint("notls", strings.Replace(p.URL, "http:", "https:", 1)+"/"+next().core(), `auth = { type = "bearer", token = `+toml(next().odd())+" }")
	endpoint("proxy", "http://erp.invalid/broken/"+path(), `proxy = `+toml("http://u:"+heard().core()+"@"+host))
	endpoint("connect", "https://erp.invalid/"+next().core(), `proxy = `+toml("http://u:"+heard().core()+"@"+host))
	endpoint("noproxy", "http://erp.invalid/"+next().core(), `proxy = `+toml("http://u:"+next().core()+"@127.0.0.1:1"))
	oauth2 := func(address, more string) string {
		return fmt.Sprintf(`auth = { type = "oauth2", token_url = %s, client_id = "i", %s }`, toml(address), more)
	}
	endpoint("token-other", p.URL+"/ok", oauth2(p.URL+"/grant/other", `style = "body", client_secret = `+toml(heard().odd())+`, params = { extra = `+toml(heard().odd())+" }"))
	endpoint("token-deny", p.URL+"/ok", oauth2(p.URL+"/deny/"+path(), `client_secret = `+toml(heard().odd())))
	endpoint("token-denybody", p.URL+"/ok", oauth2(p.URL+"/deny", `style = "body", client_secret = `+toml(heard().odd())+`, params = { extra = `+toml(heard().odd())+" }"))
	endpoint("token-garbage", p.URL+"/ok", oauth2(p.URL+"/garbage?q="+heard().core(), `client_secret = `+toml(heard().odd())))
	endpoint("token-hang", p.URL+"/ok", oauth2(p.URL+"/hang", `client_secret = `+toml(heard().odd())))
	endpoint("token-dns", p.URL+"/ok", oauth2("http://no-such-host.invalid/"+next().core()+"?q="+next().core(), `client_secret = `+toml(next().odd())))
	fmt.Fprintf(&config, "[[rules]]\nname = \"r\"\ntable = \"thing\"\non = [\"create\"]\nendpoints = [%s]\n", `"`+strings.Join(names, `", "`)+`"`)

	withPassword := func(dsn string, password canary) string {
		u, err := url.Parse(dsn)
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword(u.User.Username(), password.odd())
		return u.String()
	}
	super := pgtest.Database(t)
	pgtest.Exec(t, super, "CREATE TABLE thing (id serial PRIMARY KEY, name text)")
	state := ""
	h := harness.Install(t, super, harness.Options{
		Dial: func(dsn string) string { state = withPassword(dsn, stateDSN); return withPassword(dsn, sourceDSN) }, Config: "token = " + toml(httpToken.odd()) + "\n[state]\ndsn = {{state}}\n" + config.String(),
	})
	text, err := os.ReadFile(h.Config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(h.Config, []byte(strings.Replace(string(text), "{{state}}", toml(state), 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	var output strings.Builder
	command := func(args ...string) string {
		out, err := h.Walhook(args...)
		fmt.Fprintf(&output, "$ walhook %s (%v)\n%s\n", args[0], err, out)
		return out
	}
	if out := command("setup", "--dsn", withPassword(h.Owner, ownerDSN)); strings.Contains(out, "error:") {
		t.Fatal(out)
	}
	run := h.Command("run", "--log-level", "trace", "--log-format", "json")
	var log strings.Builder
	run.Stdout, run.Stderr = &log, &log
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	in := &installation{t: t, super: h.Super, owner: h.Owner, role: h.Role, config: h.Config, listen: h.Listen}
	process := &process{cmd: run, log: &log}
	t.Cleanup(func() { in.stop(process) })
	conn := pgtest.Connect(t, super)
	in.wait("the stream", 30*time.Second, func() bool {
		out, err := h.Walhook("status", "--json")
		return err == nil && strings.Contains(out, `"ready": true`)
	}, process)
	if _, err := conn.Exec(t.Context(), "INSERT INTO thing (name) VALUES ('a')"); err != nil {
		t.Fatal(err)
	}
	in.wait("every endpoint's deliveries to end", 60*time.Second, func() bool {
		var ended int
		if err := conn.QueryRow(context.Background(), "SELECT count(*) FROM walhook.delivery d WHERE NOT EXISTS (SELECT FROM walhook.queue q WHERE q.seq = d.seq)").Scan(&ended); err != nil {
			t.Fatal(err)
		}
		return ended == len(names)
	}, process)

	for _, args := range [][]string{
		{"status"}, {"status", "--json"}, {"endpoints", "list"}, {"endpoints", "list", "--json"}, {"endpoints", "keys"}, {"deliveries", "list"}, {"deliveries", "list", "--json"},
		{"check"}, {"check", "--json"}, {"rules", "list", "--json"}, {"setup", "--dry-run"}, {"reload"}, {"nonsense"}, {"endpoints", "keys", "--nonsense"}, {"endpoints", "verify", "user"}, {"endpoints", "verify", "--json"},
		{"endpoints", "verify", "--url", "http://u:" + next().core() + "@127.0.0.1:1/" + next().core() + "?q=" + next().core()},
	} {
		command(args...)
	}
	var ids []string
	rows, err := conn.Query(t.Context(), "SELECT id FROM walhook.delivery")
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	for _, name := range []string{"user", "proxy", "connect", "querykey-moved", "urlquery-garbage", "oauth1-moved", "oauth2-moved", "token-denybody"} {
		command("endpoints", "send-test", name)
	}
	command("endpoints", "show", "user")
	command("endpoints", "show", "oauth2-broken", "--json")
	for i, id := range ids {
		if args := []string{"deliveries", "show", id}; i%16 == 0 {
			command(args...)
		} else if i%16 == 1 {
			command(append(args, "--json")...)
		}
	}
	for _, page := range []string{"/", "/status", "/metrics", "/readyz", "/healthz", "/api/v1/status", "/api/v1/deliveries", "/api/v1/deliveries/" + ids[0], "/api/v1/endpoints",
		"/api/v1/endpoints/" + names[0], "/api/v1/rules", "/api/v1/processes", "/api/v1/gaps"} {
		for _, token := range []string{httpToken.odd(), "wrong"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+h.Listen+page, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+token)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if page == "/status" && token != "wrong" && resp.StatusCode != 200 {
				t.Errorf("/status: %s", resp.Status)
			}
			fmt.Fprintf(&output, "GET %s: %v %s\n", page, resp.Header, body)
		}
	}
	in.stop(process)
	for _, broken := range []string{"port = 70000\n", "sslmode=nonsense"} { // what cannot be used is not quoted either
		dsn := strings.Replace(h.Role, "postgres://", "postgres://x", 1) + "&" + broken
		out, err := exec.Command(binary(t), "check", "--config", writeConfig(t, "[source]\ndsn = "+toml(dsn)+"\n")).CombinedOutput()
		fmt.Fprintf(&output, "%v %s", err, out)
	}

	masks := 0
	for place, text := range map[string]string{"the log": log.String(), "the output of commands and pages": output.String(), "the state": dump(t, super)} {
		masks += strings.Count(text, "***")
		for _, c := range all {
			for form, spelt := range c.forms() {
				if i := strings.Index(text, spelt); i >= 0 {
					t.Errorf("%s holds %s (%s): ...%s...", place, c, form, text[max(0, i-200):min(len(text), i+80)])
				}
			}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range sent {
		if !strings.Contains(p.heard.String(), c.core()) {
			t.Errorf("no receiver has heard %s: nothing was tested with it", c)
		}
	}
	if masks < len(names) {
		t.Errorf("%d secrets were masked: the answers were not kept?", masks)
	}
}

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "walhook.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// dump is all rows of the state schema as text; bytes are in hex there, and once more as they are.
func dump(t *testing.T, super string) string {
	t.Helper()
	conn := pgtest.Connect(t, super)
	var tables []string
	if err := conn.QueryRow(t.Context(), "SELECT array_agg(c.oid::regclass::text) FROM pg_class c WHERE c.relnamespace = 'walhook'::regnamespace AND c.relkind IN ('r', 'p')").Scan(&tables); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, table := range tables {
		rows, err := conn.Query(t.Context(), "SELECT t::text FROM "+table+" t")
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var row string
			if err := rows.Scan(&row); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, "%s: %s\n", table, row)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
	if !strings.Contains(b.String(), "walhook.attempt") {
		t.Fatal("no attempts in the state")
	}
	return b.String()
}
