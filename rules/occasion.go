package rules

import (
	"fmt"
	"slices"

	"github.com/expr-lang/expr/ast"

	"walhook/cdc"
)

// occasion is what makes a rule look: changes of rows, custom events, or the time.
type occasion uint8

const (
	onChange occasion = iota
	onMessage
	onSchedule
)

// occasions are the names that on has for those that are no operations on rows.
var occasions = map[string]struct {
	occasion
	op cdc.Op
}{"message": {onMessage, cdc.Message}, "schedule": {onSchedule, cdc.Schedule}}

// occasion reads on. What on lists is checked by operations.
func (c *ruleCompiler) occasion() occasion {
	for _, name := range c.config.On {
		if o, ok := occasions[name]; ok {
			return o.occasion
		}
	}
	return onChange
}

// checkOccasion refuses keys that say nothing on this occasion.
func (c *ruleCompiler) checkOccasion() {
	config, o := &c.config, c.occasion()
	if o != onChange && len(config.On) > 1 {
		i := slices.IndexFunc(config.On, func(name string) bool { _, ok := occasions[name]; return ok })
		c.fail(fmt.Sprintf("on[%d]", i), fmt.Sprintf("%q stands alone", config.On[i]), "make a rule of its own for the others")
	}
	for _, key := range []struct {
		name string
		set  bool
		fits []occasion
		why  string
	}{
		{"messages", config.Messages != nil, []occasion{onMessage}, `it goes with on = ["message"]`},
		{"every", config.Every != "", []occasion{onSchedule}, `it goes with on = ["schedule"]`},
		{"at", config.At != nil, []occasion{onSchedule}, `it goes with on = ["schedule"]`},
		{"timezone", config.Timezone != "", []occasion{onSchedule}, `it goes with on = ["schedule"]`},
		{"first", config.First != "", []occasion{onSchedule}, `it goes with on = ["schedule"]`},
		{"max_per_run", config.MaxPerRun != 0, []occasion{onSchedule}, `it goes with on = ["schedule"]`},
		{"each_write", config.EachWrite, []occasion{onChange}, "it is about writes of a record"},
		{"ignore", config.Ignore != nil, []occasion{onChange}, "it is about writes of a record"},
		{"ignore_users", config.IgnoreUsers != nil, []occasion{onChange}, "it is about changes of a record"},
		{"rollup", config.Rollup != nil, []occasion{onChange}, "it is about changes of other records"},
		{"split", config.Split != nil, []occasion{onChange, onSchedule}, "a message has no lines"},
		{"upgrades", config.Upgrades != "", []occasion{onChange}, "it is about changes that a module upgrade makes"},
		{"exclude", config.Exclude != nil, []occasion{onChange, onSchedule}, "a message's data is sent as it is"},
		{"debounce", config.Debounce != "", []occasion{onChange, onMessage}, "a scheduled rule sends a record's event once"},
	} {
		if key.set && !slices.Contains(key.fits, o) {
			c.fail(key.name, fmt.Sprintf("%s has no meaning here: %s", key.name, key.why), "remove "+key.name)
		}
	}
}

// adapt refuses what an expression cannot know on its rule's occasion, and gives what it says of a message the names that columns have: a message is a
// row, and message.event is after.event of it. It changes the tree.
func (x *expression) adapt(n *ast.Node) {
	switch x.occasion {
	case onMessage:
		ast.Walk(n, &messageNames{x: x})
	case onSchedule:
		ast.Walk(n, &scheduleNames{x: x})
	}
}

// transitions are the functions that compare a row before with the row after.
var transitions = []string{funcChanged, funcBecame, funcEntered}

// scheduleNames finds names that scheduled rules do without.
type scheduleNames struct{ x *expression }

// Visit implements ast.Visitor.
func (v *scheduleNames) Visit(n *ast.Node) {
	switch n := (*n).(type) {
	case *ast.IdentifierNode:
		switch n.Value {
		case nameBefore:
			v.x.failAt(n, "a scheduled rule looks at records as they are: there is no before", "write after; the rule sends a record's event once, when its condition has become true")
		case nameTx:
			v.x.failAt(n, "a scheduled rule looks at records at set times: there is no transaction", "the time of the run is now()")
		}
	case *ast.CallNode:
		for _, name := range transitions {
			if calls(n, name) {
				v.x.failAt(n, fmt.Sprintf("a scheduled rule looks at records as they are: %s has nothing to compare them with", name),
					"write the condition as it is to be, as in after.state == \"sale\"; the rule sends a record's event once, when it has become true")
			}
		}
	}
}
