package torture

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// tally counts what happened, over all rounds: by group and name.
type tally struct {
	mu     sync.Mutex
	counts map[string]map[string]int
}

func (c *tally) add(group, name string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil {
		c.counts = map[string]map[string]int{}
	}
	if c.counts[group] == nil {
		c.counts[group] = map[string]int{}
	}
	c.counts[group][name] += n
}

func (c *tally) get(group, name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts[group][name]
}

// String is a line per group, with its sum.
func (c *tally) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b strings.Builder
	for _, group := range slices.Sorted(maps.Keys(c.counts)) {
		sum, parts := 0, []string{}
		for _, name := range slices.Sorted(maps.Keys(c.counts[group])) {
			n := c.counts[group][name]
			sum += n
			parts = append(parts, fmt.Sprintf("%s %d", name, n))
		}
		fmt.Fprintf(&b, "%s (%d): %s\n", group, sum, strings.Join(parts, ", "))
	}
	return b.String()
}
