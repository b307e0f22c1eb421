package delivery

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// slowAnswer is from when on an answer earns a warning, however long the endpoint's timeout is.
const slowAnswer = 5 * time.Second

// request asks the receiver over the endpoint's own way, and judges its answer.
func (p *Prober) request(ctx context.Context) {
	c := p.endpoint
	if !p.Send {
		c.Method = http.MethodOptions
	}
	a := p.ask(ctx, c)
	if a == nil {
		return
	}
	p.out.Attempt = a
	if a.Class == ClassAuth {
		p.out.Sent = "nothing" // but the request for a token
	}
	if p.url.Scheme == "http" && (a.Status == 0 && a.Class != ClassTimeout || a.Status == http.StatusBadRequest) && p.speaksTLS(ctx) {
		p.found(CheckScheme, FindingError, fmt.Sprintf(`url = "https://%s"`, hostAndPath(p.out.URL)), "port %s speaks TLS: it is one for https, and the endpoint's url begins with http", portOf(p.url))
		return
	}
	if a.Error != "" {
		p.failed(a)
		return
	}
	switch {
	case a.Status/100 == 3:
		p.redirected(a)
	case a.Status == http.StatusUnauthorized, a.Status == http.StatusForbidden, a.Status == http.StatusProxyAuthRequired:
		p.refused(a)
	case a.Status == http.StatusNotFound:
		p.notFound(ctx, c)
	case a.Status == http.StatusMethodNotAllowed:
		p.method(a)
	default:
		p.answered(a)
	}
	p.speed(a)
}

// ask makes one request; nil when none could be made, which is found then.
func (p *Prober) ask(ctx context.Context, c EndpointConfig) *Attempt {
	name := p.out.Endpoint
	if name == "" {
		name = "probe"
	}
	d, err := NewTest(name, "", nil, time.Now())
	if err == nil {
		d.Dress(c, true)
		p.out.Sent = fmt.Sprintf("%s of a test event, marked with %s: true and the id %s", c.Method, headerTest, d.ID)
		if !p.Send {
			d.Body, d.Headers, p.out.Sent = nil, nil, fmt.Sprintf("%s without a body, marked with %s: true", c.Method, headerTest)
		}
		var a *Attempt
		if a, err = c.attempt(ctx, p.Version, d); err == nil {
			if p.Send && a.Class != ClassAuth { // without a token nothing was sent
				p.out.Tests = append(p.out.Tests, decide(&c, d, a, a.At.Add(a.Total)))
			}
			return a
		}
	}
	p.found(CheckAnswer, FindingError, "", "no request was made: %s", err)
	return nil
}

// speaksTLS says whether the port of a url of http is one for https.
func (p *Prober) speaksTLS(ctx context.Context) bool {
	quiet := Prober{endpoint: p.endpoint, url: p.url}
	conn := quiet.connect(ctx, p.url, false)
	if conn == nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	config, err := p.endpoint.TLS.config()
	if err != nil {
		return false
	}
	config.ServerName = p.url.Hostname()
	_, err = p.shake(ctx, conn, config)
	return err == nil
}

// failed names what became of a request that was not answered, or not to the end.
func (p *Prober) failed(a *Attempt) {
	check, remedy := CheckAnswer, ""
	switch {
	case a.Class == ClassTimeout:
		check, remedy = CheckSpeed, "the receiver should answer 2xx as soon as it has the event, and work on it afterwards; or raise the endpoint's timeout"
	case a.Class == ClassTLS && strings.Contains(a.Error, "certificate required"), a.Class == ClassTLS && strings.Contains(a.Error, "bad certificate"):
		check, remedy = CheckCredentials, "the receiver asks for a client certificate: tls = { cert_file, key_file }"
	case a.Class == ClassAuth:
		check, remedy = CheckCredentials, "no token could be had, and the receiver was not asked: correct auth.token_url, client_id, client_secret, scope and audience of the endpoint"
	case a.Class == ClassTLS:
		check = CheckTLS
	case a.Class == ClassDNS:
		check = CheckDNS
	case a.Class == ClassConnect:
		check = CheckConnect
	case a.Class == ClassProtocol:
		remedy = "does an HTTP server listen on this port?"
	}
	p.found(check, FindingError, remedy, "%s", a.Error)
}

