package harness

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Tally counts what happened, by group and name. The zero value counts from nothing.
type Tally struct {
	mu     sync.Mutex
	counts map[string]map[string]int
}

// Add counts n more.
func (c *Tally) Add(group, name string, n int) {
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

// Count is what one name has come to.
func (c *Tally) Count(group, name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts[group][name]
}

// Group is a copy of what a group holds.
func (c *Tally) Group(group string) map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.counts[group])
}

// Drop forgets a group.
func (c *Tally) Drop(group string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.counts, group)
}

// Take adds another tally, with something before the names of its groups.
func (c *Tally) Take(other *Tally, prefix string) {
	other.mu.Lock()
	copied := map[string]map[string]int{}
	for group, names := range other.counts {
		copied[group] = maps.Clone(names)
	}
	other.mu.Unlock()
	for group, names := range copied {
		for name, n := range names {
			c.Add(prefix+group, name, n)
		}
	}
}

// String is a line per group, with its sum.
func (c *Tally) String() string {
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

// ReadTally reads a file that [Tally.AddTo] has written; one that does not exist is empty.
func ReadTally(path string) (*Tally, error) {
	c := &Tally{}
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return c, nil
	case err != nil:
		return nil, err
	}
	if err := json.Unmarshal(text, &c.counts); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// AddTo adds the counts to those of a file, so that several runs add up, also of several processes at once. Before the sum is written finish may
// compute what is made of it; it may be nil.
func (c *Tally) AddTo(path, prefix string, finish func(sum *Tally)) error {
	defer lockFile(path + ".lock")()
	sum, err := ReadTally(path)
	if err != nil {
		return err
	}
	sum.Take(c, prefix)
	if finish != nil {
		finish(sum)
	}
	text, err := json.MarshalIndent(sum.counts, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", append(text, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// lockFile keeps others out until the function that it returns is called. Whoever was killed while it held the lock is waited for for ten seconds.
func lockFile(path string) (unlock func()) {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL, 0o600)
		if err == nil {
			f.Close()
			break
		}
		if !errors.Is(err, fs.ErrExist) {
			break // the write says what is wrong
		}
	}
	return func() { _ = os.Remove(path) }
}
