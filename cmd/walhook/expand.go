package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// fileKeys are the keys that name a file in place of a value, by their path with "*" for
// names that the user chooses, and the key that they stand for. Values of a
// list key are the file's lines.
var fileKeys = map[string]struct {
	key  string
	list bool
}{
	"source.dsn_file":                       {key: "dsn"},
	"state.dsn_file":                        {key: "dsn"},
	"http.token_file":                       {key: "token"},
	"endpoints.*.secrets_file":              {key: "secrets", list: true},
	"endpoints.*.hmac.secrets_file":         {key: "secrets", list: true},
	"endpoints.*.auth.password_file":        {key: "password"},
	"endpoints.*.auth.token_file":           {key: "token"},
	"endpoints.*.auth.value_file":           {key: "value"},
	"endpoints.*.auth.client_secret_file":   {key: "client_secret"},
	"endpoints.*.auth.consumer_key_file":    {key: "consumer_key"},
	"endpoints.*.auth.consumer_secret_file": {key: "consumer_secret"},
	"endpoints.*.auth.token_secret_file":    {key: "token_secret"},
}

// expansion is a configuration's text with ${VARIABLES} and *_file keys replaced
// by what they stand for, ready for go-toml. Rules are code and stay as written.
type expansion struct {
	text     []byte
	edits    []edit
	warnings []string
}

// edit says that from–to of the original became newFrom–newTo.
type edit struct{ from, to, newFrom, newTo int }

// environment looks variables up; os.LookupEnv but for tests.
type environment func(name string) (string, bool)

// expand replaces what stands for something else. Messages name variables and
// files, never their contents.
func expand(doc *document, env environment) (*expansion, error) {
	x := &expansion{}
	var problems []error
	done := 0
	replace := func(at span, with string) {
		x.text = append(x.text, doc.text[done:at.from]...)
		from := len(x.text)
		x.text = append(x.text, with...)
		x.edits = append(x.edits, edit{at.from, at.to, from, len(x.text)})
		done = at.to
	}
	for i := range doc.entries {
		e := &doc.entries[i]
		if len(e.parts) == 0 || e.parts[0] == "rules" || e.parts[0] == "functions" || e.value.from < done && e.kind == unstable.String {
			continue
		}
		target, isFile := fileKeys[pattern(e.parts)]
		if isFile && e.name != "" && e.kind != unstable.Table {
			if other := strings.TrimSuffix(e.path, e.name) + target.key; doc.has(other) {
				problems = append(problems, doc.problem(e.path, false, fmt.Sprintf("%s and %s say the same thing", e.name, target.key), "keep one of the two"))
			}
			replace(e.key, target.key)
		}
		if e.kind != unstable.String {
			continue
		}
		value, err := interpolate(e.text, env)
		if err != nil {
			problems = append(problems, doc.problem(e.path, true, err.Error(), variableHint(err)))
			continue
		}
		if isFile {
			content, warning, err := readSecretFile(value, filepath.Dir(doc.name))
			if err != nil {
				problems = append(problems, doc.problem(e.path, true, err.Error(), fileHint))
				continue
			}
			if warning != "" {
				x.warnings = append(x.warnings, warning)
			}
			if target.list {
				replace(e.value, quoteLines(content, e.name != ""))
			} else {
				replace(e.value, quoteTOML(content))
			}
		} else if value != e.text {
			replace(e.value, quoteTOML(value))
		}
	}
	x.text = append(x.text, doc.text[done:]...)
	return x, errors.Join(problems...)
}

// original returns where an offset of the expanded text comes from.
func (x *expansion) original(offset int) int {
	shift := 0
	for _, e := range x.edits {
		if offset < e.newFrom {
			break
		}
		if offset < e.newTo {
			return e.from
		}
		shift = e.to - e.newTo
	}
	return offset + shift
}

// pattern is a path as fileKeys spells it: "*" for the endpoint's name.
func pattern(parts []string) string {
	if parts[0] == "endpoints" && len(parts) > 1 {
		return strings.Join(append([]string{"endpoints", "*"}, parts[2:]...), ".")
	}
	return strings.Join(parts, ".")
}

var variable = regexp.MustCompile(`\$?\$\{[^}]*\}?`)
var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// missingVariable is a ${NAME} without a value.
type missingVariable struct{ name string }

func (e *missingVariable) Error() string {
	return fmt.Sprintf("the environment variable %s is not set", e.name)
}

func variableHint(err error) string {
	var missing *missingVariable
	if errors.As(err, &missing) {
		return fmt.Sprintf("export %s=…, or write \"$${\" if the text itself holds \"${\"", missing.name)
	}
	return `write ${NAME} for a variable, "$${" for the characters "${"`
}

// interpolate replaces ${NAME} by the environment's value and $${ by ${.
func interpolate(text string, env environment) (string, error) {
	var problems error
	out := variable.ReplaceAllStringFunc(text, func(m string) string {
		if strings.HasPrefix(m, "$$") {
			return m[1:]
		}
		name := strings.TrimSuffix(strings.TrimPrefix(m, "${"), "}")
		if !strings.HasSuffix(m, "}") || !variableName.MatchString(name) {
			problems = errors.New(`"${" opens the name of a variable, and none follows`)
			return ""
		}
		value, ok := env(name)
		if !ok && problems == nil {
			problems = &missingVariable{name}
		}
		return value
	})
	return out, problems
}

// readSecretFile reads what a *_file key names; relative names start at the configuration
// file's folder. The newline at the end is not part of the value.
func readSecretFile(name, folder string) (content, warning string, err error) {
	path := name
	if !filepath.IsAbs(path) {
		path = filepath.Join(folder, path)
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return "", "", unreadable(path, err)
	case info.IsDir():
		return "", "", fmt.Errorf("%s is a folder, not a file", path)
	}
	data, err := readAtMost(path, maxSecretFile)
	if err != nil {
		return "", "", unreadable(path, err)
	}
	if content = strings.TrimRight(string(data), "\r\n"); strings.TrimSpace(content) == "" {
		return "", "", fmt.Errorf("the file %s is empty", path)
	}
	if info.Mode().Perm()&0o004 != 0 {
		warning = fmt.Sprintf("%s holds a secret and every user of this machine can read it: chmod o-r %s", path, path)
	}
	return content, warning, nil
}

// unreadable says why a file could not be read.
func unreadable(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the file %s does not exist", path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("the file %s may not be read by this user", path)
	}
	return fmt.Errorf("the file %s cannot be read: %w", path, err)
}

// fileHint is what to do about a file that cannot be read.
const fileHint = "create the file, readable by the user that runs walhook; its name is relative to the configuration file"

// maxSecretFile is more than any secret needs: a larger file is not what was meant.
const maxSecretFile = 64 << 10

func readAtMost(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("it holds more than %d bytes", limit)
	}
	return data, err
}

// quoteLines writes the lines of a file as TOML strings: a whole array, or
// elements of one.
func quoteLines(content string, array bool) string {
	var quotedLines []string
	for line := range strings.Lines(content) {
		if line = strings.TrimSpace(line); line != "" {
			quotedLines = append(quotedLines, quoteTOML(line))
		}
	}
	all := strings.Join(quotedLines, ", ")
	if array {
		return "[" + all + "]"
	}
	return all
}

// quoteTOML writes a TOML basic string.
func quoteTOML(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < 0x20 || r == 0x7f:
			b.WriteString(`\u`)
			b.WriteString(strings.Repeat("0", 4-len(strconv.FormatInt(int64(r), 16))))
			b.WriteString(strconv.FormatInt(int64(r), 16))
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
