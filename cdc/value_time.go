package cdc

import (
	"bytes"
	"errors"
	"time"
)

var errTime = errors.New("not in ISO form (DateStyle must be ISO)")

// parseDate reads a date under DateStyle ISO. Go's time.Time could hold them, but
// RFC 3339 and most readers cannot: ±infinity and years outside of 1–9999 stay text.
func parseDate(text []byte) (any, error) {
	if infinite(text) {
		return string(text), nil
	}
	rest, bc := bytes.CutSuffix(text, []byte(" BC"))
	p := timeParser{text: rest}
	year, month, day := p.date(bc)
	if p.bad || p.pos != len(rest) {
		return nil, errTime
	}
	if bc || year < 1 || year > 9999 {
		return string(text), nil
	}
	return time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC), nil
}

// parseTimestamp reads a timestamp under DateStyle ISO, with its offset from UTC when it has one.
func parseTimestamp(text []byte, zone bool) (any, error) {
	if infinite(text) {
		return string(text), nil
	}
	rest, bc := bytes.CutSuffix(text, []byte(" BC"))
	p := timeParser{text: rest}
	year, month, day := p.date(bc)
	if !p.skip(' ') {
		p.expect('T')
	}
	hour, minute, second, nano := p.clock()
	offset := 0
	if zone {
		offset = p.offset()
	}
	if p.bad || p.pos != len(rest) {
		return nil, errTime
	}
	if !bc && year >= 1 && year <= 9999 {
		t := time.Date(year, time.Month(month), day, hour, minute, second, nano, time.UTC).Add(-time.Duration(offset) * time.Second)
		if y := t.Year(); y >= 1 && y <= 9999 {
			return t, nil
		}
	}
	return string(text), nil
}

func infinite(text []byte) bool {
	return string(text) == "infinity" || string(text) == "-infinity"
}

// timeParser reads numbers of fixed width. Once something does not fit, bad is set.
type timeParser struct {
	text []byte
	pos  int
	bad  bool
}

func (p *timeParser) skip(c byte) bool {
	if p.pos < len(p.text) && p.text[p.pos] == c {
		p.pos++
		return true
	}
	return false
}

func (p *timeParser) expect(c byte) {
	if !p.skip(c) {
		p.bad = true
	}
}

// number reads lo to hi digits, whose value is within from and to.
func (p *timeParser) number(lo, hi, from, to int) int {
	n, digits := 0, 0
	for ; digits < hi && p.pos < len(p.text) && p.text[p.pos] >= '0' && p.text[p.pos] <= '9'; digits++ {
		n = n*10 + int(p.text[p.pos]-'0')
		p.pos++
	}
	if digits < lo || n < from || n > to {
		p.bad = true
	}
	return n
}

func (p *timeParser) date(bc bool) (year, month, day int) {
	year = p.number(4, 7, 0, 5_874_897) // the last year of type date
	p.expect('-')
	month = p.number(2, 2, 1, 12)
	p.expect('-')
	day = p.number(2, 2, 1, 31)
	if day > 28 && !p.bad {
		astronomical := year
		if bc {
			astronomical = 1 - year
		}
		p.bad = time.Date(astronomical, time.Month(month), day, 0, 0, 0, 0, time.UTC).Day() != day
	}
	return year, month, day
}

func (p *timeParser) clock() (hour, minute, second, nano int) {
	hour = p.number(2, 2, 0, 23)
	p.expect(':')
	minute = p.number(2, 2, 0, 59)
	p.expect(':')
	second = p.number(2, 2, 0, 59)
	if p.skip('.') {
		from := p.pos
		nano = p.number(1, 9, 0, 999_999_999)
		for range 9 - (p.pos - from) {
			nano *= 10
		}
	}
	return hour, minute, second, nano
}

// offset reads +hh, +hh:mm or +hh:mm:ss, in seconds east of UTC.
func (p *timeParser) offset() int {
	sign := 1
	if p.skip('-') {
		sign = -1
	} else {
		p.expect('+')
	}
	seconds := p.number(2, 2, 0, 23) * 3600
	if p.skip(':') {
		seconds += p.number(2, 2, 0, 59) * 60
	}
	if p.skip(':') {
		seconds += p.number(2, 2, 0, 59)
	}
	return sign * seconds
}
