package cdc

import "encoding/json"

// encodedGathered is the JSON form of Gathered: a parked event keeps its lines.
type encodedGathered struct {
	For   string        `json:"for"`
	Lines []encodedLine `json:"lines,omitempty"`
	Cut   bool          `json:"cut,omitempty"`
	Own   bool          `json:"own,omitempty"`
	Stray bool          `json:"stray,omitempty"`
}

type encodedLine struct {
	Of     string          `json:"of"`
	Op     string          `json:"op"`
	Change json.RawMessage `json:"change"`
}

type encodedCascade struct {
	Schema string `json:"schema"`
	Table  string `json:"table"`
	Key    string `json:"key"`
}

func encodeGathered(g *Gathered, keep func(rel *Relation, column string) bool) (*encodedGathered, error) {
	if g == nil {
		return nil, nil
	}
	out := &encodedGathered{For: g.For, Cut: g.Cut, Own: g.Own, Stray: g.Stray}
	for _, line := range g.Lines {
		data, err := EncodeEvent(line.Change, keep)
		if err != nil {
			return nil, err
		}
		out.Lines = append(out.Lines, encodedLine{Of: line.Of, Op: line.Op.String(), Change: data})
	}
	return out, nil
}

func (g *encodedGathered) decode() (*Gathered, error) {
	if g == nil {
		return nil, nil
	}
	out := &Gathered{For: g.For, Cut: g.Cut, Own: g.Own, Stray: g.Stray}
	for _, line := range g.Lines {
		c, err := DecodeChange(line.Change)
		if err != nil {
			return nil, err
		}
		of := Line{Of: line.Of, Change: c}
		for _, op := range []Op{Create, Write, Unlink} {
			if op.String() == line.Op {
				of.Op = op
			}
		}
		out.Lines = append(out.Lines, of)
	}
	return out, nil
}
