package delivery

import "context"

// Sender makes one attempt. It never returns an error: what went wrong is in
// the Attempt. The endpoint's timeout is the Sender's to apply. The context ends only for reasons of our own, when the process
// stops or loses its lease; an attempt that it cuts short has the class [ClassReleased].
type Sender interface {
	Send(ctx context.Context, d *Delivery) *Attempt
}
