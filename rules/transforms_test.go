package rules

import (
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTransforms(t *testing.T) {
	rel := relationOf(testCatalog().Table("public", "sale_order"))
	write, empty := wrote(t, rel, draft, full), created(t, rel, record{"id": "42"})
	for _, tc := range []struct {
		expr string
		want any // of empty too, with nil for its columns, when it is in nulls
		null any
	}{
		{`fixed(after.amount_total, 2)`, "1250.50", nil}, {`fixed(after.priority, 1)`, "3.0", nil}, {`fixed(after.amount_total, 0)`, "1251", nil}, {`fixed(2.5, 0)`, "3", "3"}, {`fixed(-0.005, 2)`, "-0.01", "-0.01"}, {`fixed(after.big, 2)`, "9007199254740993.00", nil},
		{`padLeft(after.priority, 5, "0")`, "00003", nil}, {`padLeft(after.name, 3, "0")`, "S00042", nil}, {`padLeft("ä", 4, "xy")`, "xyxä", "xyxä"}, {`padLeft(after.name, 9, "")`, "S00042", nil},
		{`slug(after.note)`, "p-groesse-p", ""}, {`slug("  L'Été à  Łódź -- 2026!  ")`, "l-ete-a-lodz-2026", "l-ete-a-lodz-2026"}, {`slug("日本")`, "", ""}, {`slug("a日b")`, "a-b", "a-b"},
		{`plainText(after.note)`, "Größe", ""}, {`plainText("<p>a<br/>b &lt; c&nbsp;d</p><ul><li>x</li><li>y</li></ul><style>p > a {}</style>z<!-- <p>no</p> -->")`, "a\nb < c d\nx\ny\nz", "a\nb < c d\nx\ny\nz"},
		{`plainText("1 < 2 and <b title=\"x\">bold</b><broken")`, "1 < 2 and bold<broken", "1 < 2 and bold<broken"}, {`plainText("<table><tr><td>a</td><td>b</td></tr></table>")`, "a b", "a b"}, {`plainText("<script>x()")`, "", ""},
		{`replaceMatches(after.name, "0+", "-")`, "S-42", ""}, {`replaceMatches(after.name, "^(S)(\\d+)$", "$2/$1")`, "00042/S", ""}, {`replaceMatches("abc", "", "-")`, "-a-b-c-", "-a-b-c-"},
		{`sha256(after.name)`, "1f482a20fe183b1a5f48201da86aabc333ba5bd46a701a07fd45b7b071ea7d7c", nil}, {`sha256(after.priority) == sha256("3")`, true, false},
		{`default(after.name, "none")`, "S00042", "none"}, {`default("", 5)`, int64(5), int64(5)}, {`default([], nil)`, nil, nil}, {`default(after.tags, ["x"])`, []any{"red", nil, "dark blue"}, []any{"x"}}, {`default(0, 1)`, int64(0), int64(0)}, {`default(false, true)`, false, false},
		{`dateIn(after.date_order, "Europe/Paris")`, "2026-03-01", nil}, {`dateIn(after.date_order, "UTC")`, "2026-02-28", nil}, {`dateIn(after.validity_date, "Asia/Tokyo")`, "2026-03-31", nil}, {`dateIn(after.date_order, "Europe/Paris") == date("2026-03-01")`, true, false},
		{`timeIn(after.date_order, "Europe/Paris")`, "2026-03-01T00:30:00.5+01:00", nil}, {`timeIn(now(), "UTC")`, "2026-03-01T10:30:00Z", "2026-03-01T10:30:00Z"}, {`timeIn(after.validity_date, "Asia/Tokyo")`, "2026-03-31", nil}, {`lower(timeIn(after.validity_date, "Asia/Tokyo"))`, "2026-03-31", ""},
		// Dates stay dates.
		{`validity_date`, "2026-03-31", nil}, {`after.validity_date`, "2026-03-31", nil}, {`[after.validity_date]`, []any{"2026-03-31"}, []any{nil}}, {`after.validity_date + duration("30d")`, "2026-04-30", nil}, {`after.validity_date - duration("1w")`, "2026-03-24", nil},
		{`after.validity_date + duration("1h")`, testTime("2026-03-31T01:00:00Z"), nil}, {`after.validity_date.AddDate(0, 0, 1)`, "2026-04-01", nil}, {`date(now())`, "2026-03-01", "2026-03-01"}, {`date("2026-03-01")`, "2026-03-01", "2026-03-01"},
		{`date("2026-03-01 00:00:00")`, testTime("2026-03-01T00:00:00Z"), testTime("2026-03-01T00:00:00Z")}, {`after.date_order`, testTime("2026-02-28T23:30:00.5Z"), nil}, {`date(after.date_order)`, "2026-02-28", nil},
		{`date(now().In(timezone("Asia/Tokyo")))`, "2026-03-01", "2026-03-01"}, {`after.validity_date ?? date(now())`, "2026-03-31", "2026-03-01"}, {`string(after.validity_date + duration("1d"))`, "2026-04-01", ""},
	} {
		for change, want := range map[string]any{"full": tc.want, "empty": tc.null} {
			c := write
			if change == "empty" {
				c = empty
			}
			got, err := evaluate(t, tc.expr, c)
			if err != nil {
				t.Errorf("%s: %v", tc.expr, err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s on %s (-want +got):\n%s", tc.expr, change, diff)
			}
		}
	}
}

func TestDatesAtTheEdges(t *testing.T) {
	rel := relationOf(testCatalog().Table("public", "sale_order"))
	for text, want := range map[string]string{"infinity": "infinity", "-infinity": "-infinity", "0044-03-15 BC": "0044-03-16 BC", "12026-03-01": "12026-03-02", "9999-12-31": "10000-01-01"} {
		c := created(t, rel, record{"id": "42", "validity_date": text})
		if got, err := evaluate(t, "validity_date", c); err != nil || got != text {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
		if got, err := evaluate(t, `after.validity_date + duration("1d")`, c); err != nil || got != want {
			t.Errorf("the day after %s: got %v, %v, want %s", text, got, err, want)
		}
	}
}

func TestTransformsAreBounded(t *testing.T) {
	rel := relationOf(testCatalog().Table("public", "sale_order"))
	c := created(t, rel, with(full, "note", strings.Repeat("x", 100_000)))
	long := created(t, rel, with(full, "note", strings.Repeat("x ", maxText))) // longer than any text of a program may be
	for _, expr := range []string{`replaceMatches(after.note, "[^0-9+]", "")`, `slug(after.note)`, `plainText(after.note)`, `replace(after.note, "x", "")`, `fromJSON(after.note)`} {
		if got, err := evaluate(t, expr, long); err == nil || !strings.Contains(err.Error(), "a text of more than") {
			t.Errorf("%s: got %.20v, %v", expr, got, err)
		}
	}
	for _, expr := range []string{`split(after.note, "")`, `splitAfter(after.note, "x")`, `split(after.note, "x", 100000)`} {
		if got, err := evaluate(t, expr, long); err == nil || !strings.Contains(err.Error(), "a list of more than") {
			t.Errorf("%s: got %.20v, %v", expr, got, err)
		}
	}
	if got, err := evaluate(t, `len(split(after.note, "x", 3))`, long); err != nil || got != int64(3) {
		t.Errorf("a split into three: %v, %v", got, err)
	}
	// What is not shown of HTML may be as long as it likes: images lie in it as text.
	image := created(t, rel, with(full, "note", `<p>a<img src="data:image/png;base64,`+strings.Repeat("A", 4*maxText)+`"/>b</p>`))
	if got, err := evaluate(t, `plainText(after.note)`, image); err != nil || got != "ab" {
		t.Errorf("a text with an image: %.20v, %v", got, err)
	}
	groups := strings.Repeat("(x)?", 200)
	if got, err := evaluate(t, `replaceMatches(after.note, "`+groups+`", "-")`, created(t, rel, with(full, "note", strings.Repeat("y", maxText)))); err == nil || !strings.Contains(err.Error(), "matches more than") {
		t.Errorf("many groups: got %.20v, %v", got, err)
	}
	for _, expr := range []string{`replaceMatches(after.note, "x", "$0$0$0$0")`, `padLeft(after.note + after.note + after.note, 1000, "x")`} {
		if got, err := evaluate(t, expr, c); err == nil || !strings.Contains(err.Error(), "a text of more than") {
			t.Errorf("%s: got %.20v, %v", expr, got, err)
		}
	}
}

func FuzzPlainText(f *testing.F) {
	for _, s := range []string{"<p>a</p>", "<", "<!--", "<style", "</", "<a b='", "&amp;", "<!DOCTYPE html><p>x", "<?xml?>x", "<h1>x</h1>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) < maxText/8 {
			plainText(s)
			slug(s)
		}
	})
}

// What people write by mistake with labels, users, dates and our functions.
func TestWrongValues(t *testing.T) {
	cat := testCatalog()
	var b strings.Builder
	for _, when := range []string{
		`fixed(after.amount_total) == ""`, `fixed(after.amount_total, 2, 3) == ""`, `fixed(after.name, 2) == ""`, `fixed(after.amount_total, after.priority) == ""`, `fixed(after.amount_total, 2) > 5`, `fixd(after.amount_total, 2) == ""`, `fixed`,
		`padLeft(after.name, "8", "0") == ""`, `slug(after.amount_total) == ""`, `slug() == ""`, `plaintext(after.note) == ""`, `replaceMatches(after.name, "(", "") == ""`, `replaceMatches(after.name, after.note, "") == ""`, `after.name | replaceMatches("a") == ""`,
		`sha256(after.name, "salt") == ""`, `sha1(after.name) == ""`, `stripHTML(after.note) == ""`, `substr(after.name, 1) == ""`, `default(after.name) == ""`, `dateIn(after.name, "Europe/Paris") == nil`, `dateIn(after.date_order, "Europe/Pariss") == nil`, `dateIn(after.date_order, after.name) == nil`, `timeIn(after.date_order) == ""`,
		`timeIn(after.date_order, "Local") == ""`, `dateIn(after.date_order, "UTC") == "2026-03-01"`, `let slug = 1; slug == 1`, `after.slug == 1`, `duration("1 day") > duration("1d")`, `user.email == "x"`, `user.login.x == 1`, `label("partner_id.nmae") == ""`, `label("partner_id.email") == ""`,
		`label("partner.type") == ""`, `label("state", "fr_FR") == ""`, `label("state") == 5`,
	} {
		_, err := Compile([]Config{rule(Config{When: when})}, cat)
		b.WriteString(strings.Repeat("-", 80) + "\n")
		if err == nil {
			b.WriteString(when + "\naccepted\n")
			continue
		}
		b.WriteString(render(err))
	}
	golden(t, "values.golden", b.String())
}

// What the bounds are for: a function takes little more memory than its text, whatever the text.
func TestTransformsTakeLittleMemory(t *testing.T) {
	rel := relationOf(testCatalog().Table("public", "sale_order"))
	c := created(t, rel, with(full, "note", strings.Repeat("x ", 2<<20)))
	for _, expr := range []string{`replaceMatches(after.note, "[^0-9+]", "")`, `plainText(after.note)`, `slug(after.note)`, `split(after.note, "")`, `padLeft(after.note, 3, "x")`, `fromJSON(after.note)`} {
		set := mustCompile(t, testCatalog(), Config{Payload: Payload{"x": expr}})
		m := set.NewMatcher()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _ = m.Eval(set.Rules()[0], 0, testTx, c)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 32<<20 {
			t.Errorf("%s takes %d MiB", expr, n>>20)
		}
	}
}
