package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDocumentedFindings compares the table in docs/operations.md with the program's own.
func TestDocumentedFindings(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n## Findings of `walhook check`\n")
	if !ok {
		t.Fatal("docs/operations.md has no section on findings")
	}
	var got, want []string
	for line := range strings.Lines(section) {
		if strings.HasPrefix(line, "| `") {
			got = append(got, strings.TrimSpace(line))
		}
	}
	for _, k := range findingKinds() {
		want = append(want, fmt.Sprintf("| `%s` | %s | %s | %s |", k.Code, k.Severity, k.Meaning, k.Remedy))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("findings (-program +docs):\n%s\nthe whole table:\n%s", diff, strings.Join(want, "\n"))
	}
}
