package status

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// docs/api.md describes every route, each by an example, and none that does not exist. It names every code of an error.
func TestAPIDocsNameEveryRoute(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "docs", "api.md"))
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for _, r := range apiRoutes {
		want = append(want, r.method+" "+r.path)
	}
	sections := regexp.MustCompile("(?m)^### `([A-Z]+ /api/[^`]*)`$").FindAllStringSubmatchIndex(string(text), -1)
	for i, at := range sections {
		name := string(text[at[2]:at[3]])
		got = append(got, name)
		end := len(text)
		if i+1 < len(sections) {
			end = sections[i+1][0]
		}
		body := string(text[at[1]:end])
		path := regexp.MustCompile(`\\\{[a-z]+\\\}`).ReplaceAllLiteralString(regexp.QuoteMeta(strings.SplitN(name, " ", 2)[1]), `[a-z$A-Z]+`)
		if !regexp.MustCompile("```sh\ncurl [^\n]*http://127.0.0.1:8070"+path+"[\\s?\"]").MatchString(body) || !strings.Contains(body, "```json\n") {
			t.Errorf("%s has no example with an answer", name)
		}
		if isPost := strings.HasPrefix(name, "POST "); isPost != strings.Contains(body, " -d '") {
			t.Errorf("%s: curl would use another method", name)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(want, got) {
		t.Errorf("documented: %v\nserved:     %v", got, want)
	}
	for _, shape := range []reflect.Type{reflect.TypeFor[Document](), reflect.TypeFor[UpgradeState](), reflect.TypeFor[ReservedSlot](), reflect.TypeFor[DeliveryDetail](), reflect.TypeFor[DeliveryLine]()} {
		for i := range shape.NumField() {
			name, _, _ := strings.Cut(shape.Field(i).Tag.Get("json"), ",")
			if name != "" && !strings.Contains(string(text), "`"+name+"`") && !strings.Contains(string(text), `"`+name+`":`) {
				t.Errorf("docs/api.md does not name the member %s of %s", name, shape.Name())
			}
		}
	}
	codes := map[string]bool{}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, filepath.Join("..", "cmd", "walhook", "api.go")) {
		source, err := os.ReadFile(file)
		if err != nil || strings.HasSuffix(file, "_test.go") {
			continue
		}
		for _, m := range regexp.MustCompile(`(?:http\.Status\w+, |badRequest\(|Code(?:: | = |, r\.Code = http\.Status\w+, ))"([a-z_]+)"`).FindAllStringSubmatch(string(source), -1) {
			codes[m[1]] = true
		}
	}
	if len(codes) < 12 {
		t.Errorf("only %d codes found in the source", len(codes))
	}
	for code := range codes {
		if !strings.Contains(string(text), "`"+code+"`") {
			t.Errorf("docs/api.md does not name the code %s", code)
		}
	}
}
