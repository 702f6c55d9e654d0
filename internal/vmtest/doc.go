// Package vmtest is tests that need a machine which is not there: one with
// several memory nodes. They boot it in qemu, without acceleration, with a
// kernel of Debian's cloud images and this very test binary as its init, which
// runs the tests of numa and loop and then looks, from /proc, at where a real
// proxy put its threads, buffers and rings, and at what "zproxy tune" does to
// the settings of the kernel and of network cards.
//
//	make test-numa
//
// On the host TestMachines builds the image, boots one machine after the other
// and reads the results from a serial line. In the machine the same binary
// runs as process 1 (guest_init_test.go), mounts what is needed, starts each
// program of its plan and powers off. TestGuest is what it runs about the
// proxy.
package vmtest