// redirected says where it points, and whether it is only a slash or the scheme.
func (p *Prober) redirected(a *Attempt) {
	here, err := url.Parse(p.out.URL)
	to := ""
	if l := a.ResponseHeaders["Location"]; len(l) > 0 {
		to = l[0]
	}
	there, e := url.Parse(to)
	if err != nil || e != nil || to == "" {
		p.found(CheckPath, FindingError, "ask the receiver's operator for the final address", "the receiver redirects (%s); redirects are not followed", statusText(a.Status))
		return
	}
	there = here.ResolveReference(there)
	remedy := fmt.Sprintf("url = %q", there.String())
	switch same := strings.TrimSuffix(there.Path, "/") == strings.TrimSuffix(here.Path, "/"); {
	case same && there.Path != here.Path && strings.HasSuffix(there.Path, "/"):
		p.found(CheckPath, FindingError, remedy, "the path lacks the slash at its end: the receiver redirects to %s, and redirects are not followed", there)
	case same && there.Path != here.Path:
		p.found(CheckPath, FindingError, remedy, "the path has a slash too many at its end: the receiver redirects to %s, and redirects are not followed", there)
	case same && here.Scheme == "http" && there.Scheme == "https":
		p.found(CheckScheme, FindingError, remedy, "the receiver wants https: it redirects to %s, and redirects are not followed", there)
	case strings.Contains(strings.ToLower(there.Path), "login") || strings.Contains(strings.ToLower(there.Path), "signin"):
		p.found(CheckCredentials, FindingError, "the path needs a login that a webhook can't make: ask the receiver's operator for the webhook's own address, or for credentials", "the receiver redirects to %s", there)
	default:
		p.found(CheckPath, FindingError, remedy, "the receiver redirects to %s, and redirects are not followed", there)
	}
}

// refused is about 401, 403 and 407.
func (p *Prober) refused(a *Attempt) {
	c := &p.endpoint
	severity, remedy := FindingError, "correct auth of the endpoint"
	switch {
	case a.Status == http.StatusProxyAuthRequired:
		remedy = "put the proxy's user and password into the endpoint's proxy: http://user:password@host:3128"
	case a.Status == http.StatusForbidden && c.Auth.Type != "":
		remedy = "the credentials are known and may not do this, or this machine's address is not on the receiver's list"
	case c.Auth.Type == "" && len(c.Headers) == 0 && p.url.User == nil && len(c.Secrets) == 0:
		remedy = "the endpoint has neither auth nor secrets: ask the receiver's operator which it wants"
	case !p.Send && c.Auth.Type == "":
		severity, remedy = FindingWarning, "it may refuse a request without a signed event only: walhook endpoints verify --send"
	case len(c.Secrets) > 0:
		remedy = "correct auth and secrets of the endpoint; does the receiver have the same secret, and is its clock right?"
	}
	p.found(CheckCredentials, severity, remedy, "the receiver refuses: %s%s", statusText(a.Status), challenge(a))
}

// challenge is what the receiver asks for, for people.
func challenge(a *Attempt) string {
	if asked := a.ResponseHeaders["Www-Authenticate"]; len(asked) > 0 {
		return " (it asks for " + strings.Join(asked, ", ") + ")"
	}
	return ""
}

// notFound looks whether only a slash is wrong.
func (p *Prober) notFound(ctx context.Context, c EndpointConfig) {
	other := *p.url
	if other.Path = strings.TrimSuffix(p.url.Path, "/"); other.Path == p.url.Path {
		other.Path += "/"
	}
	other.RawPath = ""
	c.URL, c.Method = URL(other.String()), http.MethodOptions
	sent, shown := p.out.Sent, c.URL.String()
	looker := Prober{Version: p.Version, endpoint: c, url: &other}
	if a := looker.ask(ctx, c); a != nil && a.Status != 0 && a.Status != http.StatusNotFound && a.Status/100 != 3 && a.Status/100 != 5 {
		p.found(CheckPath, FindingError, fmt.Sprintf("url = %q", shown), "there is nothing at this path (404), but there is at %s", shown)
		p.out.Sent = sent + ", and OPTIONS to " + shown
		return
	}
	if !p.Send {
		p.found(CheckPath, FindingWarning, "correct the path in the endpoint's url; some receivers know the path for POST only: walhook endpoints verify --send", "there is nothing at this path for OPTIONS (404)")
		return
	}
	p.found(CheckPath, FindingError, "correct the path in the endpoint's url", "there is nothing at this path (404)")
}

