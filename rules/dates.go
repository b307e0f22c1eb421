package rules

import (
	"strings"
	"time"
)

// dateOf is date(): reads a text, or takes the day of a date.
func dateOf(v any) any {
	c, v := classify(v)
	switch c {
	case classNull:
		return nil
	case classText:
		s := strings.TrimSpace(asText(v))
		if s == "" {
			return nil
		}
		m, ok := parseDate(s)
		if !ok {
			raise("%q is no date", excerpt(s))
		}
		return m
	case classTime:
		m := asMoment(v)
		if m.inf == 0 {
			y, month, d := m.at.Date()
			m.at, m.day = time.Date(y, month, d, 0, 0, 0, 0, m.at.Location()), true
		}
		return m
	}
	raise("date needs a text or a date, not %s", c)
	return nil
}

// durationOf is duration().
func durationOf(v any) any {
	c, v := classify(v)
	switch c {
	case classNull:
		return nil
	case classDuration:
		return v
	case classText:
		if asText(v) == "" {
			return nil
		}
		d, err := parseDuration(asText(v))
		if err != nil {
			raise("%q is no duration", excerpt(asText(v)))
		}
		return d
	}
	raise("duration needs a text, not %s", c)
	return nil
}

// method calls a method of a date or a duration. That of NULL is NULL, and an infinite date has no parts.
func method(name string) func(args ...any) any {
	return func(args ...any) any {
		if z, ok := args[0].(*time.Location); ok {
			raise("%s cannot be called on the time zone %s", name, z)
		}
		c, v := classify(args[0])
		switch c {
		case classNull:
			return nil
		case classTime:
			if m := asMoment(v); m.inf == 0 {
				return timeMethod(name, m, args[1:])
			}
			return nil
		case classDuration:
			return durationMethod(name, v.(time.Duration))
		}
		raise("%s cannot be called on %s", name, c)
		return nil
	}
}

func timeMethod(name string, m moment, args []any) any {
	t := m.at
	switch name {
	case "Year":
		return t.Year()
	case "Month":
		return int(t.Month())
	case "Day":
		return t.Day()
	case "Hour":
		return t.Hour()
	case "Minute":
		return t.Minute()
	case "Second":
		return t.Second()
	case "Weekday":
		return int(t.Weekday())
	case "YearDay":
		return t.YearDay()
	case "Unix":
		return boxed(intNum(t.Unix()))
	case "UnixMilli":
		return boxed(intNum(t.UnixMilli()))
	}
	switch {
	case name == "Format" && len(args) == 1:
		return t.Format(text(name, args[0]))
	case name == "In" && len(args) == 1:
		if z, ok := args[0].(*time.Location); ok {
			return moment{at: t.In(z)}
		}
		raise("In needs a timezone(…)")
	case name == "AddDate" && len(args) == 3:
		y, months, d := whole(name, args[0]), whole(name, args[1]), whole(name, args[2])
		for _, n := range []int64{y, months, d} {
			if n > 1_000_000 || n < -1_000_000 {
				raise("AddDate out of range")
			}
		}
		return moment{at: t.AddDate(int(y), int(months), int(d)), day: m.day}
	}
	raise("%s cannot be called on a date like this", name)
	return nil
}

// durationMethod yields exact numbers.
func durationMethod(name string, d time.Duration) any {
	unit := map[string]time.Duration{"Hours": time.Hour, "Minutes": time.Minute, "Seconds": time.Second, "Milliseconds": time.Millisecond}[name]
	if unit == 0 {
		raise("%s cannot be called on a duration", name)
	}
	return boxed(intNum(int64(d)).div(intNum(int64(unit))))
}
