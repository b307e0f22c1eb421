package delivery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// The severities of a [Finding].
const (
	FindingOK      = "ok"
	FindingInfo    = "info"
	FindingWarning = "warning" // deliveries may fail
	FindingError   = "error"   // deliveries fail
)

// The steps of a probe, [Finding.Check].
const (
	CheckConfig      = "config"
	CheckProxy       = "proxy"
	CheckDNS         = "dns"
	CheckAddress     = "address" // the address guard
	CheckConnect     = "connect"
	CheckTLS         = "tls"
	CheckCertificate = "certificate"
	CheckScheme      = "scheme" // http and https mixed up
	CheckPath        = "path"   // also a slash at its end, and redirects
	CheckCredentials = "credentials"
	CheckAnswer      = "answer"
	CheckSpeed       = "speed"
)

// Finding is one thing that a probe found out about an endpoint. No field holds a secret.
type Finding struct {
	Check    string `json:"check"`    // the step: dns, connect, tls …
	Severity string `json:"severity"` // ok, info, warning or error
	Message  string `json:"message"`
	Remedy   string `json:"remedy,omitempty"`
}

// Probe is what was found out about an endpoint, in the order of the steps.
type Probe struct {
	Endpoint string    `json:"endpoint,omitempty"` // "" for an address that is no endpoint's
	URL      string    `json:"url"`                // without its secrets
	Sent     string    `json:"sent"`               // what the receiver got to see
	Findings []Finding `json:"findings"`

	Attempt *Attempt  `json:"-"` // the last request; nil when none was made
	Tests   []Outcome `json:"-"` // the test events that were sent, and what would become of deliveries that were answered like them
}

// OK says that nothing was found that makes deliveries fail.
func (p *Probe) OK() bool {
	for _, f := range p.Findings {
		if f.Severity == FindingError {
			return false
		}
	}
	return true
}

// Prober finds out step by step whether an endpoint would take deliveries. Unless Send is set, the receiver sees no event: a connection, and a request
// OPTIONS without a body that carries the endpoint's credentials and the header Webhook-Test: true.
//
// With Send it gets a test event instead ([NewTest]), signed and with the endpoint's method; invariant 5 is the caller's then.
type Prober struct {
	Version string
	Send    bool

	endpoint EndpointConfig
	url      *url.URL
	out      Probe
}

// probeStep bounds each of the steps before the request.
const probeStep = 10 * time.Second

// Probe looks at one endpoint. It returns when ctx ends, with what was found until then.
func (p Prober) Probe(ctx context.Context, name string, c EndpointConfig) *Probe {
	p.endpoint = c.WithDefaults()
	p.out = Probe{Endpoint: name, URL: c.URL.String(), Sent: "nothing", Findings: []Finding{}}
	p.run(ctx)
	return &p.out
}

func (p *Prober) run(ctx context.Context) {
	if err := p.endpoint.Validate(); err != nil {
		for _, e := range unjoin(err) {
			var hint interface{ Hint() string }
			remedy := ""
			if errors.As(e, &hint) {
				remedy = hint.Hint()
			}
			p.found(CheckConfig, FindingError, remedy, "%s", e.Error())
		}
		return
	}
	p.url, _ = url.Parse(string(p.endpoint.URL)) // Validate has seen that it can be
	for _, w := range p.endpoint.Warnings() {
		p.found(CheckConfig, FindingWarning, "", "%s", w)
	}
	proxy, err := p.proxy()
	if err != nil {
		p.found(CheckProxy, FindingError, "correct proxy of the endpoint, or HTTPS_PROXY and HTTP_PROXY of the environment", "the proxy's address cannot be used")
		return
	}
	target := p.url
	if proxy != nil {
		p.found(CheckProxy, FindingInfo, "", "requests go through the proxy %s", maskURL(proxy.String()))
		target = proxy
	}
	conn := p.connect(ctx, target, proxy != nil)
	if conn == nil {
		return
	}
	usable := proxy != nil || p.url.Scheme != "https" || p.handshake(ctx, conn)
	_ = conn.Close() // it has told what it could
	if usable {
		p.request(ctx)
	}
}

func (p *Prober) found(check, severity, remedy, format string, args ...any) {
	p.out.Findings = append(p.out.Findings, Finding{Check: check, Severity: severity, Message: fmt.Sprintf(format, args...), Remedy: remedy})
}

