package beside

import (
	"flag"
	"os"
	"sync"
	"testing"
)

const atOnce = 11

var said string

func TestMain(m *testing.M) {
	AtOnce(atOnce)
	said = flag.Lookup(parallel).Value.String()
	os.Exit(m.Run())
}

// TestAtOnce: so many tests are under way at the same time, however few CPUs there
// are, and what the command line says is left alone.
func TestAtOnce(t *testing.T) {
	if said != "11" {
		t.Skipf("-parallel %s is given: run it without", said)
	}
	var all sync.WaitGroup
	all.Add(atOnce)
	for range atOnce {
		t.Run("beside", func(t *testing.T) {
			t.Parallel()
			all.Done()
			all.Wait()
		})
	}
	t.Cleanup(func() {
		flag.Set(parallel, "3")
		AtOnce(atOnce)
		if got := flag.Lookup(parallel).Value.String(); got != "3" {
			t.Errorf("-parallel is %s, want 3 as was said", got)
		}
	})
}
