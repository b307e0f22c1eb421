package main

import (
	"io"
	"os"
	"strings"
	"unicode"

	"github.com/mattn/go-isatty"
	"golang.org/x/term"
	"golang.org/x/text/width"
)

// terminal is where a command writes for people: it knows whether colours are seen there and how wide a line may be. A file or a
// pipe gets no colours, and lines of any length.
type terminal struct {
	w       io.Writer
	colours bool
	columns int // 0 for no limit
}

// terminal looks at the standard output. Colours are for terminals alone, and not where $NO_COLOR (no-color.org), a terminal that knows
// none, or --no-color says otherwise.
func (a *app) terminal() *terminal {
	t := &terminal{w: a.stdout}
	f, ok := a.stdout.(*os.File)
	if !ok || !isatty.IsTerminal(f.Fd()) {
		return t
	}
	t.columns, _, _ = term.GetSize(int(f.Fd())) // 0 where it cannot be told
	silent, _ := a.env("NO_COLOR")
	kind, _ := a.env("TERM")
	t.colours = !a.noColor && silent == "" && kind != "dumb"
	return t
}

// colour is a way to write something on a terminal (ECMA-48, Select Graphic Rendition).
type colour string

// The colours in use.
const (
	bold   colour = "1"
	dim    colour = "2"
	red    colour = "31"
	green  colour = "32"
	yellow colour = "33"
	cyan   colour = "36"
)

// paint writes a text in a colour, where colours are seen.
func (t *terminal) paint(c colour, text string) string {
	if !t.colours || text == "" {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}

// say writes a line.
func (t *terminal) say(parts ...string) error {
	_, err := io.WriteString(t.w, strings.Join(parts, "")+"\n")
	return err
}

// displayWidth is how many columns of a terminal a text takes: two for wide letters, none for marks on another letter and for what paint adds.
func displayWidth(text string) int {
	n, escaped := 0, false
	for _, r := range text {
		switch {
		case escaped:
			escaped = r != 'm'
		case r == '\x1b':
			escaped = true
		case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf), unicode.IsControl(r):
		default:
			n++
			if k := width.LookupRune(r).Kind(); k == width.EastAsianWide || k == width.EastAsianFullwidth {
				n++
			}
		}
	}
	return n
}

// fit cuts a text without colours to a number of columns.
func fit(text string, columns int) string {
	if columns <= 0 || displayWidth(text) <= columns {
		return text
	}
	var b strings.Builder
	n := 0
	for _, r := range text {
		if n += displayWidth(string(r)); n > columns-1 {
			break
		}
		b.WriteRune(r)
	}
	return b.String() + "…"
}

// plainLine is a text without line breaks and other control characters, which could also move the cursor or colour what follows.
func plainLine(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
}

// table prints rows under a heading, each column as wide as its widest cell. The last one is cut where the terminal ends.
func (t *terminal) table(heading []string, rows [][]string) error {
	widths := make([]int, len(heading))
	for _, row := range append([][]string{heading}, rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], displayWidth(cell))
		}
	}
	var b strings.Builder
	line := func(row []string, paint func(string) string) {
		for len(row) > 1 && row[len(row)-1] == "" {
			row = row[:len(row)-1] // nothing is padded in front of nothing
		}
		at, last := 0, len(row)-1
		for i, cell := range row {
			if i == last {
				if t.columns > 0 && t.columns-at >= 10 {
					cell = fit(cell, t.columns-at)
				}
				b.WriteString(paint(cell))
				break
			}
			pad := widths[i] - displayWidth(cell) + 2
			b.WriteString(paint(cell) + strings.Repeat(" ", pad))
			at += widths[i] + 2
		}
		b.WriteByte('\n')
	}
	line(heading, func(s string) string { return t.paint(bold, s) })
	for _, row := range rows {
		line(row, func(s string) string { return s })
	}
	_, err := io.WriteString(t.w, b.String())
	return err
}
