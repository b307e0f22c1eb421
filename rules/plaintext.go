package rules

import (
	"html"
	"strings"
)

// breaks are elements of HTML that end a line of text.
var breaks = map[string]bool{
	"br": true, "p": true, "div": true, "li": true, "ul": true, "ol": true, "tr": true, "table": true, "blockquote": true, "pre": true, "hr": true,
	"section": true, "h1": true, "h2": true, "h3": true, "h4": true, "h5": true, "h6": true,
}

// maxLine bounds a line of plainText with its entities and blanks, which are longer than what they are shown as. Tags, which can hold whole images, don't count.
const maxLine = 4 * maxText

// plainText is what a reader sees of HTML, as Odoo's html fields hold it: no tags, entities as the letters that they mean, a line for each paragraph, row
// and item. Styles and scripts are left out. It does not judge the HTML: of what is none, everything is text.
func plainText(s string) string {
	var lines []string
	var line strings.Builder
	size := 0
	end := func() {
		if words := strings.Fields(html.UnescapeString(line.String())); len(words) > 0 {
			lines = append(lines, strings.Join(words, " "))
			if size += len(lines[len(lines)-1]); size > maxText {
				raise("a text of more than %d bytes", maxText)
			}
		}
		line.Reset()
	}
	tail := len(s) - strings.LastIndexByte(s, '>') // what is left from there on holds no tag; known beforehand, not looked for at every "<"
	for s != "" {
		before, rest, found := strings.Cut(s, "<")
		if len(before) > maxLine-line.Len() {
			raise("a text of more than %d bytes", maxText)
		}
		line.WriteString(before)
		if !found {
			break
		}
		name, closing, after, isTag := "", false, "", false
		if len(rest) >= tail {
			name, closing, after, isTag = tag(rest)
		}
		if !isTag {
			line.WriteByte('<')
			s = rest
			continue
		}
		s = after
		switch {
		case (name == "style" || name == "script") && !closing:
			s = behind(after, "</"+name)
		case breaks[name]:
			end()
		case name == "td" || name == "th":
			line.WriteByte(' ')
		}
	}
	end()
	return limited(strings.Join(lines, "\n"))
}

// tag reads a tag behind its "<", or a comment, which has no name.
func tag(s string) (name string, closing bool, after string, ok bool) {
	if strings.HasPrefix(s, "!--") {
		return "", false, behind(s[len("!--"):], "--"), true
	}
	closing = strings.HasPrefix(s, "/")
	inside := strings.TrimPrefix(s, "/")
	n := 0
	for n < len(inside) && (inside[n] >= 'a' && inside[n] <= 'z' || inside[n] >= 'A' && inside[n] <= 'Z' || n > 0 && inside[n] >= '0' && inside[n] <= '9') {
		n++
	}
	if n == 0 && !strings.HasPrefix(s, "!") && !strings.HasPrefix(s, "?") {
		return "", false, s, false // as in "a < b"
	}
	end := strings.IndexByte(inside[n:], '>')
	if end < 0 {
		return "", false, s, false
	}
	return strings.ToLower(inside[:n]), closing, inside[n+end+1:], true
}

// behind returns what follows the next mark and ">"; nothing when there is none.
func behind(s, mark string) string {
	for {
		i := strings.IndexByte(s, mark[0])
		if i < 0 {
			return ""
		}
		if s = s[i:]; len(s) >= len(mark) && strings.EqualFold(s[:len(mark)], mark) {
			_, after, _ := strings.Cut(s, ">")
			return after
		}
		s = s[1:]
	}
}
