package state

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// What is written of headers is read back as encoding/json would have it.
func TestHeadersAreJSON(t *testing.T) {
	var names []string
	text := func(h map[string][]string) (text string) {
		var b []byte
		b, names = appendHeaders(nil, h, names)
		return string(b)
	}
	check := func(h map[string][]string) string {
		text := text(h)
		standard, err := json.Marshal(h)
		if err != nil {
			return err.Error()
		}
		var got, want map[string][]string
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			return text + ": " + err.Error()
		}
		if err := json.Unmarshal(standard, &want); err != nil {
			return err.Error()
		}
		return cmp.Diff(want, got, cmpopts.EquateEmpty()) // null, of a nil list, is as good as []
	}
	if got := text(map[string][]string{"B": {"2"}, "A": {"x", "\"\\\n"}}); got != `{"A":["x","\"\\\u000a"],"B":["2"]}` {
		t.Errorf("got %s", got)
	}
	for _, h := range []map[string][]string{
		nil, {}, {"Empty": nil}, {"": {""}}, {"X\x00": {"a\xffb\x00", "<&>\u2028\u00e9\U0001F600\ufffd"}}, {"Large": {strings.Repeat("\"", 100_000)}},
	} {
		if diff := check(h); diff != "" {
			t.Errorf("%q: %s", h, diff)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
		// Names that differ only in invalid bytes become one.
		h := rapid.MapOf(rapid.StringMatching(`[A-Z][a-z\-"]{0,8}`), rapid.SliceOf(value)).Draw(t, "headers")
		if diff := check(h); diff != "" {
			t.Fatal(diff)
		}
	})
}
