package rules

import (
	"fmt"
	"testing"
	"time"

	"walhook/cdc/catalog"
)

// A sample takes its part of the records, always the same ones, and those of each smaller sample.
func TestSample(t *testing.T) {
	table := &catalog.Table{Schema: "public", Name: "sale_order"}
	tenth, third, whole := Handling{Sample: 0.1}, Handling{Sample: 1.0 / 3}, Handling{Sample: 1}
	const n = 20_000
	var taken, more int
	for i := range n {
		key := fmt.Sprint(i)
		in := tenth.Takes(table, key)
		switch {
		case in != tenth.Takes(table, key):
			t.Fatal("not the same twice")
		case in && !third.Takes(table, key), !whole.Takes(table, key):
			t.Fatalf("record %s is in a smaller sample and not in a larger one", key)
		}
		if in {
			taken++
		}
		if third.Takes(table, key) {
			more++
		}
	}
	// Five standard deviations and more; and it is the same each time.
	if taken < n/10-250 || taken > n/10+250 || more < n/3-350 || more > n/3+350 {
		t.Errorf("a tenth is %d of %d, a third is %d", taken, n, more)
	}
	// Which records these are stands in receivers' data: it never changes.
	var keys []string
	for i := 0; len(keys) < 5; i++ {
		if key := fmt.Sprint(i); tenth.Takes(table, key) {
			keys = append(keys, key)
		}
	}
	if got, want := fmt.Sprint(keys), "[5 21 35 41 43]"; got != want {
		t.Errorf("the first records are %s, want %s", got, want)
	}
}

func TestHandling(t *testing.T) {
	half := 0.5
	set, err := Compile([]Config{
		rule(Config{Name: "plain"}),
		rule(Config{Name: "all", Test: true, Sample: &half, Priority: "high", Debounce: "90s", DebounceMax: "1h"}),
		rule(Config{Name: "short", Priority: "low", Debounce: "30s"}),
		rule(Config{Name: "long", Debounce: "24h"}),
	}, testCatalog())
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []Handling{
		{Sample: 1},
		{Test: true, Sample: 0.5, Priority: High, Wait: 90 * time.Second, Max: time.Hour},
		{Sample: 1, Priority: Low, Wait: 30 * time.Second, Max: 5 * time.Minute},
		{Sample: 1, Wait: 24 * time.Hour, Max: 7 * 24 * time.Hour},
	} {
		if got := set.Rules()[i].Handling; got != want {
			t.Errorf("%s: got %+v, want %+v", set.Rules()[i].Name, got, want)
		}
	}
}
