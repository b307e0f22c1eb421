package delivery

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"walhook/cdc"
)

// answering makes a transport whose every connection reads a request and gets the same bytes for an answer.
func answering(transport *http.Transport, answer []byte) {
	transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			defer theirs.Close()
			if req, err := http.ReadRequest(bufio.NewReader(theirs)); err == nil {
				_, _ = io.Copy(io.Discard, req.Body) // as far as it comes
				_, _ = theirs.Write(answer)
			}
		}()
		return ours, nil
	}
}

const fuzzedSecret = "fuzzed-secret-0123456789"

// FuzzAnswer has a receiver answer with any bytes: the attempt ends in one of the ways that docs/delivery.md lists, keeps no more of the answer than it
// may, shows no secret that the receiver has sent back, and agrees with net/http about the status.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.0 500 Oops\r\n\r\nbody until the end", "HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort", "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 410 Gone\r\n\r\n",
		"HTTP/1.1 302 Found\r\nLocation: http://user:" + fuzzedSecret + "@x/\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "HTTP/1.1 000 \r\n\r\n",
		"HTTP/1.1 200 OK\r\nX-Echo: Bearer " + fuzzedSecret + "\r\nContent-Length: 24\r\n\r\n" + fuzzedSecret, "SSH-2.0\r\n", "", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b", "HTTP/1.1 999 ?\r\nContent-Length: -1\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		c := EndpointConfig{URL: "http://receiver.test/hook", Timeout: Duration(20 * time.Second), MaxResponse: 64,
			Auth: Auth{Type: AuthBearer, Token: NewSensitive(fuzzedSecret)}}
		s, err := NewHTTPSender(map[string]EndpointConfig{"erp": c}, "test")
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		answering(s.endpoints["erp"].reused, answer)
		answering(s.endpoints["erp"].fresh, answer)
		d := testDelivery("erp")
		a := s.Send(t.Context(), d)
		full := c.WithDefaults()
		o := decide(&full, d, a, time.Now())
		if len(a.ResponseBody) > 2*int(c.MaxResponse) {
			t.Errorf("%d bytes are kept", len(a.ResponseBody))
		}
		for name, values := range a.ResponseHeaders {
			if strings.Contains(strings.Join(values, "\n"), fuzzedSecret) {
				t.Errorf("header %s shows the secret: %q", name, values)
			}
		}
		if bytes.Contains(a.ResponseBody, []byte(fuzzedSecret)) || strings.Contains(a.Error, fuzzedSecret) || strings.Contains(o.Reason, fuzzedSecret) {
			t.Errorf("the secret is shown: %q, %q, %q", a.ResponseBody, a.Error, o.Reason)
		}
		if a.Status == 0 && (a.Class == "" || a.Error == "" || o.Result != Retry) {
			t.Errorf("no status, class %q, %q, %s", a.Class, a.Error, o.Result)
		}
		if (o.Result == Delivered) != (a.Status/100 == 2 && a.Error == "") || (o.Disable != "") != (a.Status == http.StatusGone) {
			t.Errorf("status %d, %q: %s, %q", a.Status, a.Error, o.Result, o.Disable)
		}
		if o.Result != Delivered && o.Reason == "" {
			t.Errorf("status %d: %s for no reason", a.Status, o.Result)
		}
		if a.Status != 0 && a.Status != http.StatusSwitchingProtocols {
			if want := finalStatus(answer); want != 0 && want != a.Status {
				t.Errorf("status %d, want %d", a.Status, want)
			}
		}
	})
}

// finalStatus is what net/http reads, behind answers that are no last word; 0 for what it does not.
func finalStatus(answer []byte) int {
	for in := bufio.NewReader(bytes.NewReader(answer)); ; {
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			return 0
		}
		if resp.StatusCode/100 != 1 || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp.StatusCode
		}
	}
}

// FuzzTokenAnswer has a token endpoint answer with any status and body: there is a token that a header can carry, for a time within bounds, or an error that shows
// neither the client's secret nor a token.
func FuzzTokenAnswer(f *testing.F) {
	f.Add(200, `{"access_token":"abc","token_type":"Bearer","expires_in":3600}`, "")
	f.Add(200, `{"access_token":"a\u0000b","expires_in":"1e300"}`, "")
	f.Add(200, `{"access_token":"abc","token_type":"mac"}`, "")
	f.Add(400, `{"error":"invalid_client","error_description":"no `+fuzzedSecret+`","access_token":"`+fuzzedSecret+`x"}`, "soon")
	f.Add(429, ``, "99999999999999")
	f.Add(200, `{"access_token":"x","expires_in":-1}`, "")
	f.Add(200, `{"access_token":"x","expires_in":"NaN"}`, "")
	f.Fuzz(func(t *testing.T, status int, body, wait string) {
		if status < 200 || status > 599 || status == 204 || status == 304 || strings.ContainsAny(wait, "\r\n") {
			return
		}
		var answer bytes.Buffer
		resp := http.Response{StatusCode: status, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{"Retry-After": {wait}}, ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body))}
		if err := resp.Write(&answer); err != nil {
			return
		}
		c := (&EndpointConfig{URL: "http://receiver.test/", Auth: Auth{Type: AuthOAuth2, TokenURL: "http://tokens.test/", ClientID: "walhook", ClientSecret: NewSensitive(fuzzedSecret)}}).WithDefaults()
		transport := &http.Transport{}
		answering(transport, answer.Bytes())
		s, err := newTokenSource(&c, newRedactor(&c), transport)
		if err != nil {
			t.Fatal(err)
		}
		defer s.close()
		began := time.Now()
		got, err := s.token(t.Context())
		var failed *TokenError
		switch {
		case err == nil:
			if !isHeaderValue(got.value) || got.value == "" || status/100 != 2 {
				t.Errorf("status %d gave the token %q", status, got.value)
			}
			if life := got.expires.Sub(began); life <= 0 || life > maxTokenLife+time.Minute || got.renew.After(got.expires) {
				t.Errorf("%s: a token for %s, to be replaced at %s", body, life, got.renew)
			}
		case !errors.As(err, &failed):
			t.Errorf("%#v", err)
		case strings.Contains(err.Error(), fuzzedSecret) || failed.wait < 0 || failed.wait > MaxRetryAfter || len(err.Error()) > 1000:
			t.Errorf("%d bytes, wait %s: %s", len(err.Error()), failed.wait, err)
		}
	})
}

