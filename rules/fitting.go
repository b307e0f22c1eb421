package rules

import (
	"errors"
	"reflect"
	"slices"
	"strings"

	"walhook/cdc"
	"walhook/cdc/catalog"
)

// Unfit is a rule that was compiled once and does not fit the schema any more: a column was dropped, or a module uninstalled.
type Unfit struct {
	Rule     int // index in the configs
	Name     string
	Problems []*Problem
	// Parks says that the rule still watches its table: each event that its condition, as far as it is understood, lets through is
	// parked. Otherwise there is nothing to watch.
	Parks bool
}

func (u *Unfit) Error() string {
	var all []string
	for _, p := range u.Problems {
		all = append(all, p.Error())
	}
	return strings.Join(all, "; ")
}

// Hint is the remedy of the first problem that has one.
func (u *Unfit) Hint() string {
	for _, p := range u.Problems {
		if p.Suggest != "" {
			return p.Suggest
		}
	}
	return ""
}

// evalError is what an event that the rule would send is parked with.
func (u *Unfit) evalError() error {
	first := u.Problems[0]
	return &EvalError{Rule: u.Name, Path: first.Path, Err: u.reason(), Offset: first.Offset, Expr: first.Expr}
}

func (u *Unfit) reason() error {
	first := u.Problems[0]
	if first.Suggest == "" {
		return errors.New("the rule does not fit the database any more: " + first.Message)
	}
	return errors.New("the rule does not fit the database any more: " + first.Message + "; " + first.Suggest)
}

// vital are keys without which a rule watches nothing.
var vital = []string{"", "name", "model", "table", "on", "endpoint", "endpoints"}

// CompileFitting compiles like Compile, for a process that goes on while the schema changes under it: rules that do not fit are
// no error. Such a rule is compiled without the keys that do not fit, and parks what it matches, so that
// nothing is lost and the other rules go on. If the condition itself does not fit, that is every event of its table.
//
// Mistakes that no single rule has made, in [functions] say, are an error still.
func (s Settings) CompileFitting(configs []Config, cat *catalog.Catalog) (*Set, []*Unfit, error) {
	unfit := map[int]*Unfit{}
	reduced, places := slices.Clone(configs), make([]int, len(configs))
	for i := range places {
		places[i] = i
	}
	for {
		set, err := s.Compile(reduced, cat)
		if err == nil {
			return set, markUnfit(set, configs, places, unfit), nil
		}
		byRule, err := problemsByRule(err)
		if err != nil {
			return nil, nil, err
		}
		for at, problems := range byRule {
			u := unfit[places[at]]
			if u == nil {
				u = &Unfit{Rule: places[at], Name: configs[places[at]].Name, Parks: true}
				unfit[places[at]] = u
			}
			var keys []string
			wrong := map[string][]string{} // the paths of what is wrong, by key
			for _, p := range problems {
				p.Rule = places[at]
				if !slices.ContainsFunc(u.Problems, p.repeats) {
					u.Problems = append(u.Problems, p)
				}
				key := p.key()
				if wrong[key] == nil {
					keys = append(keys, key)
				}
				wrong[key] = append(wrong[key], p.Path)
			}
			for _, key := range keys {
				u.Parks = reduced[at].without(key, wrong[key]) && u.Parks
			}
		}
		for at := len(reduced) - 1; at >= 0; at-- {
			if u := unfit[places[at]]; u != nil && !u.Parks {
				reduced, places = slices.Delete(reduced, at, at+1), slices.Delete(places, at, at+1)
			}
		}
	}
}

// problemsByRule sorts problems by the place of their rule. Other errors are returned.
func problemsByRule(err error) (map[int][]*Problem, error) {
	byRule := map[int][]*Problem{}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return nil, err
	}
	for _, e := range joined.Unwrap() {
		p, ok := e.(*Problem)
		if !ok || p.Rule < 0 {
			return nil, err
		}
		byRule[p.Rule] = append(byRule[p.Rule], p)
	}
	return byRule, nil
}

// key is the rule's key that the problem is in: "payload" of "payload.lines.qty".
func (p *Problem) key() string {
	if end := strings.IndexAny(p.Path, ".["); end >= 0 {
		return p.Path[:end]
	}
	return p.Path
}

// repeats says that a problem is one that was found before.
func (p *Problem) repeats(earlier *Problem) bool {
	return p.Path == earlier.Path && p.Message == earlier.Message
}

// without takes what is wrong out of a key of the rule, so that the rule takes no fewer events than it did: only then are all of them parked.
// It is false when there is no such rule.
func (c *Config) without(key string, paths []string) bool {
	switch scheduled := slices.Contains(c.On, "schedule"); {
	case key == "rollup" && !scheduled:
		return c.withoutRollup(paths)
	case key == "on" && !scheduled:
		return c.withoutArchiving()
	case key == "model" && slices.Contains(c.On, "message") && c.Model != "":
		c.Model = "" // messages go on arriving when what they are about is gone
		return true
	}
	return c.empty(key)
}

// withoutArchiving makes a rule take all writes when a record's table does not say any more whether it is archived.
func (c *Config) withoutArchiving() bool {
	var on []string
	for _, op := range c.On {
		if op == opArchive || op == opUnarchive {
			op = cdc.Write.String()
		}
		if !slices.Contains(on, op) {
			on = append(on, op)
		}
	}
	if slices.Equal(on, c.On) {
		return false
	}
	c.On = on
	return true
}

// empty takes a key of the rule away. It is false when the rule is none without it: a scheduled rule without its
// condition would take every record.
func (c *Config) empty(key string) bool {
	if slices.Contains(vital, key) || slices.Contains(c.On, "schedule") {
		return false
	}
	endpoints := c.EndpointNames()
	rule := reflect.ValueOf(c).Elem()
	for field := range rule.Type().Fields() {
		if field.Tag.Get("toml") != key {
			continue
		}
		value := rule.FieldByIndex(field.Index)
		if value.IsZero() {
			return false // taking it away has not helped
		}
		value.SetZero()
		switch key {
		case "payload":
			c.PayloadOrder = nil
		case "split": // without which it may have no endpoint; nothing is sent to it
			c.Endpoint, c.Endpoints = "", endpoints
		}
		return true
	}
	return false
}

// markUnfit makes rules park what they match, and lists the active ones in the order of the configuration.
func markUnfit(set *Set, configs []Config, places []int, unfit map[int]*Unfit) (all []*Unfit) {
	for at, place := range places {
		if u := unfit[place]; u != nil {
			set.rules[at].unfit = u.evalError()
		}
	}
	for place, u := range unfit {
		if active := configs[place].Active; active == nil || *active {
			all = append(all, u)
		}
	}
	slices.SortFunc(all, func(a, b *Unfit) int { return a.Rule - b.Rule })
	return all
}
