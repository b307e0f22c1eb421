package payload

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"strconv"
	"strings"
	"text/template"
	"time"
)

// templateFuncs are the functions of templates, besides those of text/template. Those that would make long texts of short ones are
// replaced by ones that keep to maxOutput.
var templateFuncs = template.FuncMap{
	"json":     templateJSON,
	"xml":      func(v any) (string, error) { return bounded(string(appendXMLText(nil, textOf(v)))) },
	"url":      func(v any) (string, error) { return bounded(url.QueryEscape(textOf(v))) },
	"num":      templateNumber,
	"date":     templateDate,
	"default":  templateDefault,
	"upper":    func(v any) string { return strings.ToUpper(textOf(v)) },
	"lower":    func(v any) string { return strings.ToLower(textOf(v)) },
	"trim":     func(v any) string { return strings.TrimSpace(textOf(v)) },
	"replace":  templateReplace,
	"join":     templateJoin,
	"print":    func(args ...any) (string, error) { return sprint(fmt.Sprint, args) },
	"println":  func(args ...any) (string, error) { return sprint(fmt.Sprintln, args) },
	"printf":   templatePrintf,
	"html":     escaper(html.EscapeString),
	"urlquery": escaper(url.QueryEscape),
	"js":       escaper(template.JSEscapeString),
}

// escaper is one of text/template's own escaping functions, which take any number of arguments, bounded.
func escaper(f func(string) string) func(args ...any) (string, error) {
	return func(args ...any) (string, error) {
		text, err := sprint(fmt.Sprint, args)
		if err != nil {
			return "", err
		}
		return bounded(f(text))
	}
}

func textOf(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case nil:
		return ""
	}
	return fmt.Sprint(v)
}

// bounded refuses what no body may be: before a variable that grows from round to round takes all memory.
func bounded(s string) (string, error) {
	if len(s) > maxOutput {
		return "", fmt.Errorf("the text is longer than %d bytes", maxOutput)
	}
	return s, nil
}

// templateJSON writes a value as JSON: texts with their quotes.
func templateJSON(v any) (string, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "", err
	}
	return bounded(strings.TrimSuffix(out.String(), "\n"))
}

// templateNumber makes a number that can be compared and formatted; NULL is 0.
func templateNumber(v any) (float64, error) {
	switch v := v.(type) {
	case int64:
		return float64(v), nil
	case int:
		return float64(v), nil
	case float64:
		return v, nil
	case Nothing:
		return 0, nil
	}
	f, err := strconv.ParseFloat(textOf(v), 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no number", shortened(textOf(v)))
	}
	return f, nil
}

// templateDate writes a date or time of a payload in a layout of Go's, "02.01.2006 15:04", in UTC or a time zone; NULL as nothing.
func templateDate(layout string, args ...any) (string, error) {
	if len(args) == 0 || len(args) > 2 {
		return "", fmt.Errorf(`write {{date "02.01.2006" .record.date}} or {{date "02.01.2006 15:04" "Europe/Paris" .record.date}}`)
	}
	text, zone := textOf(args[len(args)-1]), time.UTC
	if len(args) == 2 {
		var err error
		if zone, err = time.LoadLocation(textOf(args[0])); err != nil {
			return "", err
		}
	}
	if text == "" {
		return "", nil
	}
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		return bounded(day.Format(layout)) // a day is the same everywhere
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return "", fmt.Errorf("%q is no date", shortened(text))
	}
	return bounded(at.In(zone).Format(layout))
}

// templateDefault is the value, or what stands for it when it is NULL, false or an empty text, as in {{.record.email | default "none"}}.
func templateDefault(other, v any) any {
	if truth, ok := template.IsTrue(v); ok && truth {
		return v
	}
	if _, number := v.(int64); number {
		return v
	}
	return other
}

// templateReplace is {{replace "old" "new" .record.name}}.
func templateReplace(old, by string, v any) (string, error) {
	s := textOf(v)
	if grown := strings.Count(s, old) * len(by); grown > maxOutput {
		return "", fmt.Errorf("the text is longer than %d bytes", maxOutput)
	}
	return bounded(strings.ReplaceAll(s, old, by))
}

// templateJoin is {{join ", " .record.skus}}.
func templateJoin(between string, all any) (string, error) {
	items, ok := all.(list)
	if !ok {
		return bounded(textOf(all))
	}
	size := 0
	parts := make([]string, len(items))
	for i, item := range items {
		parts[i] = textOf(item)
		if size += len(parts[i]) + len(between); size > maxOutput {
			return "", fmt.Errorf("the text is longer than %d bytes", maxOutput)
		}
	}
	return strings.Join(parts, between), nil
}

// sprint is fmt's, with what it makes bounded beforehand.
func sprint(f func(...any) string, args []any) (string, error) {
	if size := sizeOf(args); size > maxOutput {
		return "", fmt.Errorf("the text is longer than %d bytes", maxOutput)
	}
	return bounded(f(args...))
}

// sizeOf is the length of the texts among arguments; nothing else can be made longer than a body.
func sizeOf(args []any) (size int) {
	for _, a := range args {
		if s, ok := a.(string); ok {
			size += len(s)
		}
	}
	return size
}

func templatePrintf(format string, args ...any) (string, error) {
	// A verb may repeat an argument, and pad it with a million blanks (fmt's own limit).
	verbs := strings.Count(format, "%")
	if verbs > maxVerbs {
		return "", fmt.Errorf("the format has more than %d verbs", maxVerbs)
	}
	if verbs*sizeOf(args) > 4*maxOutput {
		return "", fmt.Errorf("the text is longer than %d bytes", maxOutput)
	}
	return bounded(fmt.Sprintf(format, args...))
}

const maxVerbs = 32

func shortened(s string) string {
	if len(s) > 40 {
		return strings.ToValidUTF8(s[:40], "") + "…"
	}
	return s
}
