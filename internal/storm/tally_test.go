package storm

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
)

// tally counts what happened, over all rounds: by group and name. Tallies of several runs can be added up.
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

// merge writes the counts to a file, together with those that it holds already.
func (c *tally) merge(path string) error {
	text, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	var before map[string]map[string]int
	if err == nil {
		if err := json.Unmarshal(text, &before); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	for group, names := range before {
		for name, n := range names {
			c.add(group, name, n)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	text, err = json.MarshalIndent(c.counts, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
