package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"

	"zproxy/loop"
)

// buildVersion is set by the linker (-X main.buildVersion=...).
var buildVersion string

// version names this build: what the linker was told, else the revision that
// the Go tool recorded.
func version() string {
	if buildVersion != "" {
		return buildVersion
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	rev, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			rev = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+changes"
		}
	}
	if rev == "" {
		return "development build"
	}
	return rev + dirty
}

func printVersion(out io.Writer) {
	var u unix.Utsname
	kernel := "unknown"
	if unix.Uname(&u) == nil {
		kernel = unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
	}
	fmt.Fprintf(out, "zproxy %s, %s %s/%s\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	fmt.Fprintf(out, "kernel   %s\n", kernel)
	fmt.Fprintf(out, "backends %s compiled in\n", strings.Join(loop.CompiledIn(), ", "))
	f := loop.Probe()
	if f.Usable {
		fmt.Fprintf(out, "io_uring usable: %s\n", f.String())
	} else {
		fmt.Fprintf(out, "io_uring not usable, epoll is: %s\n", f.String())
	}
}
