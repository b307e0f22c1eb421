package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"walhook/delivery"
	"walhook/internal/pgtest"
	"walhook/rules"
)

// variables is an environment for tests.
func variables(pairs ...string) environment {
	return func(name string) (string, bool) {
		for i := 0; i+1 < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1], true
			}
		}
		return "", false
	}
}

// whole completes a snippet with what every configuration needs.
func whole(snippet string) string {
	if !strings.Contains(snippet, "[source]") {
		snippet += "\n[source]\ndsn = \"postgres://u@h/d\"\n"
	}
	return snippet
}

func TestConfigProblems(t *testing.T) {
	tests := []struct {
		name, text string
		env        environment
		want       string // the whole message
		hint       string // part of the hint
	}{
		{
			name: "unknown key in a rule", text: "[endpoints.erp]\nurl = \"https://e/\"\n[[rules]]\nname = \"x\"\n  whne = 'true'\n",
			want: "w.toml:5:3: unknown key \"whne\" in a rule\n    5 |   whne = 'true'\n      |   ^~~~", hint: `did you mean "when"?`,
		},
		{
			name: "unknown section", text: "[sources]\ndsn = \"x\"\n", want: "w.toml:1:2: unknown key \"sources\"\n    1 | [sources]\n      |  ^~~~~~~", hint: `did you mean "source"?`,
		},
		{
			name: "key of the wrong case", text: "[source]\nDSN = \"postgres://u@h/d\"\n", want: "w.toml:2:1: unknown key \"DSN\" in [source]\n    2 | DSN =\n      | ^~~", hint: `did you mean "dsn"?`,
		},
		{
			name: "nested unknown key", text: "[endpoints.erp]\nurl = \"https://e/\"\nretry = { atempts = 3 }\n",
			want: "w.toml:3:11: unknown key \"atempts\" in [endpoints.erp.retry]\n    3 | retry = { atempts = 3 }\n      |           ^~~~~~~", hint: `did you mean "attempts"?`,
		},
		{
			name: "wrong type", text: "[[rules]]\nname = \"x\"\non = \"write\"\n", want: "w.toml:3:6: rules.on must be a list in brackets, not text\n    3 | on = \"write\"\n      |      ^~~~~~~", hint: `on = ["…"]`,
		},
		{
			name: "number for a time", text: "[http]\nstall_after = 60\n", want: "w.toml:2:15: http.stall_after must be text in quotes, not a number\n    2 | stall_after = 60\n      |               ^~", hint: "quotes",
		},
		{
			name: "guard without an action", text: whole("[source]\ndsn = \"postgres://u@h/d\"\nguard = { max_retained = \"20GiB\" }\n"),
			want: "w.toml:3:1: action: missing\n    3 | guard = { max_retained = \"20GiB\" }\n      | ^~~~~",
		},
		{
			name: "guard with an unknown action", text: "[source]\ndsn = \"postgres://u@h/d\"\n[source.guard]\nmax_retained = \"20GiB\"\naction = \"explode\"\n",
			want: "w.toml:5:10: \"explode\" is no action: write \"drop\" or \"stop\"\n    5 | action = \"explode\"\n      |          ^~~~~~~~~",
		},
		{
			name: "alarm that a quiet system would raise", text: "[source]\ndsn = \"postgres://u@h/d\"\nalarm = { lag = \"20s\" }\n",
			want: "w.toml:3:17: 20s is less than twice idle_advance (30s): it would go off on a quiet system",
		},
		{
			name: "guard sooner than two confirmations", text: "[source]\ndsn = \"postgres://u@h/d\"\nguard = { max_retained = \"20GiB\", action = \"drop\", after = \"30s\" }\n",
			want: "w.toml:3:60: 30s is less than twice idle_advance (30s): between two confirmations",
		},
		{
			name: "no length of time", text: "[http]\nstall_after = \"soon\"\n", want: "w.toml:2:15: \"soon\" is no duration: write a number and a unit, as in 500ms, 15s, 5m, 2h or 30d\n    2 | stall_after = \"soon\"\n      |               ^",
		},
		{
			name: "single brackets", text: "[rules]\nname = \"x\"\n", want: "w.toml:1:2: rules must be a list of tables, not a table\n    1 | [rules]\n      |  ^~~~~", hint: "[[rules]]",
		},
		{
			name: "duplicate", text: "[log]\nlevel = \"info\"\nlevel = \"debug\"\n", want: "w.toml:3:1: key level is already defined\n    3 | level = \"debug\"\n      | ^",
		},
		{
			name: "no TOML", text: "[log]\nlevel = debug\n", want: "w.toml:2:9: unexpected character U+0064 'd' at start of value\n    2 | level = debug\n      |         ^", hint: `level = "…"`,
		},
		{
			name: "variable missing", text: "[endpoints.erp]\nurl = \"https://e/\"\nsecrets = [\"${ERP_SECRET}\"]\n",
			want: "w.toml:3:12: the environment variable ERP_SECRET is not set", hint: "export ERP_SECRET=",
		},
		{
			name: "unclosed variable", text: "[source]\nslot = \"${SLOT\"\ndsn = \"postgres://u@h/d\"\n", want: "w.toml:2:8: \"${\" opens the name of a variable, and none follows\n    2 | slot = \"${SLOT\"\n      |        ^~~~~~~~", hint: "$${",
		},
		{
			name: "file missing", text: "[source]\ndsn_file = \"/nowhere/dsn\"\n", want: "w.toml:2:12: the file /nowhere/dsn does not exist", hint: "create the file",
		},
		{
			name: "value and file", text: "[source]\ndsn = \"postgres://u@h/d\"\ndsn_file = \"/etc/hostname\"\n", want: "w.toml:3:1: dsn_file and dsn say the same thing", hint: "one of the two",
		},
		{
			name: "position behind an expansion", text: "[source]\ndsn = \"${DSN}\"\nslot = \"${SLOT}\"\nmemory = \"much\"\n", env: variables("DSN", "postgres://user:password@host:5432/database", "SLOT", "s"),
			want: "w.toml:4:10: \"much\" is no size, such as \"16MiB\"\n    4 | memory = \"much\"\n      |          ^",
		},
		{
			name: "a secret of another package", text: "[endpoints.erp]\nurl = \"https://e/\"\nsecrets = [\"whsec_%%%%%%%%%%%\"]\n", want: "w.toml:3:12: ",
		},
		{
			name: "semantic problem of an endpoint", text: "[endpoints.erp]\nurl = \"ftp://e/\"\nconcurrency = -1\ntimeout = \"2h\"\n", want: "w.toml:2:7: ",
		},
		{
			name: "source's own problem", text: "[source]\ndsn = \"postgres://u@h/d\"\nslot = \"My-Slot\"\n", want: "w.toml:3:8: \"My-Slot\" is no slot name: 1 to 63 lower-case letters, digits and underscores\n    3 | slot = \"My-Slot\"\n      |        ^~~~~~~~~",
		},
		{
			name: "listen without token", text: "[http]\nlisten = \"0.0.0.0:8070\"\n", want: "w.toml:2:10: 0.0.0.0:8070 can be reached", hint: "token",
		},
		{name: "no source", text: "[source]\nslot = \"x\"\n", want: "w.toml:1:2: source.dsn is missing", hint: "dsn_file"},
		{name: "unknown level", text: "[log]\nlevel = \"loud\"\n", want: "w.toml:2:9: unknown level \"loud\"", hint: "debug"},
		{
			name: "unknown endpoint", text: "[endpoints.erp]\nurl = \"https://e/\"\n[[rules]]\nname = \"x\"\nendpoint = \"epr\"\n",
			want: "w.toml:5:12: there is no endpoint \"epr\"\n    5 | endpoint = \"epr\"\n      |            ^~~~~", hint: `did you mean "erp"?`,
		},
		{
			name: "unknown endpoint of a group", text: "[endpoints.erp]\nurl = \"https://e/\"\n[[rules]]\nname = \"x\"\nsplit = { each = \"a\", by = \"b\", endpoints = { Office = \"epr\" }, other = \"\" }\n",
			want: "w.toml:5:56: there is no endpoint \"epr\"\n    5 | ", hint: `did you mean "erp"?`,
		},
		{
			name: "unknown endpoint of other groups", text: "[endpoints.erp]\nurl = \"https://e/\"\n[[rules]]\nname = \"x\"\n[rules.split]\nother = \"epr\"\n",
			want: "w.toml:6:9: there is no endpoint \"epr\"\n    6 | other = \"epr\"\n      |         ^~~~~", hint: `did you mean "erp"?`,
		},
		{
			name: "unknown key of split", text: "[[rules]]\nname = \"x\"\nsplit = { eahc = \"a\" }\n",
			want: "w.toml:3:11: unknown key \"eahc\"", hint: `did you mean "each"?`,
		},
		{
			name: "split is a table", text: "[[rules]]\nname = \"x\"\nsplit = \"order_line\"\n",
			want: "w.toml:3:9: rules.split must be a table, not text", hint: "",
		},
		{
			name: "unknown alert endpoint", text: "[endpoints.erp]\nurl = \"https://e/\"\n[alerts]\nendpoint = \"epr\"\n",
			want: "w.toml:4:12: there is no endpoint \"epr\"\n    4 | endpoint =\n      |            ^", hint: `did you mean "erp"?`,
		},
		{
			name: "alert endpoint that is not active", text: "[endpoints.erp]\nurl = \"https://e/\"\nactive = false\n[alerts]\nendpoint = \"erp\"\n",
			want: "w.toml:5:12: endpoint \"erp\" is not active: nobody would be told", hint: "active = true",
		},
		{
			name: "alerts for nobody", text: "[alerts]\nafter = \"5m\"\n", want: "w.toml:2:9: after: there is no alerts.endpoint", hint: "alerts.endpoint",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			env := tt.env
			if env == nil {
				env = variables()
			}
			_, err := parseConfig("w.toml", []byte(whole(tt.text)), env)
			if err == nil {
				t.Fatal("no complaint")
			}
			got := flatten(err)[0]
			if !strings.HasPrefix(got.Error(), tt.want) || strings.HasSuffix(tt.want, "^") && got.Error() != tt.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, tt.want)
			}
			if !strings.Contains(hintOf(got), tt.hint) {
				t.Errorf("hint %q lacks %q", hintOf(got), tt.hint)
			}
			if exitCode(err) != exitUsage {
				t.Errorf("exit status %d", exitCode(err))
			}
		})
	}
}

