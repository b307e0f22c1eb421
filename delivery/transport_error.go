package delivery

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"
)

// errTimeout is the cause of a context that ended because the endpoint's timeout passed.
var errTimeout = errors.New("timeout")

// classifyError names the class of a failed round trip and says in words what happened. outer is the
// engine's context, limited is outer with the endpoint's timeout. What ended first counts.
func classifyError(err error, outer, limited context.Context, timeout time.Duration, stage string) (class, text string) {
	var token *TokenError
	switch {
	case errors.As(err, &token):
		return ClassAuth, token.Error()
	case errors.Is(context.Cause(limited), errTimeout):
		return ClassTimeout, fmt.Sprintf("timeout after %s while %s", Duration(timeout), stage)
	case outer.Err() != nil:
		return ClassReleased, context.Cause(outer).Error()
	}
	text = plain(err)
	var (
		dns     *net.DNSError
		op      *net.OpError
		cert    *tls.CertificateVerificationError
		alert   tls.AlertError
		record  tls.RecordHeaderError
		network net.Error
		unknown x509.UnknownAuthorityError
	)
	switch {
	case errors.As(err, &dns):
		return ClassDNS, text
	case errors.As(err, &record), strings.Contains(text, "server gave HTTP response to HTTPS client"):
		return ClassTLS, "the receiver answered without TLS: is its address one of http://?"
	case errors.As(err, &cert), errors.As(err, &alert), errors.As(err, &unknown), strings.Contains(text, "tls: "),
		strings.Contains(text, "x509: "):
		return ClassTLS, text
	case errors.As(err, &network) && network.Timeout():
		return ClassTimeout, text
	case errors.As(err, &op) && (op.Op == "dial" || op.Op == "proxyconnect" || op.Op == "socks connect"):
		return ClassConnect, text
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNABORTED):
		return ClassReset, "the connection was reset while " + stage
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), strings.Contains(text, "server closed idle connection"):
		return ClassEOF, "the connection was closed while " + stage
	case errors.Is(err, errUnasked), strings.Contains(text, "malformed HTTP"), strings.Contains(text, "malformed MIME"), strings.Contains(text, "server response headers exceeded"),
		strings.Contains(text, "invalid Content-Length"), strings.Contains(text, "bad Content-Length"), strings.Contains(text, "unsupported transfer encoding"),
		strings.Contains(text, "malformed chunked encoding"), strings.Contains(text, "invalid byte in chunk length"), strings.Contains(text, "invalid header"):
		return ClassProtocol, text
	}
	return ClassNetwork, text
}

// plain is an error's text without net/http's own prefixes, which tell a user nothing.
func plain(err error) string {
	text := err.Error()
	for _, prefix := range []string{"net/http: HTTP/1.x transport connection broken: ", "net/http: ", "http: "} {
		text = strings.TrimPrefix(text, prefix)
	}
	return text
}
