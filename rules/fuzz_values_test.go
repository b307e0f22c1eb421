package rules

import (
	"math/big"
	"strings"
	"testing"
	"time"
)

// FuzzNumber holds numbers against math/big: what can be read, how two compare, and that what is written can be read again.
func FuzzNumber(f *testing.F) {
	for _, s := range []string{"0", "-0.00", "1.10", "9999999999999999999.5", "NaN", "Infinity", "-Infinity", "1e5", "1e-5", ".5", "5.", "00012", "+3", "1e999999"} {
		f.Add(s, "1.1")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if len(a)+len(b) > 200 || strings.ContainsAny(a+b, "eE") && (far(a) || far(b)) {
			return // math/big takes long for these
		}
		x, ok := parseNum(a)
		y, ok2 := parseNum(b)
		if !ok || !ok2 {
			return
		}
		if x.cmp(y) != -y.cmp(x) || x.cmp(x) != 0 {
			t.Fatalf("%s and %s: %d and %d", a, b, x.cmp(y), y.cmp(x))
		}
		if again, ok := parseNum(x.text()); !ok || again.cmp(x) != 0 {
			t.Fatalf("%q is shown as %q, which is another number", a, x.text())
		}
		if x.class != finite || y.class != finite {
			return
		}
		p, ok := new(big.Rat).SetString(a)
		q, ok2 := new(big.Rat).SetString(b)
		if !ok || !ok2 || sign(x.cmp(y)) != p.Cmp(q) || x.sign() != p.Sign() {
			t.Fatalf("%s against %s: %d, sign %d", a, b, x.cmp(y), x.sign())
		}
	})
}

func far(number string) bool {
	_, exponent, _ := strings.Cut(strings.ToLower(number), "e")
	return len(exponent) > 4
}

func sign(n int) int { return max(-1, min(1, n)) }

// FuzzMoment holds what PostgreSQL writes for a date or a time against package time.
func FuzzMoment(f *testing.F) {
	for _, s := range []string{"2024-02-29", "2024-02-29 13:45:00.5+05:30", "0044-03-15 BC", "infinity", "-infinity", "10000-01-01", "2024-02-29T13:45Z", "2024-02-30", "2024-06-30 23:59:60"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, ok := parseMoment(text)
		if ok && m.inf == 0 && m.day && m.at.Year() > 0 {
			if want, err := time.Parse(time.DateOnly, text); err == nil && (!m.at.Equal(want) || m.date() != text) {
				t.Errorf("%q is %s, shown as %s", text, m.at, m.date())
			}
		}
		if ok && m.inf == 0 && !m.day && !strings.Contains(text, ":60") && !strings.Contains(text, " 24:") {
			for _, layout := range []string{"2006-01-02 15:04:05.999999999", "2006-01-02 15:04:05.999999999-07", "2006-01-02 15:04:05.999999999-07:00", "2006-01-02 15:04:05.999999999-07:00:00"} {
				if want, err := time.Parse(layout, text); err == nil && !m.at.Equal(want) {
					t.Errorf("%q is %s, want %s", text, m.at, want)
				}
			}
		}
		if d, ok := parseDate(text); ok && d.inf == 0 && d.day {
			if want, err := time.Parse(time.DateOnly, text); err != nil || !d.at.Equal(want) {
				t.Errorf("date(%q) is %s, want %s, %v", text, d.at, want, err)
			}
		}
	})
}

// FuzzRuleDuration holds durations with days and weeks against the sum of their parts.
func FuzzRuleDuration(f *testing.F) {
	f.Add("1h30m", int16(1), int16(2))
	f.Add("-1h", int16(0), int16(400))
	f.Add("999w", int16(9999), int16(-1))
	f.Fuzz(func(t *testing.T, text string, weeks, days int16) {
		_, _ = parseDuration(text)
		rest, err := time.ParseDuration(text)
		if err != nil || text[0] == '-' || text[0] == '+' || weeks < 0 || days < 0 || weeks > 9999 || days > 9999 || rest > 1e18 {
			return
		}
		want := time.Duration(weeks)*7*24*time.Hour + time.Duration(days)*24*time.Hour + rest
		whole := itoa(weeks) + "w" + itoa(days) + "d" + text
		got, err := parseDuration(whole)
		if err != nil || got != want {
			t.Errorf("%q is %s, %v; want %s", whole, got, err, want)
		}
		if back, err := parseDuration("-" + whole); err != nil || back != -want {
			t.Errorf("-%q is %s, %v", whole, back, err)
		}
	})
}

func itoa(n int16) string { return big.NewInt(int64(n)).String() }

// FuzzTimetable asks any table for the times around any time: the last one is not after it, the next one is, and none lies between.
func FuzzTimetable(f *testing.F) {
	f.Add(int64(1767323045), "02:30", "23:59", uint8(1), uint32(0))
	f.Add(int64(0), "00:00", "00:01", uint8(4), uint32(3600))
	zones := []string{"UTC", "Europe/Paris", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca", "Asia/Kathmandu"}
	f.Fuzz(func(t *testing.T, unix int64, first, second string, zone uint8, every uint32) {
		config := Config{At: []string{first, second}, Timezone: zones[int(zone)%len(zones)]}
		longest := 49 * time.Hour
		if every > 0 {
			longest = time.Duration(every) * time.Second
			config = Config{Every: longest.String()}
		}
		r, err := scheduled(t, config)
		if err != nil {
			return
		}
		table, at := r.Schedule.Times, time.Unix(unix%(1<<35), 0)
		last, next := table.Last(at), table.Next(at)
		if last.After(at) || !next.After(at) || at.Sub(last) > longest || next.Sub(at) > longest {
			t.Fatalf("%+v at %s: %s, %s", config, at, last, next)
		}
		if again := table.Last(next); !again.Equal(next) {
			t.Fatalf("%+v: %s is a time of the table, and the last one then is %s", config, next, again)
		}
		if middle := last.Add(next.Sub(last) / 2); !table.Last(middle).Equal(last) {
			t.Fatalf("%+v: between %s and %s lies %s", config, last, next, table.Last(middle))
		}
	})
}
