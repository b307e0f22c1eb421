// Package survival tests walhook, as the program that is shipped, while the servers that it lives on come and go:
// restarts of source and state, ended sessions, exhausted connections, cut and swallowed networks, a blocked or absent state, a
// slot that keeps too much. Every test ends alike: everything that was committed has arrived, nothing is doubled in the state, the
// status pages told the truth meanwhile, and walhook was not started again.
//
// Forms that take minutes run with WALHOOK_LONG=1 (make survival).
package survival
