package rules

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// everyColumn stands for the columns of a rollup's lines when one that the rule names is gone: it may have another name now, so that a change of any counts.
type everyColumn struct{}

// withoutRollup takes out of rollup what does not fit: a field that is gone, and only it; of a field whose lines have lost a column, the choice of
// columns. What was given is not changed: other configurations hold it too.
func (c *Config) withoutRollup(paths []string) bool {
	given := c.Rollup
	switch v := given.(type) {
	case []any:
		kept := slices.Clone(v)
		for i := len(v) - 1; i >= 0; i-- {
			if slices.Contains(paths, fmt.Sprintf("rollup[%d]", i)) {
				kept = slices.Delete(kept, i, i+1)
			}
		}
		if c.Rollup = kept; len(kept) == len(v) || len(kept) == 0 {
			c.Rollup = nil
		}
	case map[string]any:
		kept := maps.Clone(v)
		for field, columns := range v {
			path := "rollup." + field
			if !slices.ContainsFunc(paths, func(p string) bool { return p == path || strings.HasPrefix(p, path+"[") }) {
				continue
			}
			if _, listed := columns.([]any); listed {
				kept[field] = everyColumn{}
			} else {
				delete(kept, field)
			}
		}
		if c.Rollup = kept; len(kept) == 0 || slices.Contains(paths, "rollup") {
			c.Rollup = nil
		}
	default:
		c.Rollup = nil
	}
	return given != nil
}
