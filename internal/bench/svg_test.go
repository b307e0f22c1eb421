package bench

import (
	"cmp"
	"fmt"
	"html"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
)

// plot is a figure against another one, with one line or two: each has a panel of its own, as their units differ.
type plot struct {
	title string
	x     string // its label
	log   bool   // x is on a logarithmic scale
	note  string // how it was measured
	lines []line
}

// line is one panel.
type line struct {
	y      string // its label, with the unit
	points []point
}

// point has the least and the largest value of the rounds beside their median.
type point struct{ x, y, low, high float64 }

// Sizes of the picture.
const (
	panelWidth, panelHeight   = 720.0, 260.0
	marginLeft, marginRight   = 84.0, 24.0
	marginTop, marginBottom   = 64.0, 52.0
	panelGap, noteHeight      = 44.0, 44.0
	ticksWanted, labelPadding = 5, 8.0
	noteWidth                 = 110 // characters in a line of the note
)

// style is for light and dark pages: the picture follows the reader's preference, and has a background of its own in neither.
const style = `<style>
text { font: 13px system-ui, sans-serif; fill: #333 } .title { font-size: 16px; font-weight: 600 } .small { font-size: 11px; fill: #666 }
.grid { stroke: #ccc; stroke-width: 1 } .axis { stroke: #666; stroke-width: 1 } .a { stroke: #1f6fb5; fill: none; stroke-width: 2 } .b { stroke: #b5531f; fill: none; stroke-width: 2 }
.a.dot { fill: #1f6fb5 } .b.dot { fill: #b5531f } .range { stroke-width: 1; opacity: .6 } .paper { fill: #fff }
@media (prefers-color-scheme: dark) { text { fill: #ddd } .small { fill: #aaa } .grid { stroke: #444 } .axis { stroke: #999 } .a { stroke: #6fb7f0 } .b { stroke: #f09a6f } .a.dot { fill: #6fb7f0 } .b.dot { fill: #f09a6f } .paper { fill: #161616 } }
</style>
`

// svg draws the plot.
func (p plot) svg() string {
	height := marginTop + float64(len(p.lines))*(panelHeight+panelGap) + marginBottom + noteHeight
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" role="img" aria-label="%s">`+"\n%s", marginLeft+panelWidth+marginRight, height, html.EscapeString(p.title), style)
	fmt.Fprintf(&b, `<rect class="paper" width="100%%" height="100%%" rx="6"/><text class="title" x="%.0f" y="28">%s</text>`+"\n", marginLeft, html.EscapeString(p.title))
	for i, l := range p.lines {
		p.panel(&b, l, marginTop+float64(i)*(panelHeight+panelGap), [...]string{"a", "b"}[i%2])
	}
	bottom := marginTop + float64(len(p.lines))*(panelHeight+panelGap)
	fmt.Fprintf(&b, `<text x="%.0f" y="%.0f" text-anchor="middle">%s</text>`+"\n", marginLeft+panelWidth/2, bottom+24, html.EscapeString(p.x))
	for i, text := range wrapped(p.note, noteWidth) {
		fmt.Fprintf(&b, `<text class="small" x="%.0f" y="%.0f">%s</text>`, marginLeft, bottom+52+16*float64(i), html.EscapeString(text))
	}
	b.WriteString("\n</svg>\n")
	return b.String()
}

// wrapped breaks a text into lines of so many characters at most, if its words are no longer.
func wrapped(text string, width int) (lines []string) {
	for _, word := range strings.Fields(text) {
		if n := len(lines); n > 0 && len(lines[n-1])+1+len(word) <= width {
			lines[n-1] += " " + word
			continue
		}
		lines = append(lines, word)
	}
	return lines
}

func (p plot) panel(b *strings.Builder, l line, top float64, class string) {
	largest := 0.0
	for _, q := range l.points {
		largest = max(largest, q.y, q.high)
	}
	step := niceStep(largest / ticksWanted)
	limit := step * math.Ceil(largest/step)
	px := p.across(l)
	py := func(y float64) float64 { return top + panelHeight*(1-y/limit) }
	for y := 0.0; y <= limit+step/2; y += step {
		fmt.Fprintf(b, `<line class="grid" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/><text x="%.1f" y="%.1f" text-anchor="end">%s</text>`+"\n",
			marginLeft, marginLeft+panelWidth, py(y), py(y), marginLeft-labelPadding, py(y)+4, short(y))
	}
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f">%s</text>`+"\n", marginLeft, top-labelPadding, html.EscapeString(l.y))
	fmt.Fprintf(b, `<line class="axis" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`+"\n", marginLeft, marginLeft+panelWidth, py(0), py(0))
	for _, q := range l.points { // what was measured
		fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="middle">%s</text>`+"\n", px(q.x), py(0)+16, short(q.x))
	}
	var path strings.Builder
	for i, q := range l.points {
		fmt.Fprintf(&path, "%s%.1f %.1f", [...]string{"M", "L"}[min(i, 1)], px(q.x), py(q.y))
		fmt.Fprintf(b, `<line class="%s range" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/><circle class="%s dot" cx="%.1f" cy="%.1f" r="3.5"><title>%s: %s</title></circle>`+"\n",
			class, px(q.x), px(q.x), py(q.low), py(q.high), class, px(q.x), py(q.y), short(q.x), short(q.y))
	}
	fmt.Fprintf(b, `<path class="%s" d="%s"/>`+"\n", class, path.String())
}

// across places values along x.
func (p plot) across(l line) func(float64) float64 {
	of := func(x float64) float64 { return x }
	if p.log {
		of = func(x float64) float64 { return math.Log10(max(x, 1)) }
	}
	byX := func(a, b point) int { return cmp.Compare(a.x, b.x) }
	first, last := slices.MinFunc(l.points, byX).x, slices.MaxFunc(l.points, byX).x
	from, width := of(first), max(of(last)-of(first), 1e-9)
	return func(x float64) float64 { return marginLeft + 12 + (panelWidth-24)*(of(x)-from)/width }
}

// niceStep rounds up to 1, 2 or 5 times a power of ten.
func niceStep(least float64) float64 {
	if least <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(least)))
	for _, m := range []float64{1, 2, 5} {
		if m*power >= least {
			return m * power
		}
	}
	return 10 * power
}

// short writes a number for an axis.
func short(v float64) string {
	switch {
	case v >= 1e6:
		return strings.Replace(fmt.Sprintf("%.1fM", v/1e6), ".0M", "M", 1)
	case v >= 10_000:
		return fmt.Sprintf("%.0fk", v/1e3)
	case v >= 1000:
		return fmt.Sprintf("%d,%03d", int(v)/1000, int(v)%1000)
	case v == math.Trunc(v):
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.1f", v)
}

func (p plot) write(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(p.svg()), 0o644); err != nil {
		t.Fatal(err)
	}
}
