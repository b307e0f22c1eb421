package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"walhook/delivery"
	"walhook/delivery/signature"
	"walhook/internal/pgtest"
	"walhook/status"
)

// Lists and long work go to their end in pages and steps, on a server at work: nothing twice, nothing left out, while deliveries come in and what is retried dies again.
func TestAPIAtWork(t *testing.T) {
	t.Parallel()
	s := startAPI(t)
	codeOf := func(answer map[string]any) string {
		fault, _ := answer["error"].(map[string]any)
		return fmt.Sprint(fault["code"], ": ", fault["message"], " | ", fault["hint"])
	}
	for _, tt := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/api/v1/deliveries?class=timeuot", "", 400, `invalid_request: unknown class "timeuot" | did you mean "timeout"?`},
		{"GET", "/api/v1/deliveries?state=ded", "", 400, `invalid_request: unknown state "ded" | did you mean "dead"?`},
		{"GET", "/api/v1/deliveries?state=foo", "", 400, `invalid_request: unknown state "foo" | one of pending, `},
		{"GET", "/api/v1/deliveries?state=parkd", "", 400, `invalid_request: unknown state "parkd" | `},
		{"POST", "/api/v1/endpoints/erp/pause", `{"reason": 5}`, 400, "invalid_request: reason must be text | docs/api.md"},
		{"POST", "/api/v1/deliveries/retry", `{"confirm": "yes"}`, 400, "invalid_request: confirm must be true or false"},
		{"POST", "/api/v1/deliveries/retry", `{"ids": "msg_0"}`, 400, "invalid_request: ids must be a list"},
		{"POST", "/api/v1/deliveries/retry", `{"limit": "5"}`, 400, "invalid_request: limit must be a number"},
		{"POST", "/api/v1/deliveries/retry", `[]`, 400, "invalid_request: the body must be an object"},
		{"GET", "/api/v1/deliveries?since=soon", "", 400, `invalid_request: since: "soon" is no time | write how long ago`},
		{"GET", "/api/v1/parked?endpoint=erp", "", 400, "invalid_request: a parked event has no endpoint yet"},
		{"GET", "/api/v1/deliveries/msg_0", "", 404, `not_found: there is no delivery "msg_0"`},
		{"GET", "/api/v1/endpoints/epr", "", 404, `not_found: there is no endpoint "epr" | did you mean "erp"?`},
		{"POST", "/api/v1/endpoints/epr/pause", "{}", 404, "not_found"},
		{"POST", "/api/v1/endpoints/epr/send-test", "{}", 404, "not_found"},
		{"POST", "/api/v1/endpoints/epr/verify", "{}", 404, "not_found"},
		{"POST", "/api/v1/deliveries/retry", `{"ids": ["msg_0"]}`, 404, "not_found"},
		{"POST", "/api/v1/deliveries/retry", `{"confirm": true}`, 400, `invalid_request: nothing is selected | name ids, select by a filter, or say "all": true`},
		{"POST", "/api/v1/deliveries/replay", `{"endpoint": "epr", "confirm": true}`, 400, `invalid_request: there is no endpoint "epr" in the configuration | did you mean "erp"?`},
		{"POST", "/api/v1/deliveries/replay", `{"class": "timeout", "confirm": true}`, 400, "invalid_request: what was delivered has no error"},
		{"GET", "/api/v1/gaps?cursor=nonsense", "", 400, "invalid_cursor"},
		{"GET", "/api/v1/gaps?reason=lost", "", 400, `invalid_request: unknown reason "lost"`},
	} {
		code, answer := s.ask(t, tt.method, tt.path, tt.body)
		if code != tt.status || !strings.HasPrefix(codeOf(answer), tt.want) {
			t.Errorf("%s %s %s: %d %s, want %d %s", tt.method, tt.path, tt.body, code, codeOf(answer), tt.status, tt.want)
		}
		if strings.Contains(tt.path, "state=") && strings.Contains(codeOf(answer), parkedState) {
			t.Errorf("%s offers what it does not take: %s", tt.path, codeOf(answer))
		}
	}

	var seen []string
	for cursor, n := "", 0; ; n++ {
		code, answer := s.ask(t, "GET", "/api/v1/deliveries?limit=1&cursor="+cursor, "")
		if code != 200 {
			t.Fatalf("%d %v", code, answer)
		}
		for _, line := range answer["deliveries"].([]any) {
			seen = append(seen, line.(map[string]any)["record"].(string))
		}
		next, more := answer["next"].(string)
		if !more {
			break
		}
		cursor = next
		if n < 3 {
			pgtest.Exec(t, s.owner, fmt.Sprintf("INSERT INTO res_partner (name) VALUES ('Late %d')", n))
			s.await(t, fmt.Sprintf("SELECT count(*) = %d FROM walhook.delivery", 5+n))
		}
	}
	if want := []string{"5", "4", "3", "2"}; !slices.Equal(seen, want) {
		t.Errorf("records %v, want %v", seen, want)
	}

	done, steps := 0.0, 0
	for cursor := ""; ; steps++ {
		code, answer := s.ask(t, "POST", "/api/v1/deliveries/retry", fmt.Sprintf(`{"endpoint": "erp", "confirm": true, "limit": 2, "cursor": %q}`, cursor))
		if code != 200 {
			t.Fatalf("%d %v", code, answer)
		}
		done += answer["done"].(float64)
		s.await(t, "SELECT count(*) = 3 FROM walhook.dead_letter") // they have died again
		next, more := answer["next"].(string)
		if !more {
			break
		}
		cursor = next
	}
	if done != 3 || steps != 1 {
		t.Errorf("%v retried, %d further steps", done, steps)
	}

	if code, answer := s.ask(t, "POST", "/api/v1/endpoints/erp/pause", `{"reason": "lunch"}`); code != 200 || answer["changed"] != true {
		t.Errorf("%d %v", code, answer)
	}
	if code, answer := s.ask(t, "GET", "/api/v1/endpoints/erp", ""); code != 200 || answer["paused"] != true || answer["paused_reason"] != "lunch" {
		t.Errorf("%d %v", code, answer)
	}
	code, test := s.ask(t, "POST", "/api/v1/endpoints/erp/send-test", `{}`)
	if code != 200 || test["result"] != "delivered" {
		t.Errorf("a test to a paused endpoint: %d %v", code, test)
	}
	id, _ := test["id"].(string)
	code, shown := s.ask(t, "GET", "/api/v1/deliveries/"+id, "")
	if attempts, _ := shown["attempt_log"].([]any); code != 200 || shown["state"] != "test" || shown["op"] != "test" || shown["endpoint"] != "erp" || fmt.Sprint(shown["body"]) != fmt.Sprint(test["body"]) || len(attempts) != 1 {
		t.Errorf("the test is not on record: %d %v", code, shown)
	}
	if code, answer := s.ask(t, "POST", "/api/v1/endpoints/erp/resume", ""); code != 200 || answer["changed"] != true {
		t.Errorf("%d %v", code, answer)
	}
}

