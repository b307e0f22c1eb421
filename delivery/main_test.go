package delivery

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// long is set by make properties, which tries many more cases than there is time for each time that all tests run.
var long = os.Getenv("WALHOOK_LONG") != ""

func TestMain(m *testing.M) {
	if !long {
		if err := flag.Set("rapid.checks", "40"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	goleak.VerifyTestMain(m)
}
