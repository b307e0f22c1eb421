package cdc

import "sync"

// slab hands out slices of one element type from a few large chunks, so that a
// row costs no allocation of its own. What it handed out stays in place until reset.
type slab[T any] struct {
	chunks [][]T
	next   int // chunks before it are in use
	rest   []T // what is left of the last one in use
	held   int // elements of the chunks in use: what is lost at their ends is memory too (invariant 9)
	first  int // size of the first chunk; each further one doubles
}

const slabGrowth = 8 // the largest regular chunk is first << slabGrowth

// take returns n elements with unspecified content.
func (s *slab[T]) take(n int) []T {
	if len(s.rest) < n {
		s.rest = s.chunk(n)
	}
	out := s.rest[:n:n]
	s.rest = s.rest[n:]
	return out
}

// chunk takes the next chunk that n elements fit into.
func (s *slab[T]) chunk(n int) []T {
	for {
		if s.next == len(s.chunks) {
			s.chunks = append(s.chunks, make([]T, max(n, s.first<<min(s.next, slabGrowth))))
		}
		c := s.chunks[s.next]
		s.next++
		s.held += len(c)
		if len(c) >= n {
			return c
		}
	}
}

func (s *slab[T]) copy(src []T) []T {
	out := s.take(len(src))
	copy(out, src)
	return out
}

// reset takes everything back. All that was handed out becomes invalid.
func (s *slab[T]) reset() { s.next, s.rest, s.held = 0, nil, 0 }

// shrink resets and drops all chunks beyond keep elements.
func (s *slab[T]) shrink(keep int) {
	s.reset()
	size := 0
	for i, c := range s.chunks {
		if size += len(c); size > keep {
			clear(s.chunks[i:])
			s.chunks = s.chunks[:i]
			return
		}
	}
}

// capacity is how many elements all chunks have together.
func (s *slab[T]) capacity() (n int) {
	for _, c := range s.chunks {
		n += len(c)
	}
	return n
}

// arena is the memory that the rows of one transaction lie in.
type arena struct {
	bytes   slab[byte]
	offsets slab[uint32]
}

// keep copies a row that points into a message's buffer.
func (a *arena) keep(r Row) Row {
	if r.rel != nil {
		r.tuple = a.bytes.copy(r.tuple)
		r.at = a.offsets.copy(r.at)
	}
	return r
}

// size is what the arena holds in use, in bytes.
func (a *arena) size() int64 { return int64(a.bytes.held) + 4*int64(a.offsets.held) }

// shrink resets the arena and gives back what exceeds that many bytes of tuples and as many of offsets.
func (a *arena) shrink(bytes int) {
	a.bytes.shrink(bytes)
	a.offsets.shrink(bytes / 4)
}

// capacity is what the arena's chunks take, in use or not, in bytes.
func (a *arena) capacity() int64 { return int64(a.bytes.capacity()) + 4*int64(a.offsets.capacity()) }

// arenaPool keeps some arenas of closed transactions for the next ones. A
// transaction may be closed by another goroutine than the decoder's.
type arenaPool struct {
	mu   sync.Mutex
	free []*arena
	held int64 // bytes
}

const (
	pooledBytes = 256 << 10 // at most of one arena, and as many bytes of offsets: a transaction of some hundred rows
	pooledTotal = 2 << 20   // at most of all: as many small ones as make a batch or two of small transactions
)

func (p *arenaPool) get() *arena {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		a := p.free[n-1]
		p.free[n-1] = nil
		p.free = p.free[:n-1]
		p.held -= a.capacity()
		return a
	}
	// A transaction holds an arena of its own until it is handled, and thousands of small ones may wait: begin small.
	return &arena{bytes: slab[byte]{first: 2 << 10}, offsets: slab[uint32]{first: 256}}
}

func (p *arenaPool) put(a *arena) {
	a.shrink(pooledBytes)
	p.mu.Lock()
	defer p.mu.Unlock()
	if size := a.capacity(); p.held+size <= pooledTotal {
		p.free = append(p.free, a)
		p.held += size
	}
}
