// Package status answers over HTTP how walhook is doing: /status, /healthz,
// /readyz and /metrics. It reads through interfaces that cmd wires and sends nothing.
package status
