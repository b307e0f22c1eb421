package cdc

// Gathered is what else a transaction did that belongs to the row of a [Change]: to its lines, to what it is linked with. Nothing in this
// package fills it in; whoever hands changes on gathers what belongs together, and says for whom.
type Gathered struct {
	For   string // who gathered it: a rule's name
	Lines []Line // in the order of their last writes
	Cut   bool   // there were more than are kept (invariant 9)
	Own   bool   // the row itself has a net change in the transaction. Otherwise the Change stands for its lines alone, and its rows are as looked up
	Stray bool   // nothing was gathered: this is a line, and whose it was is not known, since WAL does not hold the old row
}

// Line is one change of what belongs to a row.
type Line struct {
	Of     string // how it belongs: the name of the row's field
	Op     Op     // Create when it was added, Write when it was changed, Unlink when it was removed. A line that moves from one row to another is both removed and added
	Change *Change
}

// Cascade names the row whose deletion has deleted another one, through a foreign key ON DELETE CASCADE.
type Cascade struct {
	Schema, Table string
	Key           string // as [Change.Key]
}
