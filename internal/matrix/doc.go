// Command matrix runs the tests that touch PostgreSQL against every major version that walhook works with, on a machine that
// has none of them:
//
//	make test-matrix                   # PostgreSQL 12 to 18, every package whose tests start a server
//	make test-matrix PG=12,17          # these versions
//	make test-matrix SHORT=1           # the packages that speak to the server themselves
//	make test-matrix PKG=./cdc RUN=TestSetup
//
// # Vocabulary
//
//   - Build: a whole PostgreSQL server of one version for one platform, from a package of npm at a pinned version. It is fetched with the
//     npm client, so that the user's registry and proxy settings hold, compared with its pinned hash, and kept in the cache directory.
//     WALHOOK_PG_17=DIR, the directory of initdb and postgres, takes the place of the build of version 17.
//   - Cell: what became of one package's tests on one version.
package main
