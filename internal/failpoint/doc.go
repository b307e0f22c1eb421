// Package failpoint ends the program at a named place in its code, so that tests can show what a
// crash at that very place leaves behind.
//
// It compiles to nothing: Hit is empty unless the program is built with the tag failpoint. With the
// tag, the environment variable WALHOOK_FAILPOINT arms one point:
//
//	WALHOOK_FAILPOINT=enqueued:3        the third hit of "enqueued" is the end: SIGKILL, no clean-up
//	WALHOOK_FAILPOINT=enqueued:3:stop   the third hit stops the program (SIGSTOP) until somebody continues it
//
// The wall clock can be moved, too: WALHOOK_CLOCK names a file that says by how much. No code calls for that here: whoever builds the program
// with the tag has the builder replace time.Now (internal/harness does, by an overlay of the sources).
//
// A variable that is not understood ends the program at its start with status 2: a test must not go
// on believing that it has armed something.
//
// # Vocabulary
//
//   - Point: a place in the code, by name. A name may stand at one place only.
//   - Hit: the code comes by. Hits are counted from 1, over all goroutines.
package failpoint
