package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A private key that every user of the machine can read earns a warning, as every other file with a secret does.
func TestReadableKeyFileIsWarnedOf(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key.pem")
	for mode, want := range map[os.FileMode]bool{0o600: false, 0o640: false, 0o644: true} {
		if err := os.WriteFile(file, []byte("x"), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		cfg, err := parseConfig("w.toml", []byte(whole("[endpoints.e]\nurl = \"https://e/\"\ntls = { cert_file = \""+file+"\", key_file = \""+file+"\" }\n")), variables())
		if err != nil {
			t.Fatal(err)
		}
		k := &checker{cfg: cfg, now: time.Now, report: &report{}}
		k.certificates()
		warned := false
		for _, f := range k.report.Findings {
			warned = warned || f.Code == "configuration" && strings.Contains(f.Message, "endpoints.e.tls.key_file") && f.Hint == "chmod o-r "+file
		}
		if warned != want {
			t.Errorf("mode %o: %+v", mode, k.report.Findings)
		}
	}
}
