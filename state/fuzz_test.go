package state

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzClean makes text of the network storable: PostgreSQL takes it, what was storable stays as it is, and nothing is left out without a mark.
func FuzzClean(f *testing.F) {
	for _, s := range []string{"", "plain", "\x00", "a\xffb\x00c", "é\xc3", "\xed\xa0\x80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := clean(text)
		if !utf8.ValidString(got) || strings.Contains(got, "\x00") || clean(got) != got {
			t.Errorf("%q becomes %q", text, got)
		}
		if utf8.ValidString(text) && !strings.Contains(text, "\x00") && got != text {
			t.Errorf("%q was storable and becomes %q", text, got)
		}
		if got != text && !strings.Contains(got, "\uFFFD") {
			t.Errorf("%q becomes %q without a sign of that", text, got)
		}
	})
}

// FuzzGapKey reads the key of a gap, by which lists go on: what was written is read, and what is read was written so.
func FuzzGapKey(f *testing.F) {
	f.Add(int64(1795212345678), int64(7), "erp", "1/2/erp")
	f.Add(int64(0), int64(-1), "a/b/c", "//")
	f.Fuzz(func(t *testing.T, epoch, first int64, endpoint, garbage string) {
		g := Gap{Epoch: epoch, First: first, Endpoint: endpoint}
		if got, err := parseGapKey(g.Key()); err != nil || got.Key() != g.Key() || got.Endpoint != endpoint {
			t.Errorf("%q becomes %+v, %v", g.Key(), got, err)
		}
		got, err := parseGapKey(garbage)
		if err != nil {
			return
		}
		if again, err := parseGapKey(got.Key()); err != nil || again.Key() != got.Key() {
			t.Errorf("%q is read as %q", garbage, got.Key())
		}
	})
}
