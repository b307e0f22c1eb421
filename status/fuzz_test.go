package status

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// Whatever a caller makes of a cursor, it is the place that it was made for, or refused.
func FuzzCursor(f *testing.F) {
	f.Add("deliveries", cursorOf("deliveries", 17, 4))
	f.Add("retry-parked", "MSBkZWxpdmVyaWVzIDQgMA")
	f.Add("parked", "1 parked 5 0")
	f.Fuzz(func(t *testing.T, kind, text string) {
		before, after, err := parseCursor(kind, text)
		if text == "" || err != nil {
			if before != 0 || after != 0 || (text == "") != (err == nil) {
				t.Errorf("%d %d %v", before, after, err)
			}
			return
		}
		b, a, err := parseCursor(kind, cursorOf(kind, before, after))
		if before <= 0 || after < 0 || b != before || a != after || err != nil {
			t.Errorf("%d %d becomes %d %d, %v", before, after, b, a, err)
		}
	})
}

// Whatever somebody sends to the API: a list's parameters are within bounds or refused with 400, and a body is what it says, or refused with 400 and
// words that name the place.
func FuzzForms(f *testing.F) {
	f.Add("limit=5&status=404&id=a&id=b&cursor=", `{"endpoint": "erp", "preview": true}`)
	f.Add("limit=-1", `{"endpoint": 5}`)
	f.Add("status=1e3&limit=99999999999999999999", `{"nothing": 1}`)
	f.Add("%zz&;", `{} {}`)
	f.Add("cursor=MQ", `[`)
	f.Fuzz(func(t *testing.T, query, body string) {
		c := &call{Request: &http.Request{URL: &url.URL{RawQuery: query}, Header: http.Header{}}, body: []byte(body)}
		s, err := c.selection("deliveries")
		var refusal *Refusal
		switch {
		case err == nil && (s.Limit < 1 || s.Limit > apiPageMax || s.Status < 0 || s.Status > 999 || s.Before < 0 || s.After < 0):
			t.Errorf("%q: %+v", query, s)
		case err != nil && (!errors.As(err, &refusal) || refusal.Status != http.StatusBadRequest || refusal.Message == ""):
			t.Errorf("%q: %#v", query, err)
		}
		var into struct {
			Endpoint string   `json:"endpoint"`
			IDs      []string `json:"ids"`
			Limit    int      `json:"limit"`
			Preview  bool     `json:"preview"`
		}
		if err := c.decode(&into); err != nil {
			if !errors.As(err, &refusal) || refusal.Status != http.StatusBadRequest || refusal.Code != "invalid_request" {
				t.Errorf("%q: %#v", body, err)
			}
			return
		}
		if len(strings.TrimSpace(body)) > 0 && !json.Valid([]byte(body)) {
			t.Errorf("%q was taken for JSON: %+v", body, into)
		}
	})
}
