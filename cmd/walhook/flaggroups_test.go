package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Flags that contradict each other are a mistake of usage, with status 2 and the way to the help, for every command that has such.
func TestFlagsThatContradict(t *testing.T) {
	value := func(f *pflag.Flag) string {
		switch f.Value.Type() {
		case "bool":
			return "--" + f.Name + "=true"
		case "int", "int64", "float64":
			return "--" + f.Name + "=1"
		case "duration":
			return "--" + f.Name + "=1s"
		}
		return "--" + f.Name + "=x"
	}
	groups := 0
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		for _, child := range c.Commands() {
			walk(child)
		}
		var tried []string
		c.Flags().VisitAll(func(f *pflag.Flag) {
			for _, group := range f.Annotations["cobra_annotation_mutually_exclusive"] {
				if slices.Contains(tried, group) {
					continue
				}
				tried = append(tried, group)
				groups++
				args := strings.Fields(c.CommandPath())[1:]
				for _, name := range strings.Fields(group)[:2] {
					args = append(args, value(c.Flags().Lookup(name)))
				}
				if c.Args != nil && c.Args(c, nil) != nil {
					args = append(args, "something")
				}
				var stdout, stderr bytes.Buffer
				if code := run(t.Context(), args, &stdout, &stderr); code != exitUsage || !strings.Contains(stderr.String(), "none of the others can be") || !strings.Contains(stderr.String(), "hint: "+c.CommandPath()+" --help") {
					t.Errorf("%q: status %d\n%s", args, code, stderr.String())
				}
			}
		})
	}
	walk((&app{}).root())
	if groups < 10 {
		t.Errorf("%d groups of flags", groups)
	}
}
