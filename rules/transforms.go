package rules

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/types"
)

// transform is one of our functions that turn values into what receivers want, which expr has not got.
type transform struct {
	args int        // how many arguments it takes
	typ  types.Type // for expr's checker
	call func(args ...any) any
}

// transforms by their names. Their signatures are in [signatures].
var transforms = map[string]transform{
	"fixed":          {2, types.TypeOf((func(float64, int) string)(nil)), func(a ...any) any { return fixed(a[0], a[1]) }},
	"padLeft":        {3, types.TypeOf((func(any, int, string) string)(nil)), func(a ...any) any { return padLeft(a[0], a[1], a[2]) }},
	"slug":           {1, types.TypeOf((func(string) string)(nil)), func(a ...any) any { return slug(limited(text("slug", a[0]))) }},
	"plainText":      {1, types.TypeOf((func(string) string)(nil)), func(a ...any) any { return plainText(text("plainText", a[0])) }},
	"replaceMatches": {3, types.TypeOf((func(string, string, string) string)(nil)), nil}, // see lowerTransform
	"sha256":         {1, types.TypeOf((func(any) string)(nil)), func(a ...any) any { return sha256Of(a[0]) }},
	"default":        {2, types.TypeOf((func(any, any) any)(nil)), func(a ...any) any { return otherwise(a[0], a[1]) }},
	"dateIn":         {2, types.TypeOf((func(time.Time, string) time.Time)(nil)), nil},
	"timeIn":         {2, types.TypeOf((func(time.Time, string) string)(nil)), nil},
}

// checkTransform checks a call of one of them. Patterns and time zones must be written out: that they are none is known before anything runs then.
func (x *expression) checkTransform(n *ast.CallNode, name string, t transform) ast.Node {
	args := x.checkAll(n.Arguments)
	if len(args) != t.args {
		x.failAt(n, fmt.Sprintf("%s takes %s, not %d", name, count(t.args, "argument"), len(args)), "write "+signatures[name])
		return anything(n)
	}
	switch name {
	case "sha256":
		x.reads.digest = true
	case "fixed":
		if d, ok := n.Arguments[1].(*ast.IntegerNode); !ok || d.Value < 0 || d.Value > 100 {
			x.failAt(n.Arguments[1], "fixed takes a number of decimals from 0 to 100, written out", "write fixed(after.amount_total, 2)")
		}
	case "padLeft":
		if d, ok := n.Arguments[1].(*ast.IntegerNode); !ok || d.Value < 0 || d.Value > 1000 {
			x.failAt(n.Arguments[1], "padLeft takes a length from 0 to 1000, written out", "write "+signatures[name])
		}
	case "replaceMatches":
		s, ok := n.Arguments[1].(*ast.StringNode)
		if !ok {
			x.failAt(n.Arguments[1], "replaceMatches takes a pattern that is written out, in quotes", "write "+signatures[name])
		} else if _, err := regexp.Compile(s.Value); err != nil {
			x.failAt(s, "no regular expression: "+strings.TrimPrefix(err.Error(), "error parsing regexp: "), "")
		}
	case "dateIn", "timeIn":
		s, ok := n.Arguments[1].(*ast.StringNode)
		if !ok {
			x.failAt(n.Arguments[1], name+" takes the name of a time zone in quotes", "write "+signatures[name])
		} else if _, err := zone(s.Value); err != nil {
			x.failAt(s, fmt.Sprintf("unknown time zone %q", s.Value), "write "+signatures[name])
		}
	}
	return at(n, &ast.CallNode{Callee: at(n, &ast.IdentifierNode{Value: name}), Arguments: args})
}

func (x *expression) lowerTransform(n *ast.CallNode, name string, t transform) ast.Node {
	literal := func(i int) string { return n.Arguments[i].(*ast.StringNode).Value } // check has refused others
	switch name {
	case "replaceMatches":
		re, err := regexp.Compile(literal(1))
		if err != nil {
			break
		}
		return call(n, func(s, with any) any { return replaceMatches(re, text(name, s), text(name, with)) }, x.lower(n.Arguments[0]), x.lower(n.Arguments[2]))
	case "dateIn":
		z, _ := zone(literal(1))
		return call(n, func(v any) any { return dateIn(v, z) }, x.lower(n.Arguments[0]))
	case "timeIn":
		z, _ := zone(literal(1))
		return call(n, func(v any) any { return timeIn(v, z) }, x.lower(n.Arguments[0]))
	}
	return lowerFunction(n, t.call, x.lowerAll(n.Arguments))
}

// fixed writes a number with exactly so many decimals, rounded as PostgreSQL's numeric is. NULL is NULL.
func fixed(v, decimals any) any {
	c, v := classify(v)
	switch c {
	case classNull:
		return nil
	case classNumber:
		n := asNum(v)
		if n.class != finite {
			return n.text()
		}
		return n.rat().FloatString(int(whole("fixed", decimals)))
	}
	raise("fixed needs a number, not %s", c)
	return nil
}

