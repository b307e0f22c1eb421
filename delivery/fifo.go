package delivery

import (
	"container/heap"
	"time"
)

// fifo is a queue in a ring that grows.
type fifo[T any] struct {
	ring []T
	head int
	n    int
}

func (f *fifo[T]) len() int { return f.n }

func (f *fifo[T]) push(v T) {
	if f.n == len(f.ring) {
		grown := make([]T, max(2*len(f.ring), 16))
		k := copy(grown, f.ring[f.head:])
		copy(grown[k:], f.ring[:f.head])
		f.ring, f.head = grown, 0
	}
	f.ring[(f.head+f.n)%len(f.ring)] = v
	f.n++
}

// first returns what pop would.
func (f *fifo[T]) first() (v T, ok bool) {
	if f.n == 0 {
		return v, false
	}
	return f.ring[f.head], true
}

func (f *fifo[T]) pop() (v T, ok bool) {
	if f.n == 0 {
		return v, false
	}
	var zero T
	v, f.ring[f.head] = f.ring[f.head], zero
	f.head = (f.head + 1) % len(f.ring)
	f.n--
	return v, true
}

// dueTimes is a heap of times, the earliest first.
type dueTimes []time.Time

// dueSlack is added to due times: the store keeps microseconds, and a question that
// comes a moment too early waits for the next poll.
const dueSlack = 2 * time.Millisecond

func (d *dueTimes) add(t time.Time) { heap.Push(d, t.Add(dueSlack)) }

// next removes the times that have passed and returns the wait until the next one; 0 when any had passed.
func (d *dueTimes) next(now time.Time) (wait time.Duration, ok bool) {
	passed := false
	for len(*d) > 0 && !(*d)[0].After(now) {
		heap.Pop(d)
		passed = true
	}
	if passed {
		return 0, true
	}
	if len(*d) == 0 {
		return 0, false
	}
	return (*d)[0].Sub(now), true
}

// Len, Less, Swap, Push and Pop are heap.Interface.
func (d dueTimes) Len() int           { return len(d) }
func (d dueTimes) Less(i, j int) bool { return d[i].Before(d[j]) }
func (d dueTimes) Swap(i, j int)      { d[i], d[j] = d[j], d[i] }
func (d *dueTimes) Push(x any)        { *d = append(*d, x.(time.Time)) }
func (d *dueTimes) Pop() any {
	old := *d
	last := old[len(old)-1]
	*d = old[:len(old)-1]
	return last
}
