package delivery

import (
	"encoding/base64"
	"encoding/json"
	"html"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// spellings lists how a text may come back in an answer or an error: as it is, and as addresses, addresses within addresses, forms,
// JSON, HTML and base64 write it, the last also together with its neighbours.
func spellings(s string) []string {
	all := []string{s}
	if plain, err := url.QueryUnescape(s); err == nil {
		all = append(all, plain)
	}
	escaped := []string{url.QueryEscape(s), url.PathEscape(s), percent(s)}
	for _, one := range slices.Clone(escaped) {
		escaped = append(escaped, url.QueryEscape(one), url.PathEscape(one))
	}
	for _, one := range slices.Clone(escaped) {
		escaped = append(escaped, escapedByte.ReplaceAllStringFunc(one, strings.ToLower))
	}
	for _, one := range append(slices.Clone(all), escaped...) {
		all = append(all, inBase64(one)...)
	}
	all = append(append(all, html.EscapeString(s)), escaped...)
	if quoted, err := json.Marshal(s); err == nil { // a string is always marshalled
		text := string(quoted[1 : len(quoted)-1])
		plain := strings.NewReplacer(`\u0026`, "&", `\u003c`, "<", `\u003e`, ">").Replace(text)
		ascii := strings.Trim(strconv.QuoteToASCII(s), `"`)
		all = append(all, text, plain, ascii)
		for _, one := range []string{s, text, plain, ascii} {
			all = append(all, strings.ReplaceAll(one, "/", `\/`))
		}
	}
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(one string) bool { return len(one) < minSecret })
}

var escapedByte = regexp.MustCompile(`%[0-9A-F]{2}`)

// inBase64 is what base64 makes of a text, whatever stands before and behind it: without the characters at both ends that
// hold bits of its neighbours, for each of the three ways in which groups of three bytes can fall.
func inBase64(s string) []string {
	const least = 10 // shorter ones turn up by chance
	var all []string
	for before := range 3 {
		raw := make([]byte, before, before+len(s))
		text := base64.RawStdEncoding.EncodeToString(append(raw, s...))
		from, to := []int{0, 2, 3}[before], len(text)
		if (before+len(s))%3 != 0 {
			to--
		}
		if to-from >= least {
			text = text[from:to]
			all = append(all, text, strings.NewReplacer("+", "-", "/", "_").Replace(text))
		}
	}
	return all
}
