package delivery

import (
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// decide says what becomes of a delivery after an attempt at now. It is pure: the attempt, the
// endpoint's policy and the delivery's id and count are all it goes by.
//
//	2xx with a complete answer                  delivered
//	no answer, or one that broke off            retry
//	408, 425, 429, 5xx                          retry, not before Retry-After
//	410                                         dead, and the endpoint is disabled
//	3xx                                         dead: redirects are not followed
//	other 4xx                                   dead
//	a body that is larger than max_body         dead
//	older than queue.max_age                  dead
//	cut short by walhook itself                 released: not counted
//
// A retry that the policy no longer allows makes the delivery dead. LaneDone is the engine's to set.
func decide(c *EndpointConfig, d *Delivery, a *Attempt, now time.Time) Outcome {
	o := Outcome{Delivery: d, Attempt: a}
	switch {
	case a.Class == ClassReleased:
		return Outcome{Delivery: d, Result: Released}
	case ownFault(a.Class):
		o.Reason = a.Error
	case a.Status == 0:
		o.Reason = a.Error
	case a.Status/100 == 2 && a.Error != "":
		// The receiver may have failed after it wrote the status line: the
		// same event again, under the same id, is the lesser evil.
		o.Reason = fmt.Sprintf("%s, but %s", statusText(a.Status), a.Error)
	case a.Status/100 == 2:
		o.Result = Delivered
		return o
	case a.Status/100 == 3:
		o.Reason = statusText(a.Status)
		if to := a.ResponseHeaders["Location"]; len(to) > 0 {
			o.Reason += ": redirects are not followed; if it has moved, set the endpoint's url to " + to[0]
		}
	case a.Status == http.StatusGone:
		o.Reason = statusText(a.Status)
		o.Disable = "the receiver answered 410 Gone: it wants no more deliveries"
	default:
		o.Reason = statusText(a.Status)
	}
	if retryable(a) {
		failed := d.Attempts + 1
		next, again := c.Retry.Next(failed, now, d.ID)
		if again {
			o.Result, o.Next = Retry, next
			if asked := a.ResponseHeaders["Retry-After"]; len(asked) > 0 {
				if at := now.Add(c.Retry.after(asked[0], now)); at.After(next) {
					o.Next = at
				}
			}
			o.Next = c.Queue.limit(d, o.Next, now)
			return o
		}
		o.Reason += fmt.Sprintf(" (attempt %d of %d)", failed, c.Retry.Limit())
	}
	o.Result = Dead
	o.Hold = c.OnDead == OnDeadHold && a.Class != ClassExpired // what is of no more use makes nobody wait
	return o
}

// ownFault says that nothing was sent, or that the attempt was cut short by walhook itself: it says nothing about the receiver.
func ownFault(class string) bool {
	switch class {
	case ClassReleased, ClassTooLarge, ClassConfig, ClassExpired:
		return true
	}
	return false
}

// retryable says whether a later attempt of the same delivery may fare better.
func retryable(a *Attempt) bool {
	switch {
	case ownFault(a.Class):
		return false
	case a.Status == 0, a.Status/100 == 2 && a.Error != "":
		return true
	}
	return a.Status/100 != 2 && a.Status/100 != 3 && mayRecover(a.Status)
}

// mayRecover says whether a later attempt may fare better than one that got this status.
func mayRecover(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return status/100 != 4 // 5xx, and numbers that HTTP does not define
}

// turnsAway says that a status is about who asks and where, rather than about the delivery: credentials that were changed, a path that is gone, a
// redirect. Each such delivery is dead, but when all get this answer the next ones are kept for when it is mended.
func turnsAway(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusProxyAuthRequired:
		return true
	}
	return status/100 == 3
}

// statusText is "503 Service Unavailable".
func statusText(status int) string {
	if text := http.StatusText(status); text != "" {
		return strconv.Itoa(status) + " " + text
	}
	return "status " + strconv.Itoa(status)
}
