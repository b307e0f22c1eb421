package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"walhook/state"
)

// Limits of the configuration reach the state: of each endpoint, and in all.
func TestLimits(t *testing.T) {
	text := "[source]\ndsn = \"postgres://x@localhost/x\"\n[endpoints.plain]\nurl = \"https://example.com/\"\n" +
		"[endpoints.small]\nurl = \"https://example.com/\"\nqueue = { max_rows = 2000, max_bytes = \"32MiB\", max_age = \"2d\", overflow = \"drop-oldest\" }\n"
	plain := state.QueueLimit{Limit: state.Limit{Rows: 5_000_000, Bytes: 10 << 30}}
	small := state.QueueLimit{Limit: state.Limit{Rows: 2000, Bytes: 32 << 20}, DropOldest: true}
	for section, want := range map[string]state.Limit{
		"": {Rows: 20_000_000, Bytes: 20 << 30},
		"[state]\nmax_rows = 7000\nmax_bytes = \"1GiB\"\n": {Rows: 7000, Bytes: 1 << 30},
	} {
		cfg, err := parseConfig("w.toml", []byte(text+section), variables())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(state.Limits{Total: want, Endpoints: map[string]state.QueueLimit{"plain": plain, "small": small}}, cfg.state("").Limits); diff != "" {
			t.Errorf("%q (-want +got):\n%s", section, diff)
		}
	}
	for wrong, want := range map[string]string{
		"queue = { max_rows = 10 }":             "w.toml:5:22: 10 is too few",
		"queue = { max_bytes = \"1KiB\" }":      "w.toml:5:23: 1KiB is too little",
		"queue = { overflow = \"dropoldest\" }": "w.toml:5:22: \"dropoldest\" is none of its values",
		"queue = { max_age = \"soon\" }":        "is no duration",
		"queue = { maxrows = 10 }":              "did you mean \"max_rows\"?",
	} {
		head, _, _ := strings.Cut(text, "[endpoints.small]")
		_, err := parseConfig("w.toml", []byte(head+wrong+"\n"), variables())
		if err == nil || !strings.Contains(explained(err), want) {
			t.Errorf("%s: %v, want %s", wrong, err, want)
		}
	}
	_, err := parseConfig("w.toml", []byte(text+"[state]\nmax_rows = -1\n"), variables())
	if err == nil || !strings.Contains(err.Error(), "a limit cannot be negative") {
		t.Errorf("a negative limit: %v", err)
	}
}

// explained is the text of errors with their hints.
func explained(err error) (text string) {
	for _, e := range flatten(err) {
		text += e.Error() + "\n" + hintOf(e) + "\n"
	}
	return text
}
