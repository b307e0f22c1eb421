package status

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// TestDocumentedMetrics finds metrics that the docs name and the program does not have.
func TestDocumentedMetrics(t *testing.T) {
	all := make(chan *prometheus.Desc, 1000)
	newMetrics(Info{}, func() Document { return Document{} }).registry.Describe(all)
	close(all)
	known := map[string]bool{}
	for d := range all {
		name, _, ok := strings.Cut(strings.TrimPrefix(d.String(), `Desc{fqName: "`), `"`)
		if !ok {
			t.Fatalf("no name in %s", d)
		}
		known[name] = true
	}
	files, err := filepath.Glob(filepath.Join("..", "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, file := range append(files, filepath.Join("..", "README.md")) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile("`[^`\n]*`").FindAllString(string(text), -1) {
			for _, name := range regexp.MustCompile(`\bwalhook_(?:[a-z]+_)*[a-z]+\b`).FindAllString(m, -1) {
				if strings.Contains(m, name+"_") {
					continue
				}
				named++
				if !known[name] {
					t.Errorf("%s names the metric %s, which does not exist", file, name)
				}
			}
		}
	}
	if named == 0 {
		t.Error("the docs name no metric")
	}
}
