package delivery

// The classes of attempts that did not succeed, [Attempt.Class]. They are for filters
// and metrics: few, stable, and told by what a person would do about them.
const (
	ClassDNS         = "dns"            // the host name was not resolved
	ClassConnect     = "connect"        // no connection: refused, unreachable
	ClassTLS         = "tls"            // no handshake, or a certificate that does not hold
	ClassTimeout     = "timeout"        // no complete answer within the endpoint's timeout
	ClassReset       = "reset"          // the connection was reset
	ClassEOF         = "eof"            // the connection was closed before the answer was complete
	ClassProtocol    = "protocol"       // what came back is not HTTP
	ClassNetwork     = "network"        // any other failure of the connection
	ClassRedirect    = "redirect"       // 3xx
	ClassClientError = "status_4xx"     // 4xx
	ClassServerError = "status_5xx"     // 5xx
	ClassStatus      = "status"         // a status that HTTP does not define
	ClassTooLarge    = "body_too_large" // the body exceeds the endpoint's max_body: nothing was sent
	ClassConfig      = "config"         // the endpoint is not configured: nothing was sent
	ClassExpired     = "expired"        // older than the endpoint's queue.max_age: nothing was sent
	ClassAuth        = "auth"           // no OAuth 2 token could be had: nothing was sent to the receiver
	ClassReleased    = "released"       // cut short by walhook itself; never logged or counted
)

// Classes are the classes of what is logged.
func Classes() []string {
	return []string{
		ClassDNS, ClassConnect, ClassTLS, ClassTimeout, ClassReset, ClassEOF, ClassProtocol, ClassNetwork, ClassRedirect, ClassClientError, ClassServerError, ClassStatus,
		ClassTooLarge, ClassConfig, ClassExpired, ClassAuth,
	}
}

// statusClass is the class of a complete answer.
func statusClass(status int) string {
	switch status / 100 {
	case 2:
		return ""
	case 3:
		return ClassRedirect
	case 4:
		return ClassClientError
	case 5:
		return ClassServerError
	}
	return ClassStatus
}
