package delivery

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a time.Duration that configuration spells "15s", "1h30m" or "30d". A day is
// 24 hours.
type Duration time.Duration

// Std returns d as the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String spells d shortly: "15s", "1h30m", "30d".
func (d Duration) String() string {
	t := time.Duration(d)
	if t >= 24*time.Hour && t%(24*time.Hour) == 0 {
		return strconv.FormatInt(int64(t/(24*time.Hour)), 10) + "d"
	}
	s := t.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText returns what String does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what time.ParseDuration does, and days: "30d", "1d12h".
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := parseDuration(string(text))
	if err != nil {
		return err
	}
	*d = Duration(parsed)
	return nil
}

func parseDuration(text string) (time.Duration, error) {
	bad := func() error {
		return fmt.Errorf("%q is no duration: write a number and a unit, as in 500ms, 15s, 5m, 2h or 30d", text)
	}
	rest, days := text, time.Duration(0)
	if before, after, ok := strings.Cut(text, "d"); ok {
		n, err := strconv.ParseUint(before, 10, 63)
		if err != nil && !errors.Is(err, strconv.ErrRange) {
			return 0, bad()
		}
		if err != nil || n > math.MaxInt64/uint64(24*time.Hour) {
			return 0, fmt.Errorf("%q is longer than 292 years", text)
		}
		if days, rest = time.Duration(n)*24*time.Hour, after; rest == "" {
			return days, nil
		}
	}
	t, err := time.ParseDuration(rest)
	switch {
	case err != nil || days > 0 && t < 0:
		return 0, bad()
	case t > math.MaxInt64-days:
		return 0, fmt.Errorf("%q is longer than 292 years", text)
	}
	return days + t, nil
}
