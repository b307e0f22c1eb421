// Package status answers over HTTP how walhook is doing: /status, /healthz,
// /readyz and /metrics. It reads through interfaces that cmd wires and sends nothing.
//
// # Vocabulary
//
//   - Document: what /status says, as JSON; every other page is a view of it.
//   - Position: how far ingest has come, as committed in the state schema.
//   - Handled: how far the stream has been processed, whether that has been committed
//     yet or not (idle stretches are committed every 30 s).
//   - End: the end of WAL as far as walhook knows it.
//   - Lag: End minus Handled, in bytes; in seconds, how long ago Handled was End.
//   - Stalled: the stream lags and has not moved for [Config.StallAfter].
//   - Role: of several processes on one state one is the reader, the others stand by. All deliver.
//   - Ready: the process is able to do its part. For the reader: the identity check has passed, the stream is attached and
//     not stalled, the state database answers. For a stand-by: the check has passed, the state database answers, it
//     could take over. A dead endpoint does not make walhook unready: its deliveries wait.
//
// # Access
//
// The server listens on loopback. It refuses another address without a token, which
// every request but /healthz and /readyz must then bear; without the token, /readyz gives no reasons.
//
// The API under /api/v1 needs the token on loopback too: it can make webhooks go out, and shows what was sent. It knows HTTP; what is
// asked for is done by a [Desk], which commands work at as well.
package status
