//go:build cpuprofile

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
)

// Built with the tag cpuprofile, zproxy writes where it has spent its CPU time
// to a file of its own in the directory that ZPROXY_CPUPROFILE names: what
// `go run ./bench -profile FILE` puts together.
func init() {
	dir := os.Getenv("ZPROXY_CPUPROFILE")
	if dir == "" {
		return
	}
	f, err := os.Create(filepath.Join(dir, fmt.Sprintf("zproxy-%d.pprof", os.Getpid())))
	if err == nil {
		err = pprof.StartCPUProfile(f)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "zproxy: CPU profile:", err)
		os.Exit(1)
	}
	atEnd = func() {
		pprof.StopCPUProfile()
		if err := f.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "zproxy: CPU profile:", err)
		}
	}
}
