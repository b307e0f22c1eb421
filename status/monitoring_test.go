package status

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// TestMonitoringFiles holds the alert rules and the dashboard against the metrics there are. promtool, where it is installed, checks the rules, tries them on made-up
// series, and parses the dashboard's expressions.
func TestMonitoringFiles(t *testing.T) {
	dir := filepath.Join("..", "docs", "monitoring")
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	known := map[string]bool{}
	all := make(chan *prometheus.Desc, 1000)
	newMetrics(Info{}, func() Document { return Document{} }).registry.Describe(all)
	close(all)
	for d := range all {
		name, _, _ := strings.Cut(strings.TrimPrefix(d.String(), `Desc{fqName: "`), `"`)
		known[name] = true
	}

	alerts, dashboard := read("alerts.yml"), read("grafana.json")
	for name, text := range map[string]string{"alerts.yml": alerts, "alerts_test.yml": read("alerts_test.yml"), "grafana.json": dashboard} {
		found := regexp.MustCompile(`\bwalhook_[a-z_]+`).FindAllString(text, -1)
		if len(found) == 0 {
			t.Errorf("%s names no metric", name)
		}
		for _, metric := range found {
			if base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(metric, ""); !known[metric] && !known[base] {
				t.Errorf("%s names the metric %s, which does not exist", name, metric)
			}
		}
	}
	tried := read("alerts_test.yml")
	guide, err := os.ReadFile(filepath.Join("..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(alerts, -1) {
		if !strings.Contains(tried, `exp_samples: [{ labels: 'ALERTS{alertname="`+m[1]+`"`) {
			t.Errorf("alerts_test.yml never makes %s fire", m[1])
		}
		if !strings.Contains(string(guide), "| "+m[1]+" |") {
			t.Errorf("docs/operations.md does not list %s", m[1])
		}
	}

	var doc struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(dashboard), &doc); err != nil {
		t.Fatal(err)
	}
	rules := "groups:\n  - name: dashboard\n    rules:\n"
	expressions := 0
	for _, p := range doc.Panels {
		for i, target := range p.Targets {
			expr := strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*", "$endpoint", ".*").Replace(target.Expr)
			rules += fmt.Sprintf("      - record: dashboard:expression:%d\n        expr: '%s'\n        labels: { panel: %q, target: \"%d\" }\n", expressions, strings.ReplaceAll(expr, "'", "''"), p.Title, i)
			expressions++
		}
	}
	if expressions < 20 {
		t.Errorf("the dashboard has %d expressions", expressions)
	}
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed: the syntax of the expressions is not checked")
	}
	of := filepath.Join(t.TempDir(), "dashboard.yml")
	if err := os.WriteFile(of, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"check", "rules", filepath.Join(dir, "alerts.yml")}, {"test", "rules", filepath.Join(dir, "alerts_test.yml")}, {"check", "rules", of}} {
		if out, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}
