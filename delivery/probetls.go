package delivery

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"
)

// certificateSoon is how long before its end a certificate is worth a warning.
const certificateSoon = 14 * 24 * time.Hour

// handshake speaks TLS over a connection and judges what comes, one cause at a time: a verification that fails for
// several reasons names only one of them. It says whether a request could be made.
func (p *Prober) handshake(ctx context.Context, conn net.Conn) bool {
	config, err := p.endpoint.TLS.config()
	if err != nil {
		p.found(CheckConfig, FindingError, "", "%s", err.Error())
		return false
	}
	if config.ServerName == "" {
		config.ServerName = p.url.Hostname()
	}
	state, err := p.shake(ctx, conn, config)
	if err != nil {
		p.noHandshake(ctx, conn, config, err)
		return false
	}
	certs := state.PeerCertificates
	if len(certs) == 0 {
		p.found(CheckTLS, FindingError, "", "the receiver shows no certificate")
		return false
	}
	p.found(CheckTLS, FindingOK, "", "%s, %s", tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite))
	now, was := time.Now(), len(p.out.Findings)
	p.dates(certs, now)
	p.name(certs[0], config.ServerName)
	p.issuer(certs, config.RootCAs, now)
	usable := true
	for i := range p.out.Findings[was:] {
		switch f := &p.out.Findings[was+i]; {
		case f.Severity == FindingError && p.endpoint.TLS.InsecureSkipVerify:
			f.Severity = FindingWarning // accepted, as the configuration says
		case f.Severity == FindingError:
			usable = false
		}
	}
	if len(p.out.Findings) == was {
		p.found(CheckCertificate, FindingOK, "", "of %s, by %s, until %s", nameOf(certs[0]), issuerOf(certs[0]), certs[0].NotAfter.UTC().Format(time.DateOnly))
	}
	return usable
}

// shake makes a handshake that accepts every certificate.
func (p *Prober) shake(ctx context.Context, conn net.Conn, config *tls.Config) (tls.ConnectionState, error) {
	ctx, cancel := context.WithTimeout(ctx, min(probeStep, p.endpoint.Timeout.Std()))
	defer cancel()
	config = config.Clone()
	config.InsecureSkipVerify = true //nolint:gosec // what it would say is told by the steps that follow, and nothing is sent
	client := tls.Client(conn, config)
	err := client.HandshakeContext(ctx)
	return client.ConnectionState(), err
}

// noHandshake says why there was no handshake.
func (p *Prober) noHandshake(ctx context.Context, conn net.Conn, config *tls.Config, err error) {
	var record tls.RecordHeaderError
	if errors.As(err, &record) {
		p.found(CheckScheme, FindingError, fmt.Sprintf("use the receiver's port for https, or, inside your own network only: url = \"http://%s\"", hostAndPath(p.out.URL)),
			"port %s answers without TLS: it is one for http, and the endpoint's url begins with https", portOf(p.url))
		return
	}
	// Once more, for an old server.
	again, dialErr := (&net.Dialer{Timeout: probeStep}).DialContext(ctx, "tcp", conn.RemoteAddr().String())
	if dialErr == nil {
		defer func() { _ = again.Close() }()
		old := config.Clone()
		old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		if state, err := p.shake(ctx, again, old); err == nil {
			p.found(CheckTLS, FindingError, "the receiver's operator must switch TLS 1.2 or 1.3 on", "the receiver speaks %s at most; 1.2 is the least that walhook speaks", tls.VersionName(state.Version))
			return
		}
	}
	p.found(CheckTLS, FindingError, "is this the receiver's port for https?", "no handshake: %s", plain(err))
}

// dates looks for certificates of the chain that have ended, or not begun.
func (p *Prober) dates(certs []*x509.Certificate, now time.Time) {
	for i, c := range certs {
		whose := "the certificate"
		if i > 0 {
			whose = fmt.Sprintf("the intermediate certificate of %s", nameOf(c))
		}
		switch end := c.NotAfter.UTC().Format(time.DateOnly); {
		case now.After(c.NotAfter):
			p.found(CheckCertificate, FindingError, "the receiver's operator must renew it", "%s has expired: it ended on %s", whose, end)
		case now.Before(c.NotBefore):
			p.found(CheckCertificate, FindingError, "compare this machine's clock with the receiver's", "%s is not valid yet: it begins on %s", whose, c.NotBefore.UTC().Format(time.DateOnly))
		case c.NotAfter.Sub(now) < certificateSoon:
			p.found(CheckCertificate, FindingWarning, "the receiver's operator must renew it before then", "%s ends soon: on %s", whose, end)
		}
	}
}

// name compares the certificate's names with the one that is asked for.
func (p *Prober) name(leaf *x509.Certificate, want string) {
	if leaf.VerifyHostname(want) == nil {
		return
	}
	names := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	has := "it has no name at all (a common name does not count)"
	if len(names) > 0 {
		has = "it is for " + strings.Join(names[:min(len(names), 10)], ", ")
	}
	p.found(CheckCertificate, FindingError, "use a name of the certificate in the endpoint's url, or tls.server_name, or have the certificate issued for "+want,
		"the certificate is not for %s: %s", want, has)
}

// issuer follows the chain to an authority that is trusted. It looks as of a day on which the certificate was valid, and
// at no name: both are told apart from this.
func (p *Prober) issuer(certs []*x509.Certificate, roots *x509.CertPool, now time.Time) {
	leaf := certs[0]
	if now.After(leaf.NotAfter) || now.Before(leaf.NotBefore) {
		now = leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 2)
	}
	between := x509.NewCertPool()
	for _, c := range certs[1:] {
		between.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now})
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	trust := `tls = { ca_file = "…" } with the certificate of the authority that issued it (PEM)`
	if roots != nil {
		trust = "tls.ca_file must hold the certificate of the authority that issued it, and replaces the system's authorities"
	}
	switch {
	case err == nil, errors.As(err, &invalid) && invalid.Reason == x509.Expired:
	case errors.As(err, &unknown) && leaf.CheckSignatureFrom(leaf) == nil, errors.As(err, &unknown) && leaf.Subject.String() == leaf.Issuer.String():
		p.found(CheckCertificate, FindingError, `tls = { ca_file = "…" } with this very certificate (PEM)`, "the certificate is self-signed: no authority vouches for it")
	case errors.As(err, &unknown) && len(certs) == 1 && len(leaf.IssuingCertificateURL) > 0:
		p.found(CheckCertificate, FindingError, "the receiver's operator must install the whole chain (often called fullchain.pem)",
			"the receiver sends its certificate without the intermediate one of %s", issuerOf(leaf))
	case errors.As(err, &unknown):
		p.found(CheckCertificate, FindingError, trust, "the certificate was issued by %s, which is not trusted here", issuerOf(leaf))
	default:
		p.found(CheckCertificate, FindingError, "", "the certificate does not hold: %s", plain(err))
	}
}

func nameOf(c *x509.Certificate) string {
	switch {
	case len(c.DNSNames) > 0:
		return c.DNSNames[0]
	case c.Subject.CommonName != "":
		return c.Subject.CommonName
	}
	return c.Subject.String()
}

func issuerOf(c *x509.Certificate) string {
	switch {
	case c.Issuer.CommonName != "":
		return c.Issuer.CommonName
	case len(c.Issuer.Organization) > 0:
		return c.Issuer.Organization[0]
	}
	return c.Issuer.String()
}

// hostAndPath is an address without its scheme.
func hostAndPath(address string) string {
	_, rest, _ := strings.Cut(address, "://")
	return rest
}
