package rules

import "slices"

// extreme is max (sign 1) or min (sign -1) of values and lists of them; NULLs do not take part.
func extreme(sign int, args []any) any {
	var best any
	for _, v := range flatten(nil, args) {
		order, ok := compare(v, best)
		if c, _ := classify(v); best == nil && c != classNull || ok && order*sign > 0 {
			best = v
		}
	}
	return best
}

// numbers flattens lists and leaves NULLs out.
func numbers(function string, args []any) []num {
	var out []num
	for _, v := range flatten(nil, args) {
		c, v := classify(v)
		switch c {
		case classNull:
		case classNumber:
			out = append(out, asNum(v))
		default:
			raise("%s needs numbers, not %s", function, c)
		}
	}
	return out
}

func sum(list any) any {
	total := num{}
	for _, n := range numbers("sum", []any{list}) {
		total = total.add(n)
	}
	return boxed(total)
}

func mean(args ...any) any {
	ns := numbers("mean", args)
	if len(ns) == 0 {
		return nil
	}
	total := num{}
	for _, n := range ns {
		total = total.add(n)
	}
	return boxed(total.div(intNum(int64(len(ns)))))
}

func median(args ...any) any {
	ns := numbers("median", args)
	if len(ns) == 0 {
		return nil
	}
	slices.SortStableFunc(ns, num.cmp)
	if mid := len(ns) / 2; len(ns)%2 == 0 {
		return boxed(ns[mid-1].add(ns[mid]).div(intNum(2)))
	}
	return boxed(ns[len(ns)/2])
}

func bits2(function string, f func(a, b int64) int64) func(args ...any) any {
	return func(args ...any) any {
		for _, a := range args {
			if c, _ := classify(a); c == classNull {
				return nil
			}
		}
		return boxed(intNum(f(whole(function, args[0]), whole(function, args[1]))))
	}
}

func shiftCount(n int64) uint64 {
	if n < 0 {
		raise("cannot shift by a negative number")
	}
	return uint64(n)
}
