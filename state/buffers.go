package state

import (
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
)

// largeBatch is the size of arguments from which it is worth to make room for them.
const largeBatch = 8 << 10

// makeRoom lets the driver's two buffers, of a statement's encoded arguments and of what goes to the server, grow once instead of doubling their way
// up: for a batch of 500 deliveries they were a third of all memory that was allocated, and with it of the garbage collector's work.
func makeRoom(b *pgx.Batch, to *pgproto3.Frontend) {
	all := 0
	for _, q := range b.QueuedQueries {
		size, first := 0, -1
		for i, v := range q.Arguments {
			size += encodedSize(v)
			if _, text := v.([]string); text && first < 0 {
				first = i
			}
		}
		if size >= largeBatch && first >= 0 {
			q.Arguments = slices.Clone(q.Arguments) // they may be the caller's
			q.Arguments[first] = spacious{q.Arguments[first].([]string), size}
		}
		all += size
	}
	if all >= largeBatch {
		to.Send(room(all + 512*b.Len()))
	}
}

// spacious is a text[] that makes room in the buffer for more than itself.
type spacious struct {
	list []string
	size int
}

// room is a message of no bytes that makes room for others.
type room int

// Frontend is part of pgproto3.FrontendMessage.
func (room) Frontend() {}

// Encode is part of pgproto3.FrontendMessage.
func (n room) Encode(dst []byte) ([]byte, error) { return slices.Grow(dst, int(n)), nil }

// Decode is part of pgproto3.FrontendMessage.
func (room) Decode([]byte) error { return nil }

// encodedSize is about how many bytes an argument takes on its way.
func encodedSize(v any) int {
	n := 24
	switch v := v.(type) {
	case []string:
		for _, s := range v {
			n += 4 + len(s)
		}
	case [][]byte:
		for _, s := range v {
			n += 4 + len(s)
		}
	case []int32:
		n += 8 * len(v)
	case []int64:
		n += 12 * len(v)
	case []bool:
		n += 5 * len(v)
	case []time.Time:
		n += 12 * len(v)
	case []byte:
		n += len(v)
	case string:
		n += len(v)
	}
	return n
}
