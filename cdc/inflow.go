package cdc

import (
	"encoding/binary"
	"errors"
	"io"
	"time"
)

// inflow reads a replication connection in large pieces and finds the messages in them, in place. pgproto3 reads 8 kB at a time and one
// message for each call, locks included: with a message for every row that is most of what receiving costs.
//
// To pgproto3, which goes on reading all that is not CopyData, it is a reader that hands out one message at a time, so that
// nothing of what follows ever lies in pgproto3's own buffer.
type inflow struct {
	r        io.Reader
	buf      []byte
	from, to int // what is in buf and not read yet
	left     int // of the message that pgproto3 is reading

	records bool // the connection is encrypted: a read brings one record, however much is there

	last  time.Time // of the last read
	burst int       // bytes that came in reads with little in between, and may go on coming
}

const (
	inflowBuffer = 128 << 10
	// While much is coming, the reader lets it gather: to be woken for every row costs several times what the row does, here and in
	// the server. It is much after burstBytes that came without a pause of burstGap, and for as long as lingering brings burstLeast.
	burstBytes = 64 << 10
	burstLeast = 2 << 10
	burstGap   = 2 * time.Millisecond
	linger     = 500 * time.Microsecond
)

func newInflow(r io.Reader) *inflow { return &inflow{r: r, buf: make([]byte, inflowBuffer)} }

// Read is pgproto3's.
func (w *inflow) Read(p []byte) (int, error) {
	if w.left == 0 {
		for w.to-w.from < 5 {
			if err := w.fill(5); err != nil {
				return 0, err
			}
		}
		w.left = w.length()
		if w.left < 5 {
			return 0, errMessageLength
		}
	}
	if w.from == w.to {
		if err := w.fill(1); err != nil {
			return 0, err
		}
	}
	n := copy(p, w.buf[w.from:min(w.to, w.from+w.left)])
	w.from += n
	w.left -= n
	return n, nil
}

var errMessageLength = errors.New("a message of impossible length in the stream")

// length is that of the message at from, its type included.
func (w *inflow) length() int { return int(int32(binary.BigEndian.Uint32(w.buf[w.from+1:]))) + 1 }

// buffered returns the body of the next message if it is CopyData and has arrived whole. The body is valid until the next call of any method.
func (w *inflow) buffered() ([]byte, bool) {
	if w.left > 0 || w.to-w.from < 5 || w.buf[w.from] != 'd' {
		return nil, false
	}
	n := w.length()
	if n < 5 || w.to-w.from < n {
		return nil, false
	}
	body := w.buf[w.from+5 : w.from+n : w.from+n]
	w.from += n
	return body, true
}

// next waits for the next message. It returns the body of CopyData; false means that the message is of another type, and pgproto3's to read. An
// error that is a timeout changes nothing.
func (w *inflow) next() ([]byte, bool, error) {
	for {
		if body, ok := w.buffered(); ok {
			return body, true, nil
		}
		need := 5
		if w.to-w.from >= need || w.left > 0 {
			if w.left > 0 || w.buf[w.from] != 'd' {
				return nil, false, nil
			}
			if need = w.length(); need < 5 {
				return nil, false, errMessageLength
			}
		}
		if err := w.fill(need); err != nil {
			return nil, false, err
		}
	}
}

// fill reads more, with room for a message of n bytes.
func (w *inflow) fill(n int) error {
	if w.from > 0 {
		w.to = copy(w.buf, w.buf[w.from:w.to])
		w.from = 0
	}
	switch {
	case n > len(w.buf):
		grown := make([]byte, max(n, 2*len(w.buf)))
		copy(grown, w.buf[:w.to])
		w.buf = grown
	case len(w.buf) > inflowBuffer && max(n, w.to) <= inflowBuffer: // one large row does not hold its memory for ever
		smaller := make([]byte, inflowBuffer)
		copy(smaller, w.buf[:w.to])
		w.buf = smaller
	}
	lingered := w.burst >= burstBytes && !w.records
	if lingered {
		time.Sleep(linger)
	}
	got, err := w.r.Read(w.buf[w.to:])
	full := got == len(w.buf)-w.to
	w.to += got
	now := time.Now()
	switch {
	case full: // more of it is there already
		w.burst = 0
	case lingered && got < burstLeast, now.Sub(w.last) > burstGap:
		w.burst = got
	default:
		w.burst += got
	}
	w.last = now
	switch {
	case got > 0:
		return nil // what went wrong goes wrong again
	case err == nil:
		return nil
	case errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	}
	return err
}
