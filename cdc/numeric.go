package cdc

import (
	"math"
	"strconv"
	"strings"
)

// Numeric is an exact decimal number as PostgreSQL writes it: "-12.50", "NaN", "Infinity",
// "-Infinity". The digits after the point are kept as they are stored, so == on Numeric distinguishes
// 1.0 from 1.00; Cmp does not.
type Numeric string

// ParseNumeric checks that s is a number: digits with an optional sign, point and
// exponent, or NaN or ±Infinity in PostgreSQL's spelling.
func ParseNumeric(s string) (Numeric, bool) {
	d := split(s)
	return Numeric(s), d.class != classNaN || s == "NaN"
}

// Cmp compares by value: -1, 0 or +1. As in PostgreSQL's ordering NaN equals itself and is
// greater than all else, Infinity included. Text that is no number compares like NaN. It
// allocates nothing.
func (n Numeric) Cmp(o Numeric) int {
	a, b := split(string(n)), split(string(o))
	if a.class != b.class {
		if a.class < b.class {
			return -1
		}
		return 1
	}
	switch a.class {
	case classPositive:
		return a.compare(b)
	case classNegative:
		return b.compare(a)
	}
	return 0
}

// Sign returns -1, 0 or +1; +1 for NaN.
func (n Numeric) Sign() int {
	switch c := split(string(n)).class; {
	case c < classZero:
		return -1
	case c > classZero:
		return 1
	}
	return 0
}

// Finite says that n is a number with digits, neither NaN nor ±Infinity.
func (n Numeric) Finite() bool {
	c := split(string(n)).class
	return c > classMinusInfinity && c < classInfinity
}

// Float64 returns the nearest float64: ±Inf for what is too large, NaN for what is no number.
func (n Numeric) Float64() float64 {
	if split(string(n)).class == classNaN {
		return math.NaN()
	}
	f, _ := strconv.ParseFloat(string(n), 64) // of a number the only error is a range error, with ±Inf or 0 as wanted
	return f
}

// numericClass orders numbers before their digits do.
type numericClass int8

const (
	classMinusInfinity numericClass = iota
	classNegative
	classZero
	classPositive
	classInfinity
	classNaN
)

// decimal is the absolute value 0.d₁d₂d₃… × 10^point of a number, with d₁ ≠ 0. Its digits
// are those of whole followed by those of fraction.
type decimal struct {
	class           numericClass
	whole, fraction string
	point           int
}

// maxExponent bounds exponents; PostgreSQL's numeric ends at 131,072 digits before the point.
const maxExponent = 1 << 30

func split(s string) decimal {
	body, negative := s, false
	if s != "" && (s[0] == '-' || s[0] == '+') {
		body, negative = s[1:], s[0] == '-'
	}
	if body == "Infinity" {
		if negative {
			return decimal{class: classMinusInfinity}
		}
		return decimal{class: classInfinity}
	}
	digits, exponent := body, 0
	if i := strings.IndexAny(body, "eE"); i >= 0 {
		n, err := strconv.Atoi(body[i+1:])
		if err != nil || n > maxExponent || n < -maxExponent {
			return decimal{class: classNaN}
		}
		digits, exponent = body[:i], n
	}
	whole, fraction, _ := strings.Cut(digits, ".")
	if len(whole)+len(fraction) == 0 || !allDigits(whole) || !allDigits(fraction) {
		return decimal{class: classNaN}
	}
	whole = strings.TrimLeft(whole, "0")
	fraction = strings.TrimRight(fraction, "0")
	point := len(whole)
	if whole == "" {
		stripped := strings.TrimLeft(fraction, "0")
		point = len(stripped) - len(fraction)
		fraction = stripped
	}
	d := decimal{class: classPositive, whole: whole, fraction: fraction, point: point + exponent}
	switch {
	case whole == "" && fraction == "":
		d.class = classZero
	case negative:
		d.class = classNegative
	}
	return d
}

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// compare compares absolute values.
func (d decimal) compare(o decimal) int {
	if d.point != o.point {
		if d.point < o.point {
			return -1
		}
		return 1
	}
	if len(d.whole) == len(o.whole) {
		if c := strings.Compare(d.whole, o.whole); c != 0 {
			return c
		}
		return strings.Compare(d.fraction, o.fraction) // without zeros at the end, a prefix is less
	}
	for i := range max(len(d.whole)+len(d.fraction), len(o.whole)+len(o.fraction)) {
		if a, b := d.digit(i), o.digit(i); a != b {
			if a < b {
				return -1
			}
			return 1
		}
	}
	return 0
}

func (d decimal) digit(i int) byte {
	switch {
	case i < len(d.whole):
		return d.whole[i]
	case i-len(d.whole) < len(d.fraction):
		return d.fraction[i-len(d.whole)]
	}
	return '0'
}
