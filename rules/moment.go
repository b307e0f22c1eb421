package rules

import (
	"fmt"
	"strconv"
	"time"
)

// moment is a date or timestamp, PostgreSQL's infinities included.
type moment struct {
	inf int8 // -1 or 1: -infinity or infinity
	day bool // it is a date: sent without a time
	at  time.Time
}

func (m moment) cmp(o moment) int {
	if m.inf != o.inf || m.inf != 0 {
		return int(m.inf) - int(o.inf)
	}
	return m.at.Compare(o.at)
}

// parseMoment reads PostgreSQL's ISO output of date, timestamp and timestamptz,
// "2024-02-29 13:45:00.5+05:30 BC", of any year. What has no zone is UTC.
func parseMoment(s string) (moment, bool) {
	switch s {
	case "infinity":
		return moment{inf: 1}, true
	case "-infinity":
		return moment{inf: -1}, true
	}
	bc := false
	if n := len(s) - len(" BC"); n > 0 && s[n:] == " BC" {
		bc, s = true, s[:n]
	}
	p := scanner{rest: s, ok: true}
	year := p.number(4, 7)
	month := p.after('-').number(2, 2)
	day := p.after('-').number(2, 2)
	var hour, minute, second, nano, offset int
	date := p.rest == ""
	if p.ok && !date {
		hour = p.after(' ').number(2, 2)
		minute = p.after(':').number(2, 2)
		second = p.after(':').number(2, 2)
		nano = p.fraction()
		offset = p.zone()
	}
	if !p.ok || p.rest != "" || month < 1 || month > 12 || day < 1 || day > 31 || hour > 24 || minute > 59 || second > 60 {
		return moment{}, false
	}
	if bc {
		year = 1 - year
	}
	at := time.Date(year, time.Month(month), day, hour, minute, second-offset, nano, time.UTC)
	return moment{at: at, day: date}, true
}

// date writes a date as PostgreSQL does.
func (m moment) date() string {
	y, month, d := m.at.Date()
	if y < 1 {
		return fmt.Sprintf("%04d-%02d-%02d BC", 1-y, month, d)
	}
	return fmt.Sprintf("%04d-%02d-%02d", y, month, d)
}

// scanner eats a text from the left; ok turns false at the first misfit.
type scanner struct {
	rest string
	ok   bool
}

func (p *scanner) number(minDigits, maxDigits int) int {
	n := 0
	for n < len(p.rest) && n < maxDigits && p.rest[n] >= '0' && p.rest[n] <= '9' {
		n++
	}
	v, err := strconv.Atoi(p.rest[:n])
	p.ok = n >= minDigits && err == nil
	if p.ok {
		p.rest = p.rest[n:]
	} else {
		p.rest = ""
	}
	return v
}

func (p *scanner) after(c byte) *scanner {
	if p.ok && p.rest != "" && p.rest[0] == c {
		p.rest = p.rest[1:]
		return p
	}
	p.rest = "" // the number that follows fails
	return p
}

func (p *scanner) fraction() int {
	if !p.ok || p.rest == "" || p.rest[0] != '.' {
		return 0
	}
	p.rest = p.rest[1:]
	n := len(p.rest)
	v := p.number(1, 9)
	for n -= len(p.rest); p.ok && n < 9; n++ {
		v *= 10
	}
	return v
}

// zone returns seconds east of UTC: "+02", "-03:30", "+00:19:32" or nothing.
func (p *scanner) zone() int {
	if !p.ok || p.rest == "" {
		return 0
	}
	sign := 1
	switch p.rest[0] {
	case '-':
		sign = -1
	case '+':
	default:
		p.ok = false
		return 0
	}
	p.rest = p.rest[1:]
	v := p.number(2, 2) * 3600
	for unit := 60; unit >= 1 && p.ok && p.rest != ""; unit /= 60 {
		v += p.after(':').number(2, 2) * unit
	}
	return sign * v
}

// parseDate reads what date("…") takes: a date, or a date and a time with a
// blank or a T between them, with or without a zone; UTC without.
func parseDate(s string) (moment, bool) {
	if len(s) > 10 && s[10] == 'T' {
		s = s[:10] + " " + s[11:]
	}
	if n := len(s) - 1; n > 10 && s[n] == 'Z' {
		s = s[:n]
	}
	if len(s) == len("2006-01-02 15:04") {
		s += ":00"
	}
	m, ok := parseMoment(s)
	return m, ok && (m.inf != 0 || s[4] == '-' && m.at.Year() >= 1 && sameDay(m.at, s)) // sameDay counts on a year of four digits
}

// sameDay refuses the 30th of February, which time.Date makes a day in March;
// with a zone the day in UTC may be a neighbour.
func sameDay(at time.Time, s string) bool {
	day, err := strconv.Atoi(s[8:10])
	month, err2 := strconv.Atoi(s[5:7])
	if err != nil || err2 != nil {
		return false
	}
	return time.Date(at.Year(), time.Month(month), day, 0, 0, 0, 0, time.UTC).Month() == time.Month(month)
}

// parseDuration reads Go's durations ("1h30m", "250ms") and whole days and weeks in front ("2w3d12h").
func parseDuration(s string) (time.Duration, error) {
	rest, total, days := s, time.Duration(0), false
	neg := rest != "" && rest[0] == '-'
	if neg {
		rest = rest[1:]
	}
	for _, unit := range []struct {
		name byte
		d    time.Duration
	}{{'w', 7 * 24 * time.Hour}, {'d', 24 * time.Hour}} {
		i := 0
		for i < len(rest) && i < 4 && rest[i] >= '0' && rest[i] <= '9' {
			i++
		}
		if i == 0 || i == len(rest) || rest[i] != unit.name {
			continue
		}
		n, err := strconv.Atoi(rest[:i])
		if err != nil {
			return 0, err
		}
		total += time.Duration(n) * unit.d
		rest, days = rest[i+1:], true
	}
	if rest != "" || !days {
		d, err := time.ParseDuration(rest)
		if err != nil {
			return 0, err
		}
		total += d
	}
	if neg {
		total = -total
	}
	return total, nil
}
