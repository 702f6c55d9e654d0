package loop

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Steering: which loop gets a new connection.
//
// A connection belongs on the loop of the CPU that its packets arrive on: the
// network card has chosen that CPU by a hash of the addresses, the kernel's
// work on the connection happens there, and the loop finds it in its cache.
// So the program answers the index of the loop pinned to the CPU it runs on.
//
// On the loopback interface there is no card: a SYN is handled on the CPU on
// which the client called connect, and a client with one thread would have all
// its connections on one loop. There the client's port decides, as port/2
// modulo the number of loops: for connections to one destination the kernel
// hands out even ports, one after the other or in small random steps (newer
// ones), so the loops take turns or are drawn with equal chances. Unlike a
// random number the port gives the same answer when a SYN cookie comes back.
// The same is done for a CPU that has no loop, and when loops share CPUs.
//
// It is classic BPF: unlike eBPF it needs no privilege, and it loads the CPU,
// the type of the interface and the packet's headers, which is enough. A
// result that is no index of the group makes the kernel choose by its hash.

// arphrdLoopback is the type of the loopback interface (ARPHRD_LOOPBACK).
const arphrdLoopback = 772

// Ancillary loads of classic BPF (linux/filter.h), as offsets.
const (
	skfAD        = uint32(0xfffff000) // SKF_AD_OFF
	skfADHatype  = skfAD + 28
	skfADCPU     = skfAD + 36
	skfNet       = uint32(0xfff00000) // SKF_NET_OFF: the IP header
	ipv6HeadLen  = 40
	maxSteerCPUs = 1024 // two instructions each, of 4096
)

// steeringProgram is the program for n loops on cpus. Connections that come
// through an interface of type spreadType are spread by port.
func steeringProgram(n int, cpus []int, spreadType uint32) []unix.SockFilter {
	const (
		ld   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		ldb  = unix.BPF_LD | unix.BPF_B | unix.BPF_ABS
		ldh  = unix.BPF_LD | unix.BPF_H | unix.BPF_ABS
		ldhx = unix.BPF_LD | unix.BPF_H | unix.BPF_IND
		msh  = unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH
		jeq  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		rsh  = unix.BPF_ALU | unix.BPF_RSH | unix.BPF_K
		mod  = unix.BPF_ALU | unix.BPF_MOD | unix.BPF_K
		ja   = unix.BPF_JMP | unix.BPF_JA
		retK = unix.BPF_RET | unix.BPF_K
		retA = unix.BPF_RET | unix.BPF_A
	)
	var p []unix.SockFilter
	if steerableByCPU(n, cpus) {
		p = append(p,
			unix.SockFilter{Code: ld, K: skfADHatype},
			unix.SockFilter{Code: jeq, Jt: 0, Jf: 1, K: spreadType},
			unix.SockFilter{Code: ja, K: uint32(1 + 2*n)}, // to the spreading
			unix.SockFilter{Code: ld, K: skfADCPU},
		)
		for i := range n {
			p = append(p,
				unix.SockFilter{Code: jeq, Jt: 0, Jf: 1, K: uint32(cpus[i])},
				unix.SockFilter{Code: retK, K: uint32(i)},
			)
		}
	}
	return append(p,
		unix.SockFilter{Code: ldb, K: skfNet},
		unix.SockFilter{Code: rsh, K: 4},
		unix.SockFilter{Code: jeq, Jt: 0, Jf: 3, K: 4},
		unix.SockFilter{Code: msh, K: skfNet}, // IPv4: the TCP header follows the options
		unix.SockFilter{Code: ldhx, K: skfNet},
		unix.SockFilter{Code: ja, K: 1},
		unix.SockFilter{Code: ldh, K: skfNet + ipv6HeadLen},
		unix.SockFilter{Code: rsh, K: 1},
		unix.SockFilter{Code: mod, K: uint32(n)},
		unix.SockFilter{Code: retA},
	)
}

// steerableByCPU: every loop has a CPU of its own.
func steerableByCPU(n int, cpus []int) bool {
	if len(cpus) != n || n > maxSteerCPUs {
		return false
	}
	seen := make(map[int]bool, n)
	for _, cpu := range cpus {
		if cpu < 0 || seen[cpu] {
			return false
		}
		seen[cpu] = true
	}
	return true
}

// attachSteering gives the program to the SO_REUSEPORT group of fd.
func attachSteering(fd int, p []unix.SockFilter) error {
	prog := unix.SockFprog{Len: uint16(len(p)), Filter: &p[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF, &prog); err != nil {
		return fmt.Errorf("SO_ATTACH_REUSEPORT_CBPF: %w", err)
	}
	return nil
}
