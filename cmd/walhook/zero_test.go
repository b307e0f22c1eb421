package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A value that would pass for an absent one is refused with its place, unless it says something.
func TestZeroValues(t *testing.T) {
	const endpoint = "[source]\ndsn = \"postgres://u@h/d\"\n[endpoints.e]\nurl = \"https://e/\"\n"
	const leave = "leave the key out for the default"
	for text, want := range map[string]struct{ says, hint string }{
		"hmac = {}":                                  {"w.toml:5:8: hmac is empty: it needs secrets", "secrets_file"},
		"[endpoints.e.hmac]":                         {"w.toml:5:14: hmac is empty: it needs secrets", "secrets_file"},
		"hmac = { header = \"X-Sum\" }":              {"w.toml:5:1: secrets: nothing can be signed without a secret", "secrets_file"},
		"hmac = { secrets = [] }":                    {"w.toml:5:20: secrets is an empty list", leave},
		"secrets = []":                               {"w.toml:5:11: secrets is an empty list\n    5 | secrets =\n      |           ^", leave},
		"auth = {}":                                  {"w.toml:5:8: auth is empty: it needs type", "leave auth out"},
		"auth = { type = \"\" }":                     {"w.toml:5:17: type is empty", leave},
		"rate = {}":                                  {"w.toml:5:8: rate is empty: it needs limit", "leave rate out"},
		"rate = { limit = 0 }":                       {"w.toml:5:18: 0 is out of range\n    5 | rate = { limit = 0 }\n      |                  ^", leave},
		"rate = { limit = 0.0 }":                     {"w.toml:5:18: 0.0 is out of range", leave},
		"rate = { limit = 5, per = \"0s\" }":         {"w.toml:5:27: 0s is out of range", leave},
		"rate = { limit = 5, burst = 0 }":            {"w.toml:5:29: 0 is out of range", leave},
		"concurrency = 0":                            {"w.toml:5:15: 0 is out of range", leave},
		"timeout = \"0s\"":                           {"w.toml:5:11: 0s is out of range", leave},
		"max_body = 0":                               {"w.toml:5:12: 0 is out of range", leave},
		"max_response = \"0\"":                       {"w.toml:5:16: 0 is out of range", leave},
		"retry = { schedule = [] }":                  {"w.toml:5:22: schedule is an empty list", leave},
		"retry = { initial = \"0s\" }":               {"w.toml:5:21: 0s is out of range", leave},
		"retry.initial = \"0s\"":                     {"w.toml:5:17: 0s is out of range", leave},
		"disable = { after = \"0s\" }":               {"w.toml:5:21: 0s is out of range", leave},
		"batch = {}":                                 {"w.toml:5:9: batch is empty: it needs size", "leave batch out"},
		"batch = { size = 0 }":                       {"w.toml:5:18: 0 is out of range", leave},
		"queue = { max_age = \"0s\" }":               {"w.toml:5:21: 0s is out of range", leave},
		"ordering = \"${NOTHING}\"":                  {"w.toml:5:12: ordering is empty", leave},
		"[state]\nattempt_retention = \"0s\"":        {"w.toml:6:21: 0s is out of range", leave},
		"[state]\nmax_rows = 1":                      {"w.toml:6:12: 1 is too little", "use 1000 or more"},
		"[state]\nmax_rows = 0":                      {"w.toml:6:12: 0 is out of range", leave},
		"[state]\nmax_bytes = \"1KiB\"":              {"w.toml:6:13: 1KiB is too little", "use 16MiB or more"},
		"[state]\nretention_size = \"1\"":            {"w.toml:6:18: 1 is too little", "use 16MiB or more"},
		"[alerts]\nendpoint = \"e\"\nafter = \"0s\"": {"w.toml:7:9: 0s is out of range", leave},
		"[source.guard]":                             {"w.toml:5:9: guard is empty: it needs max_retained", "leave guard out"},
	} {
		_, err := parseConfig("w.toml", []byte(endpoint+text+"\n"), variables("NOTHING", ""))
		if err == nil {
			t.Errorf("%s: no complaint", text)
			continue
		}
		got := flatten(err)[0]
		if !strings.HasPrefix(got.Error(), want.says) || !strings.Contains(hintOf(got), want.hint) || exitCode(err) != exitUsage {
			t.Errorf("%s: %s\nhint: %s\nwant %s; %s", text, got, hintOf(got), want.says, want.hint)
		}
	}
	for _, text := range []string{
		"breaker = { failures = 0, jitter = 0 }", "disable = { failures = 0 }", "batch = { size = 2, wait = \"0s\" }", "retry = { jitter = 0.0 }", "retry = { schedule = [\"0s\", \"5m\"] }",
		"hmac = { secrets = [\"0123456789abcdef0123456789abcdef\"], prefix = \"\" }", "headers = { X-Empty = \"\" }", "headers = {}", "query = { a = \"\" }", "http2 = false", "queue = {}", "[http]", "[alerts]",
		"[source.alarm]\nretained = \"0\"\nlag = \"0s\"", "max_body = \"1GiB\"", "max_body = 1_048_576", "max_response = \"512KiB\"", "max_response = 1024", "queue = { max_bytes = 33554432 }",
	} {
		if _, err := parseConfig("w.toml", []byte(endpoint+text+"\n"), variables()); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	cfg, err := parseConfig("w.toml", []byte(endpoint+"max_body = \"1GiB\"\nmax_response = 2_048\n"), variables())
	if err != nil {
		t.Fatal(err)
	}
	if e := cfg.Endpoints["e"]; e.MaxBody != 1<<30 || e.MaxResponse != 2048 {
		t.Errorf("sizes %d and %d", e.MaxBody, e.MaxResponse)
	}
}

// A certificate file is looked for beside the configuration, and its absence has a line.
func TestCertificateFiles(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "w.toml")
	text := whole("[endpoints.e]\nurl = \"https://e/\"\ntls = { ca_file = \"ca.pem\" }\n")
	_, err := parseConfig(file, []byte(text), variables())
	if err == nil || !strings.HasPrefix(err.Error(), file+":3:19: the file "+filepath.Join(dir, "ca.pem")+" does not exist") || !strings.Contains(hintOf(flatten(err)[0]), "create the file") {
		t.Errorf("%v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := parseConfig(file, []byte(text), variables())
	if err != nil || cfg.Endpoints["e"].TLS.CAFile != filepath.Join(dir, "ca.pem") {
		t.Errorf("%v: %+v", err, cfg)
	}
}

// Lines that cannot hold a secret are shown, also inline tables; those whose keys are the user's are not.
func TestShownLines(t *testing.T) {
	const endpoint = "[source]\ndsn = \"postgres://u@h/d\"\n[endpoints.e]\nurl = \"https://e/\"\n"
	for text, shown := range map[string]string{
		"breaker = { pause = \"1ms\" }":                         "    5 | breaker = { pause = \"1ms\" }\n      |                     ^~~~~",
		"queue = { overflow = \"dropoldest\" }":                 "    5 | queue = { overflow = \"dropoldest\" }\n      |                      ^~~~~~~~~~~~",
		"[state]\nlease = \"1ms\"":                              "    6 | lease = \"1ms\"\n      |         ^~~~~",
		"[alerts]\nendpoint = \"e\"\nafter = \"1ms\"":           "    7 | after = \"1ms\"\n      |         ^~~~~",
		"auth = { type = \"basic\", password = \"topsecret\" }": "",
		"[endpoints.e.headers]\nlease = 12345":                  "    6 | lease =\n",
	} {
		_, err := parseConfig("w.toml", []byte(endpoint+text+"\n"), variables())
		if err == nil || !strings.Contains(err.Error(), shown) || strings.Contains(err.Error(), "topsecret") || strings.Contains(err.Error(), "= 12345") {
			t.Errorf("%s:\n%v\nwant\n%s", text, err, shown)
		}
	}
}
