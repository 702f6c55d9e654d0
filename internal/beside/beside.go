// Package beside says how many tests of a package run side by side: more than
// there are CPUs, where most of them wait for peers or for a limit to pass.
package beside

import (
	"flag"
	"strconv"
)

// AtOnce lets n tests that call t.Parallel run at a time, unless -parallel says
// how many. It is for TestMain, before m.Run.
func AtOnce(n int) {
	flag.Parse()
	said := false
	flag.Visit(func(f *flag.Flag) { said = said || f.Name == parallel })
	if !said {
		flag.Set(parallel, strconv.Itoa(n))
	}
}

const parallel = "test.parallel"
