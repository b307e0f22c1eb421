package rules

import "walhook/cdc"

// Eval evaluates one of a rule's outputs on a change, as package payload does.
func (m *Matcher) Eval(r *Rule, output int, tx TxInfo, c *cdc.Change) (any, error) {
	if err := m.Begin(r, tx, c); err != nil {
		return nil, err
	}
	return m.evaluated(r, &r.Outputs()[output])
}

func (m *Matcher) evaluated(r *Rule, o *Output) (any, error) {
	list := []any{}
	switch o.Kind {
	case OutputList:
		_, err := m.Each(r, o, func() error {
			v, err := m.value(r, o)
			list = append(list, v)
			return err
		})
		return list, err
	case OutputRows:
		_, err := m.Each(r, o, func() error {
			v, err := m.object(r, o)
			list = append(list, v)
			return err
		})
		return list, err
	case OutputObject:
		return m.object(r, o)
	}
	return m.value(r, o)
}

func (m *Matcher) object(r *Rule, o *Output) (any, error) {
	out := map[string]any{}
	for i := range o.Members {
		v, err := m.evaluated(r, &o.Members[i])
		if err != nil {
			return nil, err
		}
		out[o.Members[i].Name] = v
	}
	return out, nil
}

func (m *Matcher) value(r *Rule, o *Output) (any, error) {
	v, err := m.Value(r, o)
	switch {
	case err != nil:
		return nil, err
	case v.Null():
		return o.Default, nil
	case v.Stored:
		return plain(new(cell).hold(v.Column, 1)), nil
	}
	return v.Other, nil
}