// A replay that ends as the queue has no room for more says how to go on: to do the same again would send what was replayed once more.
func TestAPIReplayGoesOnAfterAFullQueue(t *testing.T) {
	t.Parallel()
	s := startAPI(t, "queue = { max_rows = 1000 }")
	const events = 900
	for i := range 3 { // within the limit
		pgtest.Exec(t, s.owner, fmt.Sprintf("INSERT INTO res_partner (name) SELECT 'P' FROM generate_series(1, %d)", events/3))
		s.await(t, fmt.Sprintf("SELECT count(*) = %d FROM walhook.attempt WHERE result = 'delivered'", 1+(i+1)*events/3))
	}
	s.ask(t, "POST", "/api/v1/endpoints/erp/pause", `{}`)
	code, answer := s.ask(t, "POST", "/api/v1/deliveries/replay", `{"endpoint": "erp", "confirm": true}`)
	before, _ := answer["done_before"].(map[string]any)
	done, _ := before["done"].(float64)
	next, _ := before["next"].(string)
	if code != 409 || done < 1 || done > events || next == "" {
		t.Fatalf("%d %v", code, answer)
	}
	s.ask(t, "POST", "/api/v1/endpoints/erp/resume", `{}`)
	s.await(t, fmt.Sprintf("SELECT count(*) = %d FROM walhook.attempt WHERE result = 'delivered'", 1+events+int(done)))
	code, answer = s.ask(t, "POST", "/api/v1/deliveries/replay", fmt.Sprintf(`{"endpoint": "erp", "confirm": true, "cursor": %q}`, next))
	if code != 200 || answer["done"] != 1+events-done {
		t.Errorf("%d %v, want the other %v of %d", code, answer, 1+events-done, 1+events)
	}
	s.await(t, "SELECT NOT EXISTS (SELECT FROM walhook.delivery GROUP BY id HAVING count(*) > 2)")
}

// However an endpoint authenticates itself, and whatever the receiver echoes, what is shown of it holds no secret.
func TestEndpointsShowNoSecret(t *testing.T) {
	t.Parallel()
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("WWW-Authenticate", "Bearer "+r.Header.Get("Authorization")+" "+r.Header.Get("X-Own")+" "+r.URL.RawQuery)
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(w, "%v %s %s", r.Header, r.URL, body)
	}))
	defer echo.Close()
	secret, err := signature.ParseSecret("whsec_dG9wc2VjcmV0LXNpZ25pbmcta2V5")
	if err != nil {
		t.Fatal(err)
	}
	hidden := func(name string) delivery.Sensitive { return delivery.NewSensitive("topsecret-" + name) }
	c := delivery.EndpointConfig{
		URL: delivery.URL(echo.URL + "/hook?key=topsecret-query"), Headers: map[string]delivery.Sensitive{"X-Own": hidden("header")}, Query: map[string]delivery.Sensitive{"q": hidden("parameter")},
		Auth: delivery.Auth{Type: delivery.AuthBearer, Token: hidden("token")}, Secrets: []signature.Secret{secret},
	}
	shown := []any{settingsOf(c)}
	for _, send := range []bool{false, true} {
		p := delivery.Prober{Version: "test", Send: send}.Probe(t.Context(), "erp", c)
		if p.OK() {
			t.Errorf("%+v", p)
		}
		shown = append(shown, p, status.LineOfAttempt(p.Attempt, delivery.Dead, ""))
	}
	c.Proxy = "http://user:topsecret-proxy@127.0.0.1:1"
	shown = append(shown, settingsOf(c), delivery.Prober{Version: "test"}.Probe(context.Background(), "erp", c))
	text, err := json.Marshal(shown)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"topsecret", "dG9wc2VjcmV0"} {
		if strings.Contains(string(text), secret) {
			t.Errorf("%s is shown: %s", secret, text)
		}
	}
}