// method is about 405: the path is right.
func (p *Prober) method(a *Attempt) {
	allow := strings.Join(a.ResponseHeaders["Allow"], ", ")
	var methods []string
	for m := range strings.SplitSeq(allow, ",") {
		if m = strings.TrimSpace(m); m != "" {
			methods = append(methods, strings.ToUpper(m))
		}
	}
	switch {
	case len(methods) > 0 && !slices.Contains(methods, p.endpoint.Method):
		p.found(CheckPath, FindingError, "correct the path, or method of the endpoint", "the path exists and does not take %s: it allows %s", p.endpoint.Method, allow)
	case p.Send:
		p.found(CheckPath, FindingError, "correct the path, or method of the endpoint", "the path exists and does not take %s (405)", p.endpoint.Method)
	default:
		p.found(CheckPath, FindingOK, "", "the path exists (405 to OPTIONS is no fault)")
	}
}

// answered judges every other answer.
func (p *Prober) answered(a *Attempt) {
	text := statusText(a.Status)
	switch {
	case a.Status/100 == 2 && p.Send:
		p.found(CheckAnswer, FindingOK, "", "the test event was taken: %s in %s", text, shortly(a.Total))
	case a.Status/100 == 2:
		p.found(CheckAnswer, FindingOK, "", "%s in %s", text, shortly(a.Total))
	case a.Status == http.StatusTooManyRequests:
		p.found(CheckAnswer, FindingWarning, "lower the endpoint's concurrency or rate", "the receiver is asked too often: %s", text)
	case a.Status == http.StatusNotImplemented && !p.Send:
		p.found(CheckAnswer, FindingOK, "", "%s to OPTIONS is no fault", text)
	case a.Status == http.StatusBadGateway, a.Status == http.StatusServiceUnavailable, a.Status == http.StatusGatewayTimeout:
		p.found(CheckAnswer, FindingError, "something in front of the receiver answers in its place: is the receiver itself running?", "%s", text)
	case a.Status/100 == 5:
		p.found(CheckAnswer, FindingError, "look into the receiver's log", "the receiver fails: %s", text)
	case !p.Send:
		p.found(CheckAnswer, FindingInfo, "walhook endpoints verify --send", "the receiver answers OPTIONS with %s, which says nothing of %s", text, p.endpoint.Method)
	case a.Status == http.StatusGone:
		p.found(CheckAnswer, FindingError, "remove the endpoint, or ask the receiver's operator for the new address", "the receiver wants no more deliveries: %s would disable the endpoint", text)
	default:
		p.found(CheckAnswer, FindingError, "look into the receiver's log; a receiver should answer 2xx to types that it does not know", "the test event was refused: %s%s", text, excerpt(a.ResponseBody))
	}
}

// speed warns of an answer that came late.
func (p *Prober) speed(a *Attempt) {
	if limit := min(slowAnswer, p.endpoint.Timeout.Std()/2); a.Total > limit {
		p.found(CheckSpeed, FindingWarning, "the receiver should answer 2xx as soon as it has the event, and work on it afterwards",
			"the answer took %s; the endpoint's timeout is %s", shortly(a.Total), p.endpoint.Timeout)
	}
}

// excerpt is the beginning of an answer's body, for people.
func excerpt(body []byte) string {
	text := strings.Join(strings.Fields(strings.ToValidUTF8(string(body), "\ufffd")), " ")
	if text == "" {
		return ""
	}
	if r := []rune(text); len(r) > 200 {
		text = string(r[:200]) + " ..."
	}
	return ": " + text
}
