// Package longtest keeps tests that take long out of a plain run.
//
// Such a test is called TestLengthy... and begins with Need. make test leaves
// those names out, make test-long runs them and nothing else; go test ./...
// without either says of each that it was skipped, and how to run it.
package longtest

import (
	"os"
	"testing"
)

// variable asks for the tests that take long when it is 1.
const variable = "ZPROXY_LONG"

// Need skips the test unless the tests that take long are asked for.
func Need(t testing.TB) {
	t.Helper()
	if os.Getenv(variable) != "1" {
		t.Skipf("takes long: set %s=1, or run make test-long", variable)
	}
}
