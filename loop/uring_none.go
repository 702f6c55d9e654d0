//go:build !giouring

package loop

// probeUring says why there is no io_uring in this build.
func probeUring(f *Features) {
	f.Reason = "io_uring is not compiled in: build with -tags giouring -ldflags=-checklinkname=0, as `make build` does"
}
