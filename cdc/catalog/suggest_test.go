package catalog_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"walhook/cdc/catalog"
)

func TestSuggest(t *testing.T) {
	fields := []string{"id", "state", "name", "amount_total", "amount_untaxed", "amount_tax", "partner_id", "partner_invoice_id", "tag_ids", "date_order", "write_date", "country_id"}
	for name, want := range map[string]string{
		"stat": "state", "sate": "state", "statee": "state", "tsate": "state", "State": "state", "STATE": "state",
		"nmae": "name", "amount_totl": "amount_total", "amout_total": "amount_total", "amount_untxed": "amount_untaxed",
		"partner": "partner_id", "tag": "tag_ids", "tag_id": "tag_ids", "country": "country_id", "ountry": "", "dateorder": "date_order", "write_data": "write_date",
		"ids": "id", "colour": "", "xyz": "", "": "", "partner_invoice": "partner_invoice_id", "state ": "state",
	} {
		if got := catalog.Suggest(name, fields); got != want {
			t.Errorf("%q suggests %q, want %q", name, got, want)
		}
	}
	if got := catalog.Suggest("sale.ordr", []string{"sale.order", "sale.order.line", "pos.order"}); got != "sale.order" {
		t.Errorf("sale.ordr suggests %q", got)
	}
	if got := catalog.Suggest("ab", []string{"ac", "aa"}); got != "aa" {
		t.Errorf("of equally near names %q is suggested, want the first", got)
	}
	if got := catalog.Suggest("straße", []string{"strasse", "strase"}); got != "strase" {
		t.Errorf("straße suggests %q: letters are to be counted, not bytes", got)
	}
	if got := catalog.Suggest(strings.Repeat("x", 1_000_000), []string{"x"}); got != "" {
		t.Errorf("a name of a megabyte suggests %q", got)
	}
}

// One slip of the fingers in a name of six letters or more finds the name again, and
// the order of candidates does not matter.
func TestSuggestFindsOneSlip(t *testing.T) {
	name := rapid.StringMatching(`[a-z]{6,20}`)
	rapid.Check(t, func(t *rapid.T) {
		want := name.Draw(t, "name")
		slip := []byte(want)
		at := rapid.IntRange(0, len(slip)-2).Draw(t, "at")
		switch rapid.SampledFrom([]string{"swap", "drop", "double", "replace"}).Draw(t, "slip") {
		case "swap":
			slip[at], slip[at+1] = slip[at+1], slip[at]
		case "drop":
			slip = slices.Delete(slip, at, at+1)
		case "double":
			slip = slices.Insert(slip, at, slip[at])
		case "replace":
			slip[at] = '#'
		}
		if string(slip) == want {
			t.Skip("the slip changed nothing")
		}
		candidates := []string{"0000000000", want, "1111111111111"}
		if got := catalog.Suggest(string(slip), candidates); got != want {
			t.Fatalf("%q suggests %q, want %q", slip, got, want)
		}
		others := rapid.SliceOf(rapid.StringMatching(`[a-z]{4,8}`)).Draw(t, "others")
		first := catalog.Suggest(string(slip), others)
		slices.Reverse(others)
		if second := catalog.Suggest(string(slip), others); first != second {
			t.Fatalf("order of candidates changes the suggestion from %q to %q", first, second)
		}
	})
}
