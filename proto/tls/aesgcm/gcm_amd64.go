package aesgcm

import "golang.org/x/sys/cpu"

// wide says that this CPU has AES and carry-less multiplication on 512-bit
// registers (Intel from Ice Lake, AMD from Zen 4 on).
var wide = cpu.X86.HasAES && cpu.X86.HasAVX512VAES && cpu.X86.HasAVX512VPCLMULQDQ &&
	cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VL && cpu.X86.HasAVX512DQ

//go:noescape
func expandKey128(st *state, key *byte)

//go:noescape
func expandKey256(st *state, key *byte)

//go:noescape
func encryptZero(st *state, out *[16]byte)

//go:noescape
func fillPowers(st *state)

//go:noescape
func crypt(st *state, dst, src *byte, n int, j0, aad, lens, tag *[16]byte, open uint64)
