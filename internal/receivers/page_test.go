package receivers

import (
	"bufio"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/delivery"
	"walhook/delivery/signature"
	"walhook/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var fence = regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$")

// named finds the name of a block's file in its first line.
var named = regexp.MustCompile(`^(?:<\?php )?(?://|#|--) (\w+\.\w+)\n`)

// page returns the blocks of docs/receivers.md that have a name, and those of HTTP in order.
func page(t *testing.T) (files map[string]string, examples []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "receivers.md"))
	if err != nil {
		t.Fatal(err)
	}
	files = map[string]string{}
	for _, m := range fence.FindAllStringSubmatch(string(text), -1) {
		if name := named.FindStringSubmatch(m[2]); name != nil {
			files[name[1]] = m[2]
		} else if m[1] == "http" {
			examples = append(examples, m[2])
		}
	}
	for _, name := range []string{"receiver.go", "receiver.py", "receiver.js", "receiver.php", "inbox.sql", "take.sql", "newest.sql", "gaps.sql"} {
		if files[name] == "" {
			t.Fatalf("docs/receivers.md has no block %s", name)
		}
	}
	return files, examples
}

// The example of a request is a genuine one, and looks like what the sender makes.
func TestExampleRequest(t *testing.T) {
	_, examples := page(t)
	if len(examples) != 2 {
		t.Fatalf("%d examples of requests", len(examples))
	}
	req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(strings.ReplaceAll(examples[0], "\n", "\r\n"))))
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(strings.TrimSuffix(examples[0], "\n"), "\n\n")
	secret, err := signature.ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1795255202, 0)
	if err := signature.Verify([]signature.Secret{secret}, req.Header, []byte(body), at, 0); err != nil {
		t.Errorf("%v: it should be %s", err, signature.Sign([]signature.Secret{secret}, req.Header.Get("Webhook-Id"), at, []byte(body)))
	}
	d := event("msg_1f0c6d3f2b9a4e5d8c7b6a5948372615", 4711)
	d.Epoch = 1795212345678
	r := newRecorder(t)
	r.send(t, delivery.EndpointConfig{Secrets: []signature.Secret{secret}}, d)
	for name := range r.header {
		if _, shown := req.Header[name]; !shown && name != "Content-Length" && name != "Accept-Encoding" {
			t.Errorf("the example lacks the header %s", name)
		}
	}
	for name := range req.Header {
		if r.header.Get(name) == "" {
			t.Errorf("the sender sets no header %s", name)
		}
	}
}

// The statements do on PostgreSQL what the page says of them.
func TestStatements(t *testing.T) {
	files, _ := page(t)
	dsn := pgtest.Database(t)
	conn := pgtest.Connect(t, dsn)
	ctx := context.Background()
	exec := func(sql string, args ...any) int64 {
		t.Helper()
		tag, err := conn.Exec(ctx, sql, args...)
		if err != nil {
			t.Fatalf("%v: %s", err, sql)
		}
		return tag.RowsAffected()
	}
	exec(files["inbox.sql"])
	take := strings.TrimPrefix(files["take.sql"], "-- take.sql\n")
	const epoch = 1795212345678
	for i, n := range []int64{3, 4, 7, 8, 1} {
		id := string(rune('a' + i))
		if exec(take, id, int64(epoch), n) != 1 || exec(take, id, int64(epoch), n) != 0 {
			t.Errorf("%s is not taken once", id)
		}
	}
	exec(take, "of the next epoch", int64(epoch+1), int64(2))
	exec(take, "without a number", int64(0), int64(0))
	rows, err := conn.Query(ctx, files["gaps.sql"])
	if err != nil {
		t.Fatal(err)
	}
	type gap struct{ Epoch, First, Last int64 }
	gaps, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (g gap, err error) {
		var seen time.Time
		return g, row.Scan(&g.Epoch, &g.First, &g.Last, &seen)
	})
	if want := []gap{{epoch, 2, 2}, {epoch, 5, 6}, {epoch + 1, 1, 1}}; err != nil || len(gaps) != len(want) || gaps[0] != want[0] || gaps[1] != want[1] || gaps[2] != want[2] {
		t.Errorf("gaps %v, want %v; %v", gaps, want, err)
	}

	exec("CREATE TABLE orders (id int PRIMARY KEY, name text, amount numeric, epoch bigint, sequence bigint)")
	for _, step := range []struct {
		amount          int
		epoch, sequence int64
		want            int
	}{{1, 1, 10, 1}, {2, 1, 12, 2}, {3, 1, 11, 2}, {3, 1, 12, 2}, {4, 2, 1, 4}, {5, 1, 99, 4}} {
		exec(strings.TrimPrefix(files["newest.sql"], "-- newest.sql\n"), 42, "S00042", step.amount, step.epoch, step.sequence)
		var got int
		if err := conn.QueryRow(ctx, "SELECT amount::int FROM orders WHERE id = 42").Scan(&got); err != nil || got != step.want {
			t.Errorf("after %+v the amount is %d, %v", step, got, err)
		}
	}
}
