// Package pgserver runs a private PostgreSQL: its own directory, its own port on
// 127.0.0.1, gone when its owner is gone.
//
// It serves the demo and the tests. It finds the server's programs on the machine
// or downloads them, drops privileges when run as root (PostgreSQL refuses to
// run as root), and removes what it made. It speaks no SQL and knows nothing of
// walhook: what it offers is a server and its connection strings.
//
// # Vocabulary
//
//   - Cluster: one data directory, made by initdb, served by one postmaster.
//   - Postmaster: the server's first process, parent of all the others.
//   - Account: the user of the operating system that the postmaster runs as.
//   - Shutdown modes: fast (roll back and write out), immediate (stop dead, recover at the next start).
package pgserver
