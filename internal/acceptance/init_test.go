package acceptance

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"walhook/internal/pgtest"
)

// TestInitForRealOdoo: what init writes for a real Odoo is right as a whole, rules included: check finds only what setup
// has yet to make.
func TestInitForRealOdoo(t *testing.T) {
	for _, version := range []string{"16", "18"} {
		dsn := pgtest.Odoo(t, version)
		path := filepath.Join(t.TempDir(), "walhook.toml")
		out, err := exec.Command(binary(t), "init", "--dsn", dsn, "--role", "postgres", "-o", path).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "3 rules (order_confirmed, invoice_posted, partner)") {
			t.Fatalf("Odoo %s: %v\n%s", version, err, out)
		}
		out, err = exec.Command(binary(t), "check", "--json", "--config", path).Output()
		var report struct {
			Source   string `json:"source"`
			Rules    int    `json:"rules"`
			Findings []struct {
				Code     string `json:"code"`
				Severity string `json:"severity"`
				Setup    bool   `json:"setup"`
			} `json:"findings"`
		}
		if err := json.Unmarshal(out, &report); err != nil {
			t.Fatalf("Odoo %s: %v\n%s", version, err, out)
		}
		if report.Rules != 3 || !strings.HasPrefix(report.Source, "Odoo "+version+".0") {
			t.Errorf("Odoo %s: %v %+v", version, err, report)
		}
		for _, f := range report.Findings {
			if f.Severity == "error" && !f.Setup {
				t.Errorf("Odoo %s: %s", version, f.Code)
			}
		}
	}
}