func TestEveryProblemIsToldAtOnce(t *testing.T) {
	_, err := parseConfig("w.toml", []byte("[log]\nlevl = \"x\"\n[http]\nport = 1\n[source]\ndsn = \"${NO_SUCH}\"\n"), variables())
	if n := len(flatten(err)); n != 3 {
		t.Errorf("%d problems:\n%v", n, err)
	}
}

func TestNoComplaintShowsASecret(t *testing.T) {
	const secret = "hunter2-hunter2-hunter2"
	for _, text := range []string{
		"[source]\ndsn = \"postgres://u:" + secret + "@h:port/d\"\n",
		"[source]\ndsn = \"postgres://u:" + secret + "@h/d\" oops\n",
		"[source]\ndsn = postgres://u:" + secret + "@h/d\n",
		"[source]\nDSN = \"postgres://u:" + secret + "@h/d\"\n",
		"[source]\ndsnn = \"${A}\" \npasword = \"" + secret + "\"\n",
		"[endpoints.erp]\nurl = \"ftp://u:" + secret + "@e/\"\n",
		"[endpoints.erp]\nsecrets = [\n  \"" + secret + "\",\n  12\n]\n",
		"[endpoints.erp]\nsecrets = [\"whsec_" + secret + "!\"]\n",
		"[endpoints.erp]\nheaders = { Authorization = \"" + secret + "\", Host = 3 }\n",
		"[endpoints.erp.auth]\ntype = \"bearer\"\npasword = \"" + secret + "\"\n",
		"[endpoints.erp.auth]\ntype = \"" + secret + "\" x\n",
		"[http]\ntoken = \"" + secret + "\nlisten = \"x\"\n",
		"[http]\nlisten = \"0.0.0.0:80\"\ntoken = \"short-" + secret[:4] + "\"\n",
	} {
		_, err := parseConfig("w.toml", []byte(whole(text)), variables("A", secret))
		if err == nil {
			continue
		}
		var out strings.Builder
		printError(&out, err)
		if strings.Contains(out.String(), "hunter2") {
			t.Errorf("for\n%s\nthe complaint shows the secret:\n%s", text, out.String())
		}
	}
}

