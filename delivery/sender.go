package delivery

import "context"

// Sender makes one attempt. It never returns an error: what went wrong is in
// the Attempt. The context's deadline is the lease, not the endpoint's timeout, which the Sender applies itself.
type Sender interface {
	Send(ctx context.Context, d *Delivery) *Attempt
}
