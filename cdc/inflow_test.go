package cdc

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"walhook/internal/pgserver"
	"walhook/internal/pgtest"
)

// pieces is a network that brings what it has in pieces, with timeouts in between.
type pieces struct {
	data []byte
	r    *rand.Rand
}

func (p *pieces) Read(b []byte) (int, error) {
	if p.r.IntN(3) == 0 {
		return 0, os.ErrDeadlineExceeded
	}
	if len(p.data) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.data[:min(len(p.data), 1+p.r.IntN(1+p.r.IntN(100_000)))])
	p.data = p.data[n:]
	return n, nil
}

func framed(typ byte, body []byte) []byte {
	out := binary.BigEndian.AppendUint32([]byte{typ}, uint32(len(body)+4))
	return append(out, body...)
}

// Whatever the network does, every message comes once and in order: CopyData in place, everything else through pgproto3.
func TestInflow(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var sent []byte
	var want []string
	for i := range 2000 {
		size := r.IntN(200)
		if i%100 == 0 {
			size = r.IntN(3 * inflowBuffer)
		}
		body := bytes.Repeat([]byte{byte(i)}, size)
		switch {
		case i%10 == 3:
			sent = append(sent, framed('S', fmt.Appendf(nil, "name\x00%d\x00", i))...)
			want = append(want, fmt.Sprint("status ", i))
		default:
			sent = append(sent, framed('d', body)...)
			want = append(want, fmt.Sprintf("%d of %d", size, byte(i)))
		}
	}
	in := newInflow(&pieces{sent, r})
	front := pgproto3.NewFrontend(in, io.Discard)
	for i, w := range want {
		got := ""
		for got == "" {
			body, ok := in.buffered()
			var err error
			if !ok && r.IntN(2) == 0 {
				body, ok, err = in.next()
			}
			var msg pgproto3.BackendMessage
			if !ok && err == nil {
				msg, err = front.Receive()
			}
			switch {
			case errors.Is(err, os.ErrDeadlineExceeded):
				continue
			case err != nil:
				t.Fatalf("message %d: %v", i, err)
			}
			switch m := msg.(type) {
			case *pgproto3.CopyData:
				body = m.Data
			case *pgproto3.ParameterStatus:
				got = "status " + m.Value
				continue
			}
			b := byte(i)
			if len(body) > 0 {
				b = body[0]
			}
			if bytes.Count(body, []byte{b}) != len(body) {
				t.Fatalf("message %d is mixed up", i)
			}
			got = fmt.Sprintf("%d of %d", len(body), b)
		}
		if got != w {
			t.Fatalf("message %d: %s, want %s", i, got, w)
		}
	}
	for {
		_, _, err := in.next()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("at the end: %v", err)
		}
		break
	}
	if len(in.buf) > 6*inflowBuffer {
		t.Errorf("a buffer of %d bytes", len(in.buf))
	}
}

// A large message does not hold its memory for ever, and lengths that cannot be are errors.
func TestInflowBounds(t *testing.T) {
	large := append(framed('d', make([]byte, 5*inflowBuffer)), bytes.Repeat(framed('d', []byte("x")), inflowBuffer)...)
	in := newInflow(bytes.NewReader(large))
	for range 1000 {
		if _, ok, err := in.next(); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	for len(in.buf) > inflowBuffer {
		if _, ok, err := in.next(); !ok || err != nil {
			t.Fatalf("the buffer stays at %d bytes", len(in.buf))
		}
	}
	for _, length := range []uint32{0, 3, 1 << 31, 1<<32 - 1} {
		in := newInflow(bytes.NewReader(binary.BigEndian.AppendUint32([]byte{'d'}, length)))
		if _, _, err := in.next(); !errors.Is(err, errMessageLength) {
			t.Errorf("length %d: %v", length, err)
		}
		if _, ok := in.buffered(); ok {
			t.Errorf("length %d is a message", length)
		}
	}
}

// What comes in a steady stream is let gather, and a single message is not kept waiting.
func TestInflowLingers(t *testing.T) {
	one := framed('d', make([]byte, 1000))
	now := time.Now()
	in := newInflow(iotest.OneByteReader(bytes.NewReader(one)))
	for range len(one) / 2 {
		if err := in.fill(len(one)); err != nil {
			t.Fatal(err)
		}
	}
	if in.burst >= burstBytes || time.Since(now) > 5*time.Second {
		t.Errorf("a single message makes a burst of %d bytes", in.burst)
	}
	in = newInflow(bytes.NewReader(make([]byte, 10*inflowBuffer)))
	in.last, in.burst, in.to = time.Now(), burstBytes, inflowBuffer/2
	if err := in.fill(inflowBuffer); err != nil || in.burst != 0 {
		t.Errorf("after a read that filled the buffer: burst %d, %v", in.burst, err)
	}
	in = newInflow(bytes.NewReader(make([]byte, burstLeast-1)))
	in.last, in.burst = time.Now(), burstBytes
	if err := in.fill(1); err != nil || in.burst != burstLeast-1 {
		t.Errorf("after lingering for little: burst %d, %v", in.burst, err)
	}
}

// What is encrypted comes a record at a time, however much is there: waiting for more of it would only hold it up.
func TestInflowDoesNotLingerForRecords(t *testing.T) {
	for _, encrypted := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			in := newInflow(&cut{make([]byte, 1<<20), 3000})
			in.records = encrypted
			began := time.Now()
			for range 100 {
				in.from = in.to // it was read
				if err := in.fill(inflowBuffer / 2); err != nil {
					t.Fatal(err)
				}
			}
			if waited := time.Since(began); (waited == 0) != encrypted {
				t.Errorf("encrypted %t: waited %s", encrypted, waited)
			}
		})
	}
}

