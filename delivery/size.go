package delivery

import (
	"fmt"
	"strconv"
	"strings"
)

// Size is a number of bytes that configuration spells "512KiB", "16MiB", "2GiB", "1048576" or 1048576.
type Size int64

// units of a Size, the largest first.
var units = []struct {
	name  string
	bytes int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

// UnmarshalText parses a size.
func (b *Size) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	factor := int64(1)
	for _, u := range units {
		if rest, ok := strings.CutSuffix(s, u.name); ok {
			s, factor = strings.TrimSpace(rest), u.bytes
		}
	}
	n, err := strconv.ParseInt(strings.ReplaceAll(s, "_", ""), 10, 64) // TOML's 1_048_576
	if err != nil || n < 0 || n > (1<<62)/factor {
		return fmt.Errorf(`%q is no size, such as "16MiB"`, string(text))
	}
	*b = Size(n * factor)
	return nil
}

// String spells the size in the largest unit that divides it.
func (b Size) String() string {
	for _, u := range units {
		if int64(b) >= u.bytes && int64(b)%u.bytes == 0 {
			return strconv.FormatInt(int64(b)/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10)
}