func TestConfigCannotBePrinted(t *testing.T) {
	const secret = "hunter2-hunter2-hunter2"
	text := "[source]\ndsn = \"postgres://u:" + secret + "@h/d\"\n[http]\ntoken = \"" + secret + "\"\n[endpoints.e]\nurl = \"https://e/\"\nsecrets = [\"" + secret + "\"]\n"
	cfg, err := parseConfig("w.toml", []byte(text), variables())
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		if out := fmt.Sprintf(verb, *cfg); strings.Contains(out, "hunter2") || strings.Contains(out, fmt.Sprintf("%x", "hunter2")) {
			t.Errorf("%s: %s", verb, out)
		}
	}
}

func TestExpansion(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"dsn": "postgres://u:p\"\\@h/d\n", "secrets": "first-secret-of-sixteen\n\nsecond-secret-of-sixteen\n", "token": "0123456789abcdef\r\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text := `
[source]
dsn_file = "${DIR}/dsn"
slot = "${SLOT}_1"
[http]
token_file = "token"
[endpoints.a]
url = "https://${HOST}/$${x}/é"
secrets_file = "secrets"
[endpoints.b]
url = "https://b/"
secrets_file = ["secrets", '${DIR}/secrets']
auth = { type = "bearer", token_file = "token" }
[[rules]]
name = "r"
when = '"${HOST}" == "$${"'
endpoint = "a"
`
	cfg, err := parseConfig(filepath.Join(dir, "walhook.toml"), []byte(text), variables("DIR", dir, "SLOT", "s", "HOST", "h"))
	if err != nil {
		t.Fatal(err)
	}
	got := []any{cfg.Source.DSN.reveal(), cfg.Source.Slot, string(cfg.Endpoints["a"].URL), len(cfg.Endpoints["a"].Secrets), len(cfg.Endpoints["b"].Secrets),
		cfg.Endpoints["b"].Auth.Token.IsZero(), cfg.HTTP.Token.Header(), cfg.Rules[0].When, cfg.State.DSN.reveal()}
	want := []any{"postgres://u:p\"\\@h/d", "s_1", "https://h/${x}/é", 2, 4, false, "Bearer 0123456789abcdef", `"${HOST}" == "$${"`, "postgres://u:p\"\\@h/d"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(cfg.Warnings) != 0 {
		t.Errorf("warnings: %q", cfg.Warnings)
	}
}

// Every key that takes a secret takes a file, too; systemd's credentials are files in a folder that a variable names.
func TestEverySecretFromAFile(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"hmac", "client", "consumer", "consumer-secret", "token", "token-secret"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("the-"+name+"-of-16-or-more\n"), 0o400); err != nil {
			t.Fatal(err)
		}
	}
	const text = `
[endpoints.a]
url = "https://a/"
[endpoints.a.hmac]
secrets_file = "${CREDENTIALS_DIRECTORY}/hmac"
[endpoints.a.auth]
type = "oauth2"
token_url = "https://t/"
client_id = "x"
client_secret_file = "${CREDENTIALS_DIRECTORY}/client"
params = { resource = "r" }
[endpoints.b]
url = "https://b/"
hmac.secrets_file = ["${CREDENTIALS_DIRECTORY}/hmac", "${CREDENTIALS_DIRECTORY}/client"]
[endpoints.b.auth]
type = "oauth1"
consumer_key_file = "${CREDENTIALS_DIRECTORY}/consumer"
consumer_secret_file = "${CREDENTIALS_DIRECTORY}/consumer-secret"
token_file = "${CREDENTIALS_DIRECTORY}/token"
token_secret_file = "${CREDENTIALS_DIRECTORY}/token-secret"
`
	cfg, err := parseConfig(filepath.Join(dir, "w.toml"), []byte(whole(text)), variables("CREDENTIALS_DIRECTORY", dir))
	if err != nil {
		t.Fatal(err)
	}
	of := func(name string) delivery.Sensitive { return delivery.NewSensitive("the-" + name + "-of-16-or-more") }
	a, b := cfg.Endpoints["a"], cfg.Endpoints["b"]
	got := []any{a.HMAC.Secrets, a.Auth.ClientSecret, b.HMAC.Secrets, b.Auth.ConsumerKey, b.Auth.ConsumerSecret, b.Auth.Token, b.Auth.TokenSecret}
	want := []any{[]delivery.Sensitive{of("hmac")}, of("client"), []delivery.Sensitive{of("hmac"), of("client")}, of("consumer"), of("consumer-secret"), of("token"), of("token-secret")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// What stands in the file itself is named by `walhook check` when others can read it.
	cfg, err = parseConfig("w.toml", []byte(whole("[endpoints.a]\nurl = \"https://a/\"\nhmac = { secrets = [\"a-secret-of-some-length\"] }\n"+
		"auth = { type = \"oauth2\", token_url = \"https://t/\", client_id = \"x\", client_secret = \"y\", params = { api_key = \"z\", resource = \"r\" } }\n")), variables())
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(cfg.Doc.secretKeys(), " "); got != "endpoints.a.hmac.secrets endpoints.a.auth.client_secret endpoints.a.auth.params.api_key" {
		t.Errorf("secrets in the file: %s", got)
	}
}

func TestWorldReadableSecretFileIsWarnedOf(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "dsn")
	if err := os.WriteFile(file, []byte("postgres://u@h/d"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	cfg, err := parseConfig(filepath.Join(dir, "w.toml"), []byte("[source]\ndsn_file = \"dsn\"\n"), variables())
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Warnings) != 1 || !strings.Contains(cfg.Warnings[0], "chmod o-r "+file) {
		t.Errorf("warnings: %q", cfg.Warnings)
	}
}

func TestRuleProblemsStandInsideTheExpression(t *testing.T) {
	text := whole("[endpoints.e]\nurl = \"https://e/\"\n[[rules]]\nname = \"lit\"\nwhen = 'after.stat == 1'\nendpoint = \"e\"\n" +
		"[[rules]]\nname = \"basic\"\nwhen = \"after.name == \\\"a\\u00e9\\\" && after.stat == 1\"\nendpoint = \"e\"\n" +
		"[[rules]]\nname = \"multi\"\nwhen = '''\nop == \"write\" &&\n  after.stat == 1\n'''\nendpoint = \"e\"\n" +
		"[rules.payload]\ntotal = 'after.x'\n")
	cfg, err := parseConfig("w.toml", []byte(text), variables())
	if err != nil {
		t.Fatal(err)
	}
	problem := func(rule int, path string, offset int) error {
		return &rules.Problem{Rule: rule, Path: path, Message: "unknown field", Suggest: `did you mean "state"?`, Offset: offset}
	}
	err = cfg.ruleProblems(errors.Join(
		problem(0, "when", strings.Index(cfg.Rules[0].When, "stat")),
		problem(1, "when", strings.Index(cfg.Rules[1].When, "stat")),
		problem(2, "when", strings.Index(cfg.Rules[2].When, "stat")),
		problem(2, "payload.total", 6),
		problem(0, "model", -1),
		problem(0, "", -1),
	))
	var got []string
	for _, e := range flatten(err) {
		got = append(got, e.Error())
	}
	want := []string{
		"w.toml:5:15: rule \"lit\": unknown field\n    5 | when = 'after.stat == 1'\n      |               ^",
		"w.toml:9:44: rule \"basic\": unknown field\n    9 | when = \"after.name == \\\"a\\u00e9\\\" && after.stat == 1\"\n      |                                            ^",
		"w.toml:15:9: rule \"multi\": unknown field\n   15 |   after.stat == 1\n      |         ^",
		"w.toml:19:16: rule \"multi\": unknown field\n   19 | total = 'after.x'\n      |                ^",
		"w.toml:3:3: rule \"lit\": unknown field\n    3 | [[rules]]\n      |   ^~~~~",
		"w.toml:3:3: rule \"lit\": unknown field\n    3 | [[rules]]\n      |   ^~~~~",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

const exampleFile = "../../config.example.toml"

func loadExample(t *testing.T) *Config {
	t.Helper()
	const secret = "0123456789abcdef0123456789abcdef"
	cfg, err := loadConfig(exampleFile, variables("WALHOOK_PASSWORD", "x", "WALHOOK_STATE_PASSWORD", "y", "WALHOOK_HTTP_TOKEN", secret,
		"ERP_SECRET", secret, "ERP_SECRET_OLD", secret, "SHOP_SECRET", secret, "ERP_PASSWORD", "z"))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestExampleConfigLoads(t *testing.T) {
	cfg := loadExample(t)
	if len(cfg.Endpoints) != 2 || len(cfg.Rules) != 7 {
		t.Errorf("%d endpoints, %d rules", len(cfg.Endpoints), len(cfg.Rules))
	}
}

// Every key of the configuration structs is explained in the example, in its own section.
func TestExampleConfigMentionsEveryKey(t *testing.T) {
	text, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	header := regexp.MustCompile(`^\s*(?:# )?\[+([a-z0-9_.]+)\]+`)
	key := regexp.MustCompile(`^\s*(?:# )?([a-z0-9_]+)\s*=`)
	mentioned, section := map[string]bool{}, ""
	for line := range strings.Lines(string(text)) {
		if m := header.FindStringSubmatch(line); m != nil {
			section = regexp.MustCompile(`^(endpoints|functions)\.[a-z0-9]+`).ReplaceAllString(m[1], "$1.*")
			mentioned[section] = true
		} else if m := key.FindStringSubmatch(line); m != nil {
			mentioned[section+"."+m[1]] = true
		}
	}
	for _, path := range configKeys().paths("") {
		if !mentioned[path] {
			t.Errorf("config.example.toml does not mention %s", path)
		}
	}
}

// The example's rules fit real Odoo databases, but for the one on a table of the reader's own.
func TestExampleRulesFitOdoo(t *testing.T) {
	for _, version := range []string{"16", "18"} {
		t.Run(version, func(t *testing.T) {
			cfg := loadExample(t)
			cfg.Rules = slices.DeleteFunc(cfg.Rules, func(r rules.Config) bool { return r.Table != "" })
			s, err := cfg.look(t.Context(), pgtest.Connect(t, pgtest.Odoo(t, version)), "")
			if err != nil {
				t.Fatal(err)
			}
			var required []string // the rules' tables, one of lines, the one of [images], and the one that a copy is recognised by
			for _, n := range s.needs {
				if !n.Optional {
					required = append(required, n.Table)
				}
			}
			if len(required) != 6 {
				t.Errorf("needs: %v", required)
			}
		})
	}
}
