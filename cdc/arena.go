package cdc

import "sync"

// slab hands out slices of one element type from a few large chunks, so that a
// row costs no allocation of its own. What it handed out stays in place until reset.
type slab[T any] struct {
	chunks [][]T
	chunk  int // the chunk in use
	used   int // of it
	total  int // elements handed out since reset
	first  int // size of the first chunk; each further one doubles
}

const slabGrowth = 7 // the largest regular chunk is first << slabGrowth

// take returns n elements with unspecified content.
func (s *slab[T]) take(n int) []T {
	for s.chunk < len(s.chunks) && len(s.chunks[s.chunk])-s.used < n {
		s.chunk++
		s.used = 0
	}
	if s.chunk == len(s.chunks) {
		s.chunks = append(s.chunks, make([]T, max(n, s.first<<min(len(s.chunks), slabGrowth))))
	}
	out := s.chunks[s.chunk][s.used : s.used+n : s.used+n]
	s.used += n
	s.total += n
	return out
}

func (s *slab[T]) copy(src []T) []T {
	out := s.take(len(src))
	copy(out, src)
	return out
}

// reset takes everything back. All that was handed out becomes invalid.
func (s *slab[T]) reset() { s.chunk, s.used, s.total = 0, 0, 0 }

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

func (a *arena) size() int64 { return int64(a.bytes.total) + 4*int64(a.offsets.total) }

func (a *arena) reset() {
	a.bytes.reset()
	a.offsets.reset()
}

// shrink resets the arena and gives back what exceeds that many bytes of tuples and as many of offsets.
func (a *arena) shrink(bytes int) {
	a.bytes.shrink(bytes)
	a.offsets.shrink(bytes / 4)
}

// arenaPool keeps a few arenas of closed transactions for the next ones. A
// transaction may be closed by another goroutine than the decoder's.
type arenaPool struct {
	mu   sync.Mutex
	free []*arena
}

const (
	pooledArenas = 64       // at most, of
	pooledBytes  = 64 << 10 // bytes each, and as many bytes of offsets
)

func (p *arenaPool) get() *arena {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		a := p.free[n-1]
		p.free = p.free[:n-1]
		return a
	}
	return &arena{bytes: slab[byte]{first: 8 << 10}, offsets: slab[uint32]{first: 1 << 10}}
}

func (p *arenaPool) put(a *arena) {
	a.shrink(pooledBytes)
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) < pooledArenas {
		p.free = append(p.free, a)
	}
}
