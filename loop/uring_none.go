//go:build !giouring

package loop

func probeUring(kernel string) Features {
	return Features{Kernel: kernel, Reason: notCompiledIn}
}
