package delivery

import (
	"cmp"
	"fmt"
	"net/http"
	"time"
)

// batchAnswer bounds what is logged of the answer's body with each delivery of a batch but the first.
const batchAnswer = 1 << 10

// decideBatch says what becomes of each delivery of a batch after the request that carried it. It is pure, like
// [decide], by whose rules each is judged:
//
//	2xx                                         all are delivered
//	no answer, 408, 425, 429, 5xx               each is tried again by its own count, all at the same time, as the jitter is the batch's
//	an answer that may be one delivery's fault  none has used up an attempt: all are sent again in smaller batches
//	410                                         the first is dead and disables the endpoint; the others wait, and have used up no attempt
//	cut short by walhook itself                 all are released
//
// A delivery is dead by an answer only if it was alone in the batch, or if the answer says nothing about deliveries at all (3xx,
// 401, 405, 407: all would get it).
func decideBatch(c *EndpointConfig, message *Delivery, deliveries []*Delivery, a *Attempt, now time.Time) []Outcome {
	n := len(deliveries)
	outcomes := make([]Outcome, n)
	for i, d := range deliveries {
		one := *a
		one.Number = d.Attempts + 1
		if message.Batched > 0 {
			one.Batch, one.BatchPosition, one.BatchSize = message.ID, i+1, n
		}
		if i > 0 && len(one.ResponseBody) > batchAnswer {
			one.ResponseBody, one.ResponseCut = one.ResponseBody[:batchAnswer], true
		}
		switch {
		case n > 1 && divides(a):
			reason := cmp.Or(a.Error, statusText(a.Status))
			outcomes[i] = Outcome{Result: Regrouped, Attempt: &one, Reason: fmt.Sprintf("%s, for a batch of %d: they are sent again in smaller ones", reason, n)}
		case n > 1 && i > 0 && a.Status == http.StatusGone:
			outcomes[i] = Outcome{Result: Regrouped, Attempt: &one, Reason: statusText(a.Status) + ", for a batch: it is sent again when the endpoint is enabled"}
		default:
			seeded := *d
			seeded.ID = message.ID // what failed together may come together again
			outcomes[i] = decide(c, &seeded, &one, now)
		}
		outcomes[i].Delivery = d
	}
	return outcomes
}

// divides says whether the answer to a batch of several may be the fault of one of them.
func divides(a *Attempt) bool {
	if a.Class == ClassTooLarge {
		return true
	}
	switch a.Status {
	case http.StatusUnauthorized, http.StatusMethodNotAllowed, http.StatusProxyAuthRequired, http.StatusGone:
		return false
	}
	return a.Status/100 == 4 && !mayRecover(a.Status)
}