// FuzzMaskURL shows addresses: the name of a user, a password, values of the query and what looks like a token are not in it.
func FuzzMaskURL(f *testing.F) {
	f.Add("hooks/v1", "q", "frag")
	f.Add("a b%2f/;x", "", "")
	f.Fuzz(func(t *testing.T, path, name, fragment string) {
		u := url.URL{Scheme: "https", Host: "example.com", Path: "/" + path + "/T0123456789" + fuzzedSecret, User: url.UserPassword("u"+fuzzedSecret, "p"+fuzzedSecret), RawQuery: url.Values{name: {fuzzedSecret}}.Encode() + "&" + fuzzedSecret, Fragment: fragment + fuzzedSecret}
		if shown := maskURL(u.String()); strings.Contains(shown, fuzzedSecret) || !strings.HasPrefix(shown, "https://") || !strings.Contains(shown, "@example.com/") {
			t.Errorf("%s is shown as %s", &u, shown)
		}
		_ = maskURL(path) // garbage is masked whole, or shown without what it has not
	})
}

// FuzzSize reads sizes, and what they are shown as.
func FuzzSize(f *testing.F) {
	for _, s := range []string{"512KiB", "16 MiB", "1_048_576", "-1", "4294967296GiB", "0x10", ""} {
		f.Add(s, int64(1<<20))
	}
	f.Fuzz(func(t *testing.T, text string, n int64) {
		var size, again Size
		if size.UnmarshalText([]byte(text)) == nil {
			if err := again.UnmarshalText([]byte(size.String())); err != nil || again != size || size < 0 {
				t.Errorf("%q is %d, shown as %q, and read as %d, %v", text, size, size, again, err)
			}
		}
		if n &= 1<<62 - 1; again.UnmarshalText([]byte(strconv.FormatInt(n, 10))) != nil || again != Size(n) {
			t.Errorf("%d is read as %d", n, again)
		}
	})
}

// FuzzRecorded reads any bytes as a run of recorded changes. What was recorded comes back as it was; what is damaged is an error.
func FuzzRecorded(f *testing.F) {
	rel := &cdc.Relation{Schema: "public", Name: "t", Key: []int{0}, Columns: []cdc.Column{{Name: "id", Key: true, Type: cdc.BuiltinType(20)}, {Name: "name", Type: cdc.BuiltinType(25)}}}
	record := func(t testing.TB, texts []string) *Recorded {
		var r recording
		for i, text := range texts {
			row, ok := cdc.NewRow(rel, cdc.ImageFull, cdc.AppendTuple(nil, []cdc.Value{{State: cdc.Present, Text: strconv.AppendInt(nil, int64(i), 10)}, {State: cdc.Present, Text: []byte(text)}}))
			if !ok {
				t.Fatal("no row")
			}
			tx := &cdc.Tx{XID: uint32(i/2 + 1), CommitLSN: cdc.LSN(i/2 + 100), CommitTime: time.UnixMicro(int64(i)).UTC()}
			if _, err := r.add(tx, &cdc.Change{Op: cdc.Create, Rel: rel, Key: strconv.Itoa(i), After: row}); err != nil {
				t.Fatal(err)
			}
		}
		got, err := r.take()
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	f.Add(record(f, []string{"a", "b", "", "d"}).Data, "x\x00y")
	f.Add([]byte{recordedForm, 0xff}, "")
	f.Fuzz(func(t *testing.T, data []byte, texts string) {
		_ = (&Recorded{Data: data}).Each(func(RecordedChange) error { return nil })
		want := strings.Split(texts, "\x00")
		var got []string
		last := cdc.LSN(0)
		if err := record(t, want).Each(func(c RecordedChange) error {
			if c.CommitLSN < last || c.Change.Op != cdc.Create || c.Change.Key != strconv.Itoa(len(got)) {
				t.Errorf("%+v", c)
			}
			last = c.CommitLSN
			got = append(got, string(c.Change.After.Value(1).Text))
			return nil
		}); err != nil || !slices.Equal(got, want) {
			t.Fatalf("%q is recorded and comes back as %q, %v", want, got, err)
		}
	})
}