// proxy is the proxy that requests go through, nil for none.
func (p *Prober) proxy() (*url.URL, error) {
	switch {
	case p.endpoint.Guarded, p.endpoint.Proxy == ProxyOff:
		return nil, nil
	case p.endpoint.Proxy != "":
		return url.Parse(string(p.endpoint.Proxy))
	}
	return http.ProxyFromEnvironment(&http.Request{URL: p.url})
}

// connect resolves a host and connects to the first address that answers; nil when none does.
func (p *Prober) connect(ctx context.Context, target *url.URL, proxy bool) net.Conn {
	whose := "the host"
	if proxy {
		whose = "the proxy's host"
	}
	host, port := target.Hostname(), portOf(target)
	addresses := p.resolve(ctx, whose, host)
	var failures []string
	for _, a := range addresses {
		if p.endpoint.Guarded {
			if why := NotPublic(a); why != "" {
				guarded := &GuardedAddressError{Address: a, Why: why}
				p.found(CheckAddress, FindingError, guarded.Hint(), "%s", guarded.Error())
				return nil
			}
		}
		began := time.Now()
		conn, err := p.dial(ctx, a, port)
		if err == nil {
			if len(failures) > 0 {
				p.found(CheckConnect, FindingWarning, "remove the addresses that do not answer from DNS, or let them answer: every new connection may lose time on them",
					"not every address of %s answers: %s", host, strings.Join(failures, "; "))
			}
			p.found(CheckConnect, FindingOK, "", "connected to %s port %s in %s", a, port, shortly(time.Since(began)))
			return conn
		}
		class, text := classifyError(err, ctx, ctx, p.endpoint.Timeout.Std(), "connecting")
		if class == ClassReleased {
			text = "no answer in time"
		}
		failures = append(failures, fmt.Sprintf("%s: %s", a, text))
	}
	if len(failures) > 0 {
		remedy := fmt.Sprintf("is the receiver running, and is port %s its port? A port that nobody answers on at all is often closed by a firewall", port)
		if target.Port() == "" {
			remedy = fmt.Sprintf("is the receiver running? The address names no port, so it is %s's: %s", target.Scheme, port)
		}
		p.found(CheckConnect, FindingError, remedy, "no connection to %s: %s", net.JoinHostPort(host, port), strings.Join(failures, "; "))
	}
	return nil
}

// resolve looks the host up, unless it is an address.
func (p *Prober) resolve(ctx context.Context, whose, host string) []netip.Addr {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}
	}
	limited, cancel := context.WithTimeout(ctx, probeStep)
	defer cancel()
	began := time.Now()
	addresses, err := net.DefaultResolver.LookupNetIP(limited, "ip", host)
	took := time.Since(began)
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		p.found(CheckDNS, FindingError, "correct the host in the endpoint's url; a new name may take a while to be known everywhere", "%s %s is not known to DNS", whose, host)
		return nil
	case err != nil:
		p.found(CheckDNS, FindingError, "look at this machine's DNS (/etc/resolv.conf): it does not answer, or its answer was cut", "%s %s cannot be looked up: %v", whose, host, err)
		return nil
	}
	var texts []string
	for i, a := range addresses {
		addresses[i] = a.Unmap()
		texts = append(texts, addresses[i].String())
	}
	severity, remedy := FindingOK, ""
	if took > time.Second {
		severity, remedy = FindingWarning, "a local resolver that caches makes new connections faster"
	}
	p.found(CheckDNS, severity, remedy, "%s is %s, looked up in %s", host, strings.Join(texts, ", "), shortly(took))
	return addresses
}

// dial connects to one address; the guard judges it once more.
func (p *Prober) dial(ctx context.Context, a netip.Addr, port string) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: min(probeStep, p.endpoint.Timeout.Std())}
	if p.endpoint.Guarded {
		dialer = GuardedDialer(dialer.Timeout)
	}
	return dialer.DialContext(ctx, "tcp", net.JoinHostPort(a.String(), port))
}

func portOf(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	case strings.HasPrefix(u.Scheme, "socks"):
		return "1080"
	}
	return "80"
}

// shortly writes a duration for people.
func shortly(d time.Duration) string {
	if d < 10*time.Millisecond {
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(time.Millisecond).String()
}

// unjoin takes joined errors apart.
func unjoin(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}
