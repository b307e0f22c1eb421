package rules

import (
	"errors"
	"math"
	"math/big"
	"math/bits"
)

var (
	errDivisionByZero = errors.New("division by zero")
	errNumberTooLarge = errors.New("number too large")
	errNoPower        = errors.New("no real number has this power")
)

// ratNum makes a num of a result with the given number of decimals. It raises
// when the result would be of a size that only a runaway expression has.
func ratNum(r *big.Rat, scale int32) num {
	if r.Num().BitLen() > maxNumBits || r.Denom().BitLen() > maxNumBits || scale > maxNumDigits {
		panic(errNumberTooLarge)
	}
	if scale == 0 && r.IsInt() && r.Num().IsInt64() {
		return num{coef: r.Num().Int64()}
	}
	return num{big: r, scale: scale}
}

// special resolves arithmetic that involves NaN or an infinity: f is what
// float64 makes of the classes, which is what PostgreSQL's numeric does too.
func special(a, b num, f func(x, y float64) float64) (num, bool) {
	if a.class == finite && b.class == finite {
		return num{}, false
	}
	return floatNum(f(a.shape(), b.shape())), true
}

// shape is a float64 of the same class and sign.
func (n num) shape() float64 {
	if n.class == finite {
		return float64(n.sign())
	}
	return n.float64()
}

func maxScale(a, b num) int32 {
	if a.scale == unshown || b.scale == unshown {
		return unshown
	}
	return max(a.scale, b.scale)
}

func (n num) add(o num) num {
	if s, ok := special(n, o, func(x, y float64) float64 { return x + y }); ok {
		return s
	}
	if n.big == nil && o.big == nil && n.scale == o.scale {
		if s := n.coef + o.coef; (s > n.coef) == (o.coef > 0) && s > math.MinInt64 {
			return num{coef: s, scale: n.scale}
		}
	}
	return ratNum(new(big.Rat).Add(n.rat(), o.rat()), maxScale(n, o))
}

func (n num) neg() num {
	switch {
	case n.class == posInf:
		n.class = negInf
	case n.class == negInf:
		n.class = posInf
	case n.big != nil:
		n.big = new(big.Rat).Neg(n.big)
	case n.coef == math.MinInt64:
		return num{big: new(big.Rat).Neg(n.rat()), scale: n.scale}
	default:
		n.coef = -n.coef
	}
	return n
}

func (n num) sub(o num) num { return n.add(o.neg()) }

func (n num) mul(o num) num {
	if s, ok := special(n, o, func(x, y float64) float64 { return x * y }); ok {
		return s
	}
	scale := int32(unshown)
	if n.scale >= 0 && o.scale >= 0 {
		scale = n.scale + o.scale
	}
	if n.big == nil && o.big == nil && 0 <= scale && scale <= maxSmall {
		if hi, lo := bits.Mul64(magnitude(n.coef), magnitude(o.coef)); hi == 0 && lo <= math.MaxInt64 {
			if n.coef < 0 != (o.coef < 0) {
				return num{coef: -int64(lo), scale: scale}
			}
			return num{coef: int64(lo), scale: scale}
		}
	}
	return ratNum(new(big.Rat).Mul(n.rat(), o.rat()), scale)
}

func (n num) div(o num) num {
	if o.sign() == 0 && n.class != nan {
		panic(errDivisionByZero)
	}
	if s, ok := special(n, o, func(x, y float64) float64 { return x / y }); ok {
		return s
	}
	return ratNum(new(big.Rat).Quo(n.rat(), o.rat()), unshown)
}

// mod is the remainder of truncated division; it has the sign of n.
func (n num) mod(o num) num {
	if o.sign() == 0 && n.class != nan {
		panic(errDivisionByZero)
	}
	if n.class != finite || o.class == nan {
		return num{class: nan}
	}
	if o.class != finite {
		return n
	}
	if n.big == nil && o.big == nil && n.scale == o.scale { // as of whole numbers, which routing rules ask for each row
		return num{coef: n.coef % o.coef, scale: n.scale}
	}
	a, b := n.rat(), o.rat()
	q := new(big.Rat).Quo(a, b)
	t := new(big.Rat).SetInt(new(big.Int).Quo(q.Num(), q.Denom()))
	return ratNum(new(big.Rat).Sub(a, t.Mul(t, b)), maxScale(n, o))
}

// pow is exact for whole exponents of reasonable size, and float64's otherwise.
func (n num) pow(o num) num {
	if e, ok := o.whole(); ok && n.class == finite && e >= -4096 && e <= 4096 && (e >= 0 || n.sign() != 0) {
		r := n.rat()
		abs := max(e, -e)
		if int64(max(r.Num().BitLen(), r.Denom().BitLen()))*abs > maxNumBits {
			panic(errNumberTooLarge)
		}
		ex := big.NewInt(abs)
		res := new(big.Rat).SetFrac(new(big.Int).Exp(r.Num(), ex, nil), new(big.Int).Exp(r.Denom(), ex, nil))
		if e < 0 {
			return ratNum(res.Inv(res), unshown)
		}
		scale := int32(unshown)
		if n.scale >= 0 {
			scale = n.scale * int32(e)
		}
		return ratNum(res, scale)
	}
	f := math.Pow(n.float64(), o.float64())
	if n.class == finite && o.class == finite {
		switch {
		case math.IsNaN(f):
			panic(errNoPower)
		case math.IsInf(f, 0):
			panic(errNumberTooLarge)
		}
	}
	return floatNum(f)
}

// rounding says where halves and rests go.
type rounding int8

const (
	halfAway rounding = iota // 2.5 is 3, -2.5 is -3: as PostgreSQL's numeric rounds
	down                     // floor
	up                       // ceil
	toZero                   // int
)

// round returns n with the given number of decimals.
func (n num) round(decimals int, how rounding) num {
	if n.class != finite || n.scale >= 0 && int(n.scale) <= decimals {
		return n
	}
	ten := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(decimals)), nil)
	r := new(big.Rat).Mul(n.rat(), new(big.Rat).SetInt(ten))
	q, rest := new(big.Int).QuoRem(r.Num(), r.Denom(), new(big.Int))
	twice := new(big.Int).Abs(rest)
	twice.Lsh(twice, 1)
	switch {
	case rest.Sign() == 0 || how == toZero:
	case how == down && rest.Sign() < 0, how == halfAway && rest.Sign() < 0 && twice.Cmp(r.Denom()) >= 0:
		q.Sub(q, big.NewInt(1))
	case how == up && rest.Sign() > 0, how == halfAway && rest.Sign() > 0 && twice.Cmp(r.Denom()) >= 0:
		q.Add(q, big.NewInt(1))
	}
	return ratNum(new(big.Rat).SetFrac(q, ten), int32(decimals))
}

func (n num) abs() num {
	if n.sign() < 0 {
		return n.neg()
	}
	return n
}
