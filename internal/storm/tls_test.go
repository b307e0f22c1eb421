package storm

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// authority issues the receivers' certificates.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t: t}
	own := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "storm"}, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	var der []byte
	a.key, der = a.sign(own, nil)
	var err error
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

// sign signs with the authority's key, or with its own.
func (a *authority) sign(c, parent *x509.Certificate) (*ecdsa.PrivateKey, []byte) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	by := a.key
	if parent == nil {
		parent, by = c, key
	}
	der, err := x509.CreateCertificate(crand.Reader, c, parent, &key.PublicKey, by)
	if err != nil {
		a.t.Fatal(err)
	}
	return key, der
}

// issue makes a certificate for an address, valid from some time until another.
func (a *authority) issue(ip string, from, until time.Duration) *tls.Certificate {
	a.t.Helper()
	key, der := a.sign(&x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "receiver"}, NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(until),
		IPAddresses: []net.IP{net.ParseIP(ip)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, a.cert)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// pem is what goes to a ca_file.
func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// faces are the certificates that receivers show: a good one, and what may be wrong with it.
type faces struct {
	authority *authority
	all       map[string]*tls.Certificate
	shown     atomic.Pointer[string]
	failed    atomic.Int32 // handshakes that came to nothing
}

// good is the name of the certificate that is as it should be.
const good = "good"

func newFaces(t testing.TB) *faces {
	f := &faces{authority: newAuthority(t)}
	const day = 24 * time.Hour
	f.all = map[string]*tls.Certificate{good: f.authority.issue("127.0.0.1", -day, day), "that has expired": f.authority.issue("127.0.0.1", -day, -time.Hour),
		"that is not valid yet": f.authority.issue("127.0.0.1", time.Hour, day), "of another host": f.authority.issue("127.0.0.2", -day, day),
		"of an unknown authority": newAuthority(t).issue("127.0.0.1", -day, day)}
	f.show(good)
	return f
}

// show changes the certificate; one that there is not breaks all handshakes off.
func (f *faces) show(name string) { f.shown.Store(&name) }

func (f *faces) config() *tls.Config {
	return &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		if c := f.all[*f.shown.Load()]; c != nil {
			return c, nil
		}
		return nil, errors.New("no certificate")
	}}
}

// eitherListener takes connections with TLS and without it, as their first byte says.
type eitherListener struct {
	net.Listener
	faces  *faces
	config *tls.Config
}

// Accept waits for nobody's first byte.
func (l *eitherListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &eitherConn{Conn: c, of: l}, nil
}

type eitherConn struct {
	net.Conn
	of    *eitherListener
	once  sync.Once
	inner io.ReadWriter
	err   error
}

// begin reads the first byte, and the handshake if there is to be one.
func (c *eitherConn) begin() error {
	c.once.Do(func() {
		first := make([]byte, 1)
		if _, c.err = io.ReadFull(c.Conn, first); c.err != nil {
			return
		}
		all := &prefixed{c.Conn, io.MultiReader(bytes.NewReader(first), c.Conn)}
		c.inner = all
		const handshake = 0x16
		if first[0] == handshake {
			s := tls.Server(all, c.of.config)
			c.inner = s
			if c.err = s.Handshake(); c.err != nil {
				c.of.faces.failed.Add(1)
			}
		}
	})
	return c.err
}

func (c *eitherConn) Read(b []byte) (int, error) {
	if err := c.begin(); err != nil {
		return 0, err
	}
	return c.inner.Read(b)
}

func (c *eitherConn) Write(b []byte) (int, error) {
	if err := c.begin(); err != nil {
		return 0, err
	}
	return c.inner.Write(b)
}

// SetLinger lets a connection be reset.
func (c *eitherConn) SetLinger(seconds int) error {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		return tcp.SetLinger(seconds)
	}
	return nil
}

// prefixed is a connection of which something has been read already.
type prefixed struct {
	net.Conn
	all io.Reader
}

func (p *prefixed) Read(b []byte) (int, error) { return p.all.Read(b) }
