package main

import (
	"fmt"
	"regexp"
	"strings"
)

// problem is one mistake in the configuration file, with its place.
// Its text shows the offending line and a caret, unless the line may hold a secret.
type problem struct {
	file         string
	line, column int    // from 1; 0 when the mistake is the absence of something
	message      string // without the place
	suggestion   string // a remedy, or ""
	excerpt      string // the line and the caret, or ""
}

func (p *problem) Error() string {
	var b strings.Builder
	b.WriteString(p.file)
	if p.line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.line, p.column)
	}
	b.WriteString(": ")
	b.WriteString(p.message)
	b.WriteString(p.excerpt)
	return b.String()
}

// Hint returns the remedy.
func (p *problem) Hint() string { return p.suggestion }

// ExitCode says that the configuration is at fault.
func (p *problem) ExitCode() int { return exitUsage }

// problemf complains about a path, at its key or, when inValue, at its value.
func (d *document) problem(path string, inValue bool, message, suggestion string) *problem {
	e := d.find(path)
	if e == nil {
		return &problem{file: d.name, message: message, suggestion: suggestion}
	}
	at := e.key
	if inValue && e.path == path && e.value != (span{}) {
		at = e.value
	}
	return d.problemAt(at, message, suggestion)
}

// problemAt complains about a range of the text.
func (d *document) problemAt(at span, message, suggestion string) *problem {
	p := &problem{file: d.name, message: message, suggestion: suggestion}
	p.line, p.column = d.position(at.from)
	p.excerpt = d.excerpt(at)
	return p
}

// excerpt renders the line of a range with a caret under its start and tildes
// to its end.
func (d *document) excerpt(at span) string {
	text := string(d.text)
	from := strings.LastIndexByte(text[:min(at.from, len(text))], '\n') + 1
	to := len(text)
	if i := strings.IndexByte(text[from:], '\n'); i >= 0 {
		to = from + i
	}
	line := strings.TrimRight(text[from:to], "\r")
	shown := d.presentable(line, from)
	column := min(at.from-from, len(line)) // the mistake may be the line's end
	if shown == "" || column > len(shown)+2 {
		return ""
	}
	// Tabs stay tabs under tabs, so that the caret stands where it should.
	lead := strings.Map(func(r rune) rune {
		if r == '\t' {
			return '\t'
		}
		return ' '
	}, line[:column])
	width := len([]rune(line[column:max(column, min(at.to-from, len(shown)))]))
	number, _ := d.position(at.from)
	gutter := fmt.Sprintf("%5d", number)
	return fmt.Sprintf("\n%s | %s\n%s | %s^%s", gutter, shown, strings.Repeat(" ", len(gutter)), lead, strings.Repeat("~", max(width-1, 0)))
}

var (
	keyOnLine  = regexp.MustCompile(`^\s*([A-Za-z0-9_-]+)\s*=`)
	quoted     = regexp.MustCompile(`["']`)
	plainValue = regexp.MustCompile(`^\s*(true|false|[0-9.+-]{1,12})\s*(#.*)?$`)
	ownNames   = regexp.MustCompile(`\.(headers|query|params)\s*\]`) // tables whose keys are the user's: any of them may name a secret
	bareWord   = regexp.MustCompile(`^\s*([A-Za-z0-9_-]+)\s*=\s*[A-Za-z/$]`)

	// harmlessKeys are keys outside of rules whose values may be printed
	// although they are text.
	harmlessKeys = map[string]bool{
		"slot": true, "publication": true, "schema": true, "listen": true, "level": true, "format": true, "method": true,
		"timeout": true, "retry": true, "ordering": true, "on_dead": true, "stall_after": true, "status_interval": true,
		"idle_advance": true, "retention": true, "attempt_retention": true, "retention_size": true, "memory": true, "schedule": true, "initial": true, "max": true, "max_response": true,
		"deliveries": true, "attempts": true, "grace": true, "breaker": true, "disable": true, "queue": true, "rate": true, "batch": true,
		"alarm": true, "guard": true, "lease": true, "lag": true, "retained": true, "max_retained": true, "action": true, "after": true,
		"per": true, "preset": true, "max_retry_after": true, "pause": true, "max_pause": true, "max_rows": true, "max_bytes": true, "max_age": true,
		"overflow": true, "max_body": true, "wait": true, "bytes": true,
	}
)

// presentable returns the part of a line that may be printed: all of it in
// rules, where secrets have no place; elsewhere only headers, numbers
// and the values of keys known to be harmless. A URL, a DSN or a header may hold
// a password.
func (d *document) presentable(line string, offset int) string {
	trimmed := strings.TrimSpace(line)
	if d.public || strings.HasPrefix(trimmed, "[") && !quoted.MatchString(trimmed) || d.inRules(offset) {
		return line
	}
	m := keyOnLine.FindStringSubmatchIndex(line)
	if m == nil {
		return ""
	}
	if ownNames.MatchString(d.sectionAt(offset)) {
		return line[:m[1]]
	}
	if plainValue.MatchString(line[m[1]:]) || harmlessKeys[line[m[2]:m[3]]] {
		return line
	}
	return line[:m[1]]
}

// syntaxHint guesses what is wrong with a line that is no TOML.
func (d *document) syntaxHint(at int) string {
	from := strings.LastIndexByte(string(d.text[:min(at, len(d.text))]), '\n') + 1
	line, _, _ := strings.Cut(string(d.text[from:]), "\n")
	if m := bareWord.FindStringSubmatch(line); m != nil {
		return fmt.Sprintf("text needs quotes: %s = \"…\"", m[1])
	}
	return ""
}

// inRules says whether the table header before an offset is that of a rule. It looks at
// the text alone, as the text may not parse.
func (d *document) inRules(offset int) bool {
	section := d.sectionAt(offset)
	return strings.HasPrefix(section, "[[rules]]") || strings.HasPrefix(section, "[rules.") ||
		strings.HasPrefix(section, "[functions") || strings.HasPrefix(section, "[odoo")
}

// sectionAt is the last table header before an offset.
func (d *document) sectionAt(offset int) (section string) {
	for line := range strings.Lines(string(d.text[:min(offset, len(d.text))])) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "[") && !strings.HasSuffix(line, ",") {
			section = line
		}
	}
	return section
}
