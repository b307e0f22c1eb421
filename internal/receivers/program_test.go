package receivers

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"walhook/delivery"
	"walhook/internal/pgtest"
)

// language says how a program of the page is run.
type language struct {
	name    string
	file    string
	needs   string // the interpreter
	prepare func(t *testing.T, dir string) (command []string, database string)
	public  func() bool // whether it can verify ed25519 here
}

func languages() []language {
	always := func() bool { return true }
	return []language{
		{"Go", "receiver.go", "go", func(t *testing.T, dir string) ([]string, string) {
			program := filepath.Join(dir, "receiver")
			build := exec.Command("go", "build", "-o", program, filepath.Join(dir, "receiver.go")) // in this module, which has the driver
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			return []string{program}, pgtest.Database(t)
		}, always},
		{"Python", "receiver.py", "python3", func(t *testing.T, dir string) ([]string, string) {
			return []string{"python3", filepath.Join(dir, "receiver.py")}, filepath.Join(dir, "inbox.db")
		}, func() bool { return exec.Command("python3", "-c", "import cryptography").Run() == nil }},
		{"Node", "receiver.js", "node", func(_ *testing.T, dir string) ([]string, string) {
			return []string{"node", filepath.Join(dir, "receiver.js")}, filepath.Join(dir, "inbox")
		}, always},
		{"PHP", "receiver.php", "php", func(t *testing.T, dir string) ([]string, string) {
			return []string{"php", "-q", "-S", "127.0.0.1:PORT", filepath.Join(dir, "receiver.php")}, "sqlite:" + filepath.Join(dir, "inbox.db")
		}, always},
	}
}

// program is a receiver that runs.
type program struct {
	url string
	mu  sync.Mutex
	out bytes.Buffer
}

func (p *program) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

// start runs a program until the end of the test.
func start(t *testing.T, l language, files map[string]string, secrets []string, plain string) *program {
	t.Helper()
	if _, err := exec.LookPath(l.needs); err != nil {
		t.Skipf("NOT TESTED: the receiver in %s, as this machine has no %s", l.name, l.needs)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, l.file), []byte(files[l.file]), 0o600); err != nil {
		t.Fatal(err)
	}
	command, database := l.prepare(t, dir)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(free.Addr().(*net.TCPAddr).Port)
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	for i := range command {
		command[i] = strings.ReplaceAll(command[i], "PORT", port)
	}
	p := &program{url: "http://127.0.0.1:" + port}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "PORT="+port, "DATABASE="+database, "WEBHOOK_SECRETS="+strings.Join(secrets, " "), "WEBHOOK_HMAC_SECRET="+plain, "PHP_CLI_SERVER_WORKERS=4")
	cmd.Stdout, cmd.Stderr = p, p
	own(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		end(cmd)
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			t.Logf("the program has printed:\n%s", p.out.String())
		}
	})
	for limit := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			_ = c.Close()
			return p
		}
		if time.Now().After(limit) {
			t.Fatalf("%s does not listen: %v", l.name, err)
		}
	}
}

// took waits until the program has printed these lines, and fails if it has printed others or one of them twice.
func (p *program) took(t *testing.T, want []string) {
	t.Helper()
	slices.Sort(want)
	var got []string
	for limit := time.Now().Add(10 * time.Second); time.Now().Before(limit); time.Sleep(10 * time.Millisecond) {
		p.mu.Lock()
		text := p.out.String()
		p.mu.Unlock()
		got = nil
		for line := range strings.Lines(text) {
			if rest, ok := strings.CutPrefix(line, "took "); ok {
				got = append(got, strings.TrimSpace(rest))
			}
		}
		if len(got) >= len(want) {
			break
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the program took\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// recorder is a receiver that keeps a request and passes it on, changed if need be.
type recorder struct {
	*httptest.Server
	to     string // "" for nobody
	change func(h http.Header, body []byte) []byte
	header http.Header
	body   []byte
}

func newRecorder(t *testing.T) *recorder {
	r := &recorder{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.header = req.Header.Clone()
		r.body, _ = io.ReadAll(req.Body) // a short one fails the test anyway
		if r.to != "" {
			w.WriteHeader(post(t, r.to, req.Header, r.change(req.Header, bytes.Clone(r.body))))
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *recorder) send(t *testing.T, c delivery.EndpointConfig, d *delivery.Delivery) *delivery.Attempt {
	t.Helper()
	return send(t, r.URL, c, d)
}

// post sends a request as it is and returns the status.
func post(t *testing.T, url string, header http.Header, body []byte) int {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		t.Error(err)
		return 0
	}
	for name, values := range header {
		req.Header[name] = values
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// send makes an attempt as walhook does.
func send(t *testing.T, url string, c delivery.EndpointConfig, d *delivery.Delivery) *delivery.Attempt {
	t.Helper()
	c.URL, c.Proxy = delivery.URL(url), delivery.ProxyOff
	sender, err := delivery.NewHTTPSender(map[string]delivery.EndpointConfig{"erp": c}, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	return sender.Send(context.Background(), d)
}

func event(id string, n int64) *delivery.Delivery {
	return &delivery.Delivery{ID: id, Endpoint: "erp", ContentType: "application/json", Epoch: 1795212345678, Sequence: n,
		Body: fmt.Appendf(nil, `{"type":"sale.order.confirmed","timestamp":"2026-11-21T10:00:01Z","data":{"id":%d,"name":"K\u00e4se & \"Wurst\" \u20ac","amount":1250.50}}`, n)}
}
