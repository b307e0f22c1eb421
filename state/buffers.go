package state

import (
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
)

// largeBatch is the size of arguments from which it is worth to make room for them.
const largeBatch = 8 << 10

// buffers are the driver's two: of statements' encoded arguments, and of what goes to the server.
type buffers struct{ args, wire []byte }

// spareBuffers are used again. Made anew for each batch of deliveries they were a quarter of all memory that was allocated, and with it of the garbage
// collector's work.
var spareBuffers = sync.Pool{New: func() any { return new(buffers) }}

// mostSpare is the size up to which a buffer is kept to be used again.
const mostSpare = 4 << 20

// makeRoom gives the driver buffers that are large enough for a batch, for otherwise they double their way up. It returns those that are spare again when
// the batch has been answered; nil when the batch is small.
func makeRoom(b *pgx.Batch, to *pgproto3.Frontend) *buffers {
	var spare *buffers
	all := 0
	for i, q := range b.QueuedQueries {
		size, first := encoded(q), -1
		for i, v := range q.Arguments {
			if _, text := v.([]string); text && first < 0 {
				first = i
			}
		}
		all += size
		if size < largeBatch || first < 0 {
			continue
		}
		v := spacious{list: q.Arguments[first].([]string), size: size}
		if i < b.Len()-1 { // the driver keeps the last statement's
			if spare == nil {
				spare = spareBuffers.Get().(*buffers)
			}
			v.spare = spare
		}
		q.Arguments = slices.Clone(q.Arguments) // they may be the caller's
		q.Arguments[first] = v
	}
	if all >= largeBatch {
		if spare == nil {
			spare = spareBuffers.Get().(*buffers)
		}
		to.Send(&room{size: all + 512*b.Len(), spare: spare})
	}
	return spare
}

// release lets others use the buffers, once all that was to be sent has been answered.
func (s *buffers) release(by *pgproto3.Frontend) {
	if s != nil {
		s.leave(by)
		spareBuffers.Put(s)
	}
}

// leave keeps what the driver has let go of: it copies arguments as it encodes them, and drops a buffer of this size when it is written; whether it has
// dropped this one, it is asked.
func (s *buffers) leave(by *pgproto3.Frontend) {
	var has holder
	by.Send(&has)
	if !has.asked || has.buf == beginning(s.wire) || cap(s.wire) > mostSpare {
		s.wire = nil
	}
	if cap(s.args) > mostSpare {
		s.args = nil
	}
}

// within returns what buf holds, in a buffer with room for size bytes more, which is *spare if that is large enough.
func within(spare *[]byte, buf []byte, size int) []byte {
	if cap(buf)-len(buf) >= size {
		return buf
	}
	if need := len(buf) + size; cap(*spare) < need {
		*spare = make([]byte, 0, need+need/4)
	}
	return append((*spare)[:0], buf...)
}

// spacious is a text[] that makes room in the buffer for more than itself.
type spacious struct {
	list  []string
	size  int
	spare *buffers // nil for a buffer of its own
}

// in returns buf with that room.
func (v spacious) in(buf []byte) []byte {
	if v.spare == nil {
		return grown(buf, v.size)
	}
	return within(&v.spare.args, buf, v.size)
}

// silent is a message of no bytes, which gets at the buffer of those that were not sent yet.
type silent struct{}

// Frontend is part of pgproto3.FrontendMessage.
func (silent) Frontend() {}

// Decode is part of pgproto3.FrontendMessage.
func (silent) Decode([]byte) error { return nil }

// room is a message that makes room for others.
type room struct {
	silent
	size  int
	spare *buffers
}

// Encode is part of pgproto3.FrontendMessage.
func (r *room) Encode(dst []byte) ([]byte, error) {
	return within(&r.spare.wire, dst, r.size), nil
}

// holder finds out which buffer it is.
type holder struct {
	silent
	buf   *byte
	asked bool // a driver in which something has failed does not
}

// Encode is part of pgproto3.FrontendMessage.
func (h *holder) Encode(dst []byte) ([]byte, error) {
	h.buf, h.asked = beginning(dst), true
	return dst, nil
}

// beginning tells buffers apart.
func beginning(buf []byte) *byte {
	if cap(buf) == 0 {
		return nil
	}
	return &buf[:1][0]
}

// encoded is about how many bytes a statement's arguments take on their way.
func encoded(q *pgx.QueuedQuery) (n int) {
	for _, v := range q.Arguments {
		n += encodedSize(v)
	}
	return n
}

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
	case headerList:
		n += 4*len(v) + v.size()
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
