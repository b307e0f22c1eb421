package torture

import (
	"fmt"
	"strings"
	"testing"
)

// The checker itself: what it lets pass, and what it does not.
func TestCheckerOfArrivals(t *testing.T) {
	event := func(key string, before, after int64) expected {
		return expected{change: change{Endpoint: "first", Rule: "orders", Table: "sale_order", Key: key, Before: before, After: after}, XID: uint32(max(before, after))}
	}
	a, b, c, other := event("1", 0, 10), event("1", 10, 11), event("1", 11, 0), event("2", 0, 20)
	got := func(e expected, life int, accepted bool) arrival {
		return arrival{change: e.change, id: "msg", xid: e.XID, life: life, accepted: accepted}
	}
	for name, test := range map[string]struct {
		want     []expected
		arrivals []arrival
		complain string // "" for nothing
	}{
		"in order":               {[]expected{a, b, c, other}, []arrival{got(a, 1, true), got(b, 1, true), got(other, 1, true), got(c, 1, true)}, ""},
		"again, refused before":  {[]expected{a, b}, []arrival{got(a, 1, false), got(a, 1, true), got(b, 1, true)}, ""},
		"again in another life":  {[]expected{a, b}, []arrival{got(a, 1, true), got(b, 1, true), got(a, 2, true), got(b, 2, true)}, ""},
		"again in the same life": {[]expected{a, b}, []arrival{got(a, 1, true), got(b, 1, true), got(a, 1, true)}, "arrived in life 1 after"},
		"ahead of another":       {[]expected{a, b}, []arrival{got(a, 1, false), got(b, 1, true), got(a, 2, true)}, "was not accepted yet"},
		"lost":                   {[]expected{a, b, other}, []arrival{got(a, 1, true), got(b, 1, true)}, "never arrived"},
		"never accepted":         {[]expected{a}, []arrival{got(a, 1, false)}, "never arrived"},
		"rolled back":            {[]expected{a}, []arrival{got(a, 1, true), got(b, 1, true)}, "was not to be"},
		"another transaction":    {[]expected{a}, []arrival{{change: a.change, xid: 3, life: 1, accepted: true}}, "comes from transaction"},
		"before is not after":    {[]expected{a, c}, []arrival{got(a, 1, true), got(c, 1, true)}, "do not join"},
	} {
		var said []string
		verifyArrivals(test.want, test.arrivals, func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) })
		if test.complain == "" && len(said) > 0 || test.complain != "" && (len(said) != 1 || !strings.Contains(said[0], test.complain)) {
			t.Errorf("%s: complaints %q, want one of %q", name, said, test.complain)
		}
	}
}
