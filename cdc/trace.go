package cdc

import "time"

// Trace is a set of optional functions that a [Source] calls as it works, for logs
// and metrics, in the manner of httptrace.ClientTrace. They are called from the source's
// goroutines and must return soon; a nil function is not called.
type Trace struct {
	Connected    func(Session)                               // streaming has begun
	Disconnected func(err error, retryIn time.Duration)      // the connection ended or could not be made; err has a Hint where one is known
	Ended        func(pid int)                               // a session of the same group that still held the slot was ended
	Batch        func(Batch)                                 // the handler has taken a batch
	Retry        func(err error, n int, retry time.Duration) // the handler failed temporarily for the n-th time and will be called again
	Truncated    func(table *Relation, tx *Tx)               // a watched table was truncated: its rows are gone without an event each
	Spilled      func(tx *Tx)                                // a transaction is too large for memory and lies in a temporary file
	Advanced     func(lsn LSN)                               // idle progress has become durable
	Confirmed    func(lsn LSN)                               // the server was told that WAL before lsn is no longer needed
}

// Session describes a replication connection.
type Session struct {
	SystemID    string
	Timeline    uint32
	DatabaseOID uint32
	Database    string
	Server      string // version, "15.4"
	PID         int    // of the walsender
	Start       LSN    // where streaming starts
	Confirmed   LSN    // the slot's confirmed_flush_lsn before
	End         LSN    // end of WAL when the session began
	Reconnects  int    // sessions of this Run before this one
}

// Batch describes transactions that the handler took at once.
type Batch struct {
	Transactions int
	Changes      int // of transactions in memory
	Spilled      int // transactions in temporary files
	Bytes        int64
	Last         LSN // EndLSN of the last transaction
	Durable      LSN // what the handler returned
	Duration     time.Duration
}