// padLeft fills a text or a number up on the left. NULL is NULL.
func padLeft(v, length, with any) any {
	if c, _ := classify(v); c == classNull {
		return nil
	}
	s, fill := textForm(v), text("padLeft", with)
	missing := int(whole("padLeft", length)) - length2(s)
	if missing <= 0 || fill == "" {
		return s
	}
	runes := []rune(strings.Repeat(fill, missing/length2(fill)+1))
	return limited(string(runes[:missing]) + s)
}

func length2(s string) int { return utf8.RuneCountInString(s) }

// letters are what slug makes of letters that do not consist of a Latin one and an accent. Accented ones are listed by their bases.
var letters = func() map[rune]string {
	m := map[rune]string{'ß': "ss", 'æ': "ae", 'œ': "oe", 'ø': "o", 'đ': "d", 'ð': "d", 'þ': "th", 'ł': "l", 'ı': "i", 'ä': "ae", 'ö': "oe", 'ü': "ue"}
	for base, accented := range map[string]string{
		"a": "àáâãåāăą", "c": "çćĉċč", "d": "ď", "e": "èéêëēĕėęě", "g": "ĝğġģ", "h": "ĥħ", "i": "ìíîïĩīĭį", "j": "ĵ", "k": "ķ", "l": "ĺļľ",
		"n": "ñńņň", "o": "òóôõōŏő", "r": "ŕŗř", "s": "śŝşšș", "t": "ţťŧț", "u": "ùúûũūŭůűų", "w": "ŵ", "y": "ýÿŷ", "z": "źżž",
	} {
		for _, r := range accented {
			m[r] = base
		}
	}
	return m
}()

// slug makes a text fit for an address: small letters of ASCII and digits, with "-" for everything between them. What is
// neither Latin nor a digit is left out.
func slug(s string) string {
	var b strings.Builder
	gap := false
	for _, r := range strings.ToLower(s) {
		written := letters[r]
		if r < unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsDigit(r)) {
			written = string(r)
		}
		if written == "" {
			gap = gap || !unicode.IsMark(r)
			continue
		}
		if gap && b.Len() > 0 {
			b.WriteByte('-')
		}
		gap = false
		b.WriteString(written)
	}
	return limited(b.String())
}

// maxGroups bounds the matches of replaceMatches, all groups of each counted: they are found before the first one is replaced. It is enough for
// a match at every byte of a text with a group in it.
const maxGroups = 2 * (maxText + 1)

// replaceMatches replaces what a pattern matches; $1 in the replacement is the first group.
func replaceMatches(re *regexp.Regexp, s, with string) string {
	var out []byte
	end, most := 0, maxGroups/(re.NumSubexp()+1)
	matches := re.FindAllStringSubmatchIndex(limited(s), most+1)
	if len(matches) > most {
		raise("replaceMatches matches more than %d times", most)
	}
	for _, match := range matches {
		out = re.ExpandString(append(out, s[end:match[0]]...), with, s, match)
		if end = match[1]; len(out) > maxText {
			raise("a text of more than %d bytes", maxText)
		}
	}
	return limited(string(append(out, s[end:]...)))
}

// sha256Of is the digest of a value's text, in hexadecimal digits: a pseudonym that is the same wherever the value is. NULL is NULL.
func sha256Of(v any) any {
	if c, _ := classify(v); c == classNull {
		return nil
	}
	sum := sha256.Sum256([]byte(textForm(v)))
	return hex.EncodeToString(sum[:])
}

// otherwise is default(v, other): v, unless it is NULL, an empty text or an empty list.
func otherwise(v, other any) any {
	c, inside := classify(v)
	switch {
	case c == classNull, c == classText && asText(inside) == "", c == classList && len(inside.([]any)) == 0:
		return other
	}
	return v
}

// dateIn is the day that an instant falls on in a time zone. A date, which has no time, stays as it is; so does NULL.
func dateIn(v any, zone *time.Location) any {
	m, ok := instant("dateIn", v)
	if !ok || m.inf != 0 || m.day {
		return v
	}
	y, month, d := m.at.In(zone).Date()
	return moment{at: time.Date(y, month, d, 0, 0, 0, 0, time.UTC), day: true}
}

// timeIn writes an instant as the clocks of a time zone show it, with the offset to UTC. A date, which has no time, and infinity are written as they
// are. NULL is NULL.
func timeIn(v any, zone *time.Location) any {
	m, ok := instant("timeIn", v)
	switch {
	case !ok:
		return nil
	case m.inf != 0 || m.day:
		return textForm(v)
	}
	return m.at.In(zone).Format(time.RFC3339Nano)
}

func instant(function string, v any) (moment, bool) {
	c, v := classify(v)
	switch c {
	case classNull:
		return moment{}, false
	case classTime:
		return asMoment(v), true
	}
	raise("%s needs a date, not %s", function, c)
	return moment{}, false
}