func TestEncryptedStreamIsKnown(t *testing.T) {
	t.Parallel()
	s := pgtest.Cluster(t, pgserver.Options{Trust: true})
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	certificate, err := x509.CreateCertificate(crand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	owner, err := os.Stat(s.DataDir())
	if err != nil {
		t.Fatal(err)
	}
	of := owner.Sys().(*syscall.Stat_t)
	for name, block := range map[string]*pem.Block{"server.crt": {Type: "CERTIFICATE", Bytes: certificate}, "server.key": {Type: "PRIVATE KEY", Bytes: private}} {
		path := filepath.Join(s.DataDir(), name)
		if err := errors.Join(os.WriteFile(path, pem.EncodeToMemory(block), 0o600), os.Chown(path, int(of.Uid), int(of.Gid))); err != nil {
			t.Fatal(err)
		}
	}
	dsn := s.DSN("postgres")
	pgtest.Exec(t, dsn, "ALTER SYSTEM SET ssl = on")
	if err := s.Restart(t.Context(), "immediate"); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"require", "disable"} {
		cfg, err := replicationConfig(strings.Replace(dsn, "sslmode=disable", "sslmode="+mode, 1))
		if err != nil {
			t.Fatal(err)
		}
		pg, err := pgconn.ConnectConfig(t.Context(), cfg)
		if err != nil && strings.Contains(err.Error(), "refused TLS") {
			t.Skip("this PostgreSQL is built without TLS")
		}
		if err != nil {
			t.Fatal(err)
		}
		if in := pg.CustomData()[inflowKey].(*inflow); in.records != (mode == "require") {
			t.Errorf("sslmode=%s: records %t", mode, in.records)
		}
		_ = closeConn(pg)
	}
}

// FuzzInflow cuts a stream of messages into pieces: what is found in it is what pgproto3 finds, and what is no message is an error for both.
func FuzzInflow(f *testing.F) {
	f.Add(append(framed('d', []byte("abc")), framed('Z', []byte("I"))...), uint16(3))
	f.Add(append(framed('d', nil), framed('d', make([]byte, 300))...), uint16(7))
	f.Add([]byte{'d', 0, 0, 0, 3}, uint16(1))
	f.Add([]byte{'d', 0xff, 0xff, 0xff, 0xff, 1}, uint16(1))
	f.Fuzz(func(t *testing.T, stream []byte, piece uint16) {
		for rest := stream; len(rest) >= 5; {
			n := int(int32(binary.BigEndian.Uint32(rest[1:]))) + 1
			if n > 1<<20 {
				t.Skip("both would make room for it")
			}
			if n < 5 || n > len(rest) {
				break
			}
			rest = rest[n:]
		}
		in := newInflow(&cut{stream, int(piece)%100 + 1})
		plain := pgproto3.NewFrontend(bytes.NewReader(stream), io.Discard)
		through := pgproto3.NewFrontend(in, io.Discard)
		for range 20 {
			msg, wantErr := plain.Receive()
			body, ok, err := in.next()
			if !ok && err == nil {
				var other pgproto3.BackendMessage
				if other, err = through.Receive(); err == nil {
					if want, got := fmt.Sprintf("%#v", msg), fmt.Sprintf("%#v", other); wantErr == nil && want != got {
						t.Fatalf("%s, want %s", got, want)
					}
				}
			}
			if (err == nil) != (wantErr == nil) {
				t.Fatalf("%v, pgproto3 alone: %v", err, wantErr)
			}
			if err != nil {
				return
			}
			data, isData := msg.(*pgproto3.CopyData)
			if ok != isData || ok && !bytes.Equal(body, data.Data) {
				t.Fatalf("CopyData %t of %q, want %#v", ok, body, msg)
			}
		}
	})
}

// cut brings so many bytes at a time.
type cut struct {
	data []byte
	n    int
}

func (c *cut) Read(b []byte) (int, error) {
	if len(c.data) == 0 {
		return 0, io.EOF
	}
	n := copy(b, c.data[:min(c.n, len(c.data))])
	c.data = c.data[n:]
	return n, nil
}
