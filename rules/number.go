package rules

import (
	"math"
	"math/big"
	"math/bits"
	"strconv"
	"strings"
)

// num is an exact number, as PostgreSQL's numeric: a value of any size, NaN, or
// an infinity. Floats take part with the digits that PostgreSQL shows for them,
// and literals with the digits that were written, so that 0.1 is one tenth
// everywhere. The zero num is 0.
//
// It keeps the number of decimals it was written with, for people: 10.50 + 1 is 11.50. Two nums that differ in this
// only are equal. What division yields need not have finite digits: it stays
// exact inside, and is rounded when shown.
type num struct {
	class numClass
	big   *big.Rat // set when coef and scale do not hold the value; never changed once set
	coef  int64    // value = coef / 10^scale
	scale int32    // decimals; unshown for quotients
}

// numClass orders as PostgreSQL does: -Infinity < numbers < Infinity < NaN = NaN.
type numClass int8

const (
	negInf numClass = iota - 1
	finite
	posInf
	nan
)

const (
	unshown      = -1      // scale of a quotient: as many decimals as it takes
	maxSmall     = 18      // decimals that a coef of 64 bits can carry
	maxNumDigits = 150_000 // PostgreSQL's own limit is 131,072 digits before the point and 16,383 behind it
	maxNumBits   = 1 << 14 // of the numerator and the denominator of a result: some 4,900 digits
)

var pow10 = func() (p [maxSmall + 1]int64) {
	p[0] = 1
	for i := 1; i < len(p); i++ {
		p[i] = p[i-1] * 10
	}
	return p
}()

func intNum(n int64) num { return num{coef: n} }

// floatNum takes the shortest digits that mean f.
func floatNum(f float64) num {
	n, _ := parseNum(strconv.FormatFloat(f, 'g', -1, 64))
	return n
}

// parseNum reads PostgreSQL's and JSON's text forms of numbers. It reports
// false for anything else, and for exponents beyond all reason.
func parseNum(s string) (num, bool) {
	neg := false
	i := 0
	if i < len(s) && (s[i] == '-' || s[i] == '+') {
		neg = s[i] == '-'
		i++
	}
	var coef uint64
	var digits, scale int
	point := false
	start := i
	for ; i < len(s); i++ {
		c := s[i]
		if c == '.' && !point {
			point = true
			continue
		}
		if c < '0' || c > '9' {
			break
		}
		if digits++; digits <= maxSmall {
			coef = coef*10 + uint64(c-'0')
		}
		if point {
			scale++
		}
	}
	if digits == 0 {
		return parseSpecial(s[start:], neg)
	}
	if i == len(s) && digits <= maxSmall {
		n := num{coef: int64(coef), scale: int32(scale)}
		if neg {
			n.coef = -n.coef
		}
		return n, true
	}
	return parseBig(s, i, scale)
}

func parseSpecial(s string, neg bool) (num, bool) {
	switch s {
	case "NaN":
		return num{class: nan}, true
	case "Infinity", "+Inf", "Inf":
		if neg {
			return num{class: negInf}, true
		}
		return num{class: posInf}, true
	}
	return num{}, false
}

// parseBig reads what parseNum's fast path cannot: many digits or an exponent,
// which starts at s[at].
func parseBig(s string, at, scale int) (num, bool) {
	if len(s) > maxNumDigits {
		return num{}, false
	}
	if at < len(s) {
		if s[at] != 'e' && s[at] != 'E' {
			return num{}, false
		}
		exp, err := strconv.Atoi(s[at+1:])
		if err != nil || exp > maxNumDigits || exp < -maxNumDigits {
			return num{}, false
		}
		scale = max(scale-exp, 0)
	}
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		return num{}, false
	}
	return num{big: r, scale: int32(scale)}, true
}

func (n num) rat() *big.Rat {
	if n.big != nil {
		return n.big
	}
	if n.scale == 0 {
		return new(big.Rat).SetInt64(n.coef)
	}
	return big.NewRat(n.coef, pow10[n.scale])
}

func (n num) sign() int {
	switch {
	case n.class == finite && n.big != nil:
		return n.big.Sign()
	case n.class == negInf || n.class == finite && n.coef < 0:
		return -1
	case n.class == finite && n.coef == 0:
		return 0
	}
	return 1
}

// cmp orders numbers. It does not allocate for numbers of up to 18 digits.
func (n num) cmp(o num) int {
	if n.class != o.class || n.class != finite {
		return int(n.class) - int(o.class)
	}
	if n.big != nil || o.big != nil {
		return n.rat().Cmp(o.rat())
	}
	if n.scale == o.scale {
		switch {
		case n.coef < o.coef:
			return -1
		case n.coef > o.coef:
			return 1
		}
		return 0
	}
	if s, t := n.sign(), o.sign(); s != t {
		return s - t
	}
	// a/10^x against b/10^y is a·10^y against b·10^x, in 128 bits.
	ahi, alo := bits.Mul64(magnitude(n.coef), uint64(pow10[o.scale]))
	bhi, blo := bits.Mul64(magnitude(o.coef), uint64(pow10[n.scale]))
	c := 0
	switch {
	case ahi < bhi || ahi == bhi && alo < blo:
		c = -1
	case ahi > bhi || ahi == bhi && alo > blo:
		c = 1
	}
	return c * n.sign()
}

func magnitude(n int64) uint64 {
	if n < 0 {
		return -uint64(n)
	}
	return uint64(n)
}

// text shows the number: all digits where they are finite, and 20 decimals (or
// 20 behind the leading zeros) of a quotient that has no end.
func (n num) text() string {
	switch n.class {
	case nan:
		return "NaN"
	case posInf:
		return "Infinity"
	case negInf:
		return "-Infinity"
	}
	if n.big == nil && n.scale == 0 {
		return strconv.FormatInt(n.coef, 10)
	}
	r := n.rat()
	if n.scale >= 0 {
		return r.FloatString(int(n.scale))
	}
	if prec, exact := r.FloatPrec(); exact {
		return r.FloatString(prec)
	}
	zeros := (r.Denom().BitLen() - r.Num().BitLen()) * 30103 / 100000
	return strings.TrimRight(r.FloatString(20+max(zeros, 0)), "0")
}

// int64 returns the value if it was written without decimals and fits.
func (n num) int64() (int64, bool) {
	if n.class != finite || n.scale > 0 {
		return 0, false
	}
	if n.big == nil {
		return n.coef, true
	}
	if n.big.IsInt() && n.big.Num().IsInt64() {
		return n.big.Num().Int64(), true
	}
	return 0, false
}

// whole returns the value if it is a whole number, however it was written, and fits.
func (n num) whole() (int64, bool) {
	if n.class == finite && n.scale > 0 {
		if r := n.rat(); r.IsInt() {
			n = num{big: r}
		}
	}
	return n.int64()
}

func (n num) float64() float64 {
	switch n.class {
	case nan:
		return math.NaN()
	case posInf:
		return math.Inf(1)
	case negInf:
		return math.Inf(-1)
	}
	f, _ := n.rat().Float64()
	return f
}
