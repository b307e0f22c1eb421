package cdc

import (
	"sync"
	"time"
)

// feed hands completed transactions from the goroutine that reads the connection to the one
// that calls the handler. It bounds the memory and the number of transactions in
// flight, those with the handler included (invariant 9): a transaction holds
// its share of the budget until it is closed. One transaction is let in
// whatever its size; beyond the decoder's limit it lies in a file anyway.
//
// It outlives connections: what has been received need not be read again.
type feed struct {
	maxCount int
	maxBytes int64

	ready chan struct{} // something to take, or a new mark
	space chan struct{} // budget has been returned

	mu       sync.Mutex
	queue    []fed
	count    int   // queued and with the handler
	bytes    int64 // that they hold
	received LSN   // EndLSN of the last transaction put
	mark     LSN   // every transaction that ended before it has been put
}

// fed is a transaction and the memory it accounts for.
type fed struct {
	tx    *Tx
	bytes int64
}

func newFeed(maxCount int, maxBytes int64, start LSN) *feed {
	return &feed{
		maxCount: maxCount, maxBytes: maxBytes,
		ready: make(chan struct{}, 1), space: make(chan struct{}, 1),
		received: start, mark: start,
	}
}

// full says that the reader must wait for space before it reads on.
func (f *feed) full() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count > 0 && (f.count >= f.maxCount || f.bytes >= f.maxBytes)
}

// has says that a transaction that ends at lsn was put before, on an earlier connection.
func (f *feed) has(lsn LSN) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return lsn <= f.received
}

// put queues a transaction. Its memory counts until it is closed. The handler learns of it with announce.
func (f *feed) put(tx *Tx, bytes int64) {
	tx.feed, tx.held = f, bytes
	f.mu.Lock()
	f.queue = append(f.queue, fed{tx, bytes})
	f.count++
	f.bytes += bytes
	f.received = tx.EndLSN
	f.mark = max(f.mark, tx.EndLSN)
	f.mu.Unlock()
}

// announce wakes the handler if there is something to take: once for all transactions that have come together.
func (f *feed) announce() {
	f.mu.Lock()
	waiting := len(f.queue) > 0
	f.mu.Unlock()
	if waiting {
		notify(f.ready)
	}
}

func (f *feed) release(bytes int64) {
	f.mu.Lock()
	f.count--
	f.bytes -= bytes
	f.mu.Unlock()
	notify(f.space)
}

// advance moves the mark: the server said outside of a transaction that it has sent everything
// before lsn.
func (f *feed) advance(lsn LSN) {
	f.mu.Lock()
	moved := lsn > f.mark
	f.mark = max(f.mark, lsn)
	f.mu.Unlock()
	if moved {
		notify(f.ready)
	}
}

// take removes up to maxCount transactions from the head of the queue, and no more than maxBytes
// except for a single one. mark is where processing stands once they are handled:
// the end of the last one, or when that empties the queue as far as the server says
// it has sent everything.
func (f *feed) take(maxCount int, maxBytes int64) (txs []*Tx, bytes int64, mark LSN) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, q := range f.queue {
		if len(txs) > 0 && (len(txs) >= maxCount || bytes+q.bytes > maxBytes) {
			break
		}
		txs = append(txs, q.tx)
		bytes += q.bytes
	}
	rest := copy(f.queue, f.queue[len(txs):])
	clear(f.queue[rest:])
	f.queue = f.queue[:rest]
	if rest == 0 {
		return txs, bytes, f.mark
	}
	return txs, bytes, txs[len(txs)-1].EndLSN
}

// drop empties the queue; its transactions will be read again by the next run.
func (f *feed) drop() []*Tx {
	f.mu.Lock()
	defer f.mu.Unlock()
	txs := make([]*Tx, len(f.queue))
	for i, q := range f.queue {
		txs[i] = q.tx
	}
	f.queue = nil
	return txs
}

// resume is the position from which a new connection must stream: everything that
// ended before it is here already.
func (f *feed) resume() LSN {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.received
}

// load reports the transactions in flight and the commit time of the oldest one queued.
func (f *feed) load() (count int, bytes int64, oldest time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.queue) > 0 {
		oldest = f.queue[0].tx.CommitTime
	}
	return f.count, f.bytes, oldest
}

// notify sets a flag for one waiting goroutine.
func notify(flag chan struct{}) {
	select {
	case flag <- struct{}{}:
	default:
	}
}

// begin sets where everything starts, before anything was put.
func (f *feed) begin(lsn LSN) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.received, f.mark = lsn, lsn
}
