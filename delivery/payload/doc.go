// Package payload builds the body of a webhook from a change: which fields,
// under which names, in which format. It is pure: same input, same bytes. It refuses to know endpoints and HTTP.
package payload
