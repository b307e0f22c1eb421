package rules

import (
	"errors"
	"fmt"

	"walhook/cdc"
)

// frame is what programs see of the change at hand: it is the environment they
// run in. A Matcher has one and moves it from change to change; columns are read from the
// tuple when a program asks for them, once for all rules.
type frame struct {
	generation uint64 // counts the rows that the frame has come to; see side.stamp
	tx         TxInfo
	now        any // tx.Time in UTC; in an interface once per transaction
	change     *cdc.Change
	group      *Group   // of whose lines alone programs see something; nil: of all
	rule       *Rule    // whose program runs; nil before the first one
	table      *watched // of change
	bound      *binding // of change.Rel

	before, after side
	record        *side  // the row that a reader means: after, or of an unlink before
	places        []side // related rows, see [place]

	compared  bool  // differing is filled for this change
	differing []int // columns of a net write that differ, besides those that count for nobody

	steps      int  // elements that may still be visited or put into lists
	collecting bool // find out which related rows are needed: ref() yields NULL and sets missing
	missing    bool
}

// maxSteps bounds the work of one evaluation: the elements that loops visit, and those of lists that
// are made. Rows hold short lists; a program that needs more than this is a mistake.
const maxSteps = 20_000

// The errors of reading a value that is not there.
var (
	// ErrNoOldRow says that WAL does not hold the old row: the table's replica
	// identity is not FULL, or was not when the row was written.
	// errors.Is finds [cdc.ErrUnknown] in it too.
	ErrNoOldRow error = noOldRow{}
	// ErrNoColumn says that the table has lost a column that an expression reads.
	ErrNoColumn = errors.New("the table has no such column any more")
	// ErrTooMuchWork says that an expression ran away.
	ErrTooMuchWork = errors.New("the expression visits or makes too many elements")
)

type noOldRow struct{}

func (noOldRow) Error() string { return "the old row is not in WAL" }

func (noOldRow) Is(target error) bool { return target == cdc.ErrUnknown }

// MissingError is a value that an expression reads and that is not there; it wraps
// [cdc.ErrUnknown], ErrNoOldRow or ErrNoColumn.
type MissingError struct {
	Name string // as an expression spells it: "before.state"
	Rel  *cdc.Relation
	Err  error
}

func (e *MissingError) Error() string { return e.Name + ": " + e.Err.Error() }

// Unwrap returns the reason.
func (e *MissingError) Unwrap() error { return e.Err }

// Hint says what an operator can do about it.
func (e *MissingError) Hint() string {
	switch {
	case errors.Is(e.Err, ErrNoOldRow):
		return fmt.Sprintf("ALTER TABLE %s REPLICA IDENTITY FULL; as the table's owner, or run `walhook setup`; it takes effect for later writes. Where the table may not be altered: name it in [images] tables. Of one that is named there, the row has no image yet: walhook status tells how far they have come", quoted(e.Rel.Schema, e.Rel.Name))
	case errors.Is(e.Err, ErrNoColumn):
		return "change the rule to the table as it is now"
	}
	return ""
}

// value reads slot i: nil, a bool or a column. It raises when WAL does not hold the value.
func (f *frame) value(s *side, i int) any {
	c := &s.cells[i]
	if c.generation == s.stamp {
		return c.seen
	}
	v := f.read(s, i)
	if v.State == cdc.Unknown {
		panic(f.unreadable(s, i))
	}
	return c.hold(v, s.stamp)
}

// read returns slot i as it is seen; NULL where there is no row.
func (f *frame) read(s *side, i int) cdc.Value {
	switch s.row.Image {
	case cdc.ImageNone:
		return cdc.Value{State: cdc.Null}
	case cdc.ImageUnknown:
		return cdc.Value{}
	}
	at := &s.slots[i]
	if at.column < 0 {
		return cdc.Value{}
	}
	if at.as != nil {
		return at.as.read(s.row.Value(int(at.column)), f.change)
	}
	return s.row.Value(int(at.column))
}

// read returns slot i as it is stored; NULL where there is no row.
func (s *side) read(i int) cdc.Value {
	switch s.row.Image {
	case cdc.ImageNone:
		return cdc.Value{State: cdc.Null}
	case cdc.ImageUnknown:
		return cdc.Value{}
	}
	if s.slots[i].column < 0 {
		return cdc.Value{}
	}
	return s.row.Value(int(s.slots[i].column))
}

// hold puts v, which is not Unknown, into the cell, and returns what programs see of it.
func (c *cell) hold(v cdc.Value, stamp uint64) any {
	c.generation = stamp
	switch {
	case v.State == cdc.Null:
		c.seen = nil
	case v.Type != nil && v.Type.Kind == cdc.KindBool:
		c.seen = string(v.Text) == "t"
	default:
		c.value, c.parsed, c.whole, c.seen = v, 0, nil, column{c}
	}
	return c.seen
}

func (f *frame) unreadable(s *side, i int) error {
	e := &MissingError{Name: s.name + "." + s.of.columns[i], Rel: f.change.Rel, Err: cdc.ErrUnknown}
	if s.rel != nil {
		e.Rel = s.rel
	}
	switch {
	case s.row.Image == cdc.ImageUnknown, s.row.Image == cdc.ImageKey:
		e.Err = ErrNoOldRow
	case s.slots[i].column < 0:
		e.Err = ErrNoColumn
	}
	return e
}

// step charges n elements to the evaluation.
func (f *frame) step(n int) {
	if f.steps -= n; f.steps < 0 {
		panic(ErrTooMuchWork)
	}
}
