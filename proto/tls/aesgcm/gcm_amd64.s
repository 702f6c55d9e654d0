//go:build amd64

#include "textflag.h"

// AES-GCM with VAES and VPCLMULQDQ on 512-bit registers, after NIST SP 800-38D.
//
// GHASH works on byte-reversed blocks. A product of reflected values is one bit
// short; the powers of H in the table are therefore kept shifted by one bit
// (H' = H * x^-1 in the reflected field), which a product keeps: H'^i times H'
// gives (H^(i+1))'. The reduction folds 64 bits at a time with the constant
// 0xc2 << 56 (Gueron and Kounavis, "Intel Carry-Less Multiplication Instruction
// and its Usage for Computing the GCM Mode").
//
// Layout of struct state, which the offsets below repeat:
//	keys   [15][16]byte   0
//	rounds uint64         240
//	powers [19][16]byte   256: H'^16 ... H'^1, then zeros

#define KEYS   0
#define ROUNDS 240
#define POWERS 256

DATA swap<>+0x00(SB)/8, $0x08090a0b0c0d0e0f
DATA swap<>+0x08(SB)/8, $0x0001020304050607
GLOBL swap<>(SB), RODATA|NOPTR, $16

DATA poly<>+0x00(SB)/8, $0xc200000000000000
DATA poly<>+0x08(SB)/8, $0xc200000000000000
GLOBL poly<>(SB), RODATA|NOPTR, $16

DATA lanes<>+0x00(SB)/8, $0
DATA lanes<>+0x08(SB)/8, $0
DATA lanes<>+0x10(SB)/8, $1
DATA lanes<>+0x18(SB)/8, $0
DATA lanes<>+0x20(SB)/8, $2
DATA lanes<>+0x28(SB)/8, $0
DATA lanes<>+0x30(SB)/8, $3
DATA lanes<>+0x38(SB)/8, $0
GLOBL lanes<>(SB), RODATA|NOPTR, $64

DATA four<>+0x00(SB)/8, $4
DATA four<>+0x08(SB)/8, $0
GLOBL four<>(SB), RODATA|NOPTR, $16

// FOLD reduces the product with low half lo, high half hi and middle mid to
// res, lane by lane. mid is spent.
#define FOLD(lo, hi, mid, tmp, pol, res) \
	VPSLLDQ $8, mid, tmp; \
	VPSRLDQ $8, mid, mid; \
	VPXORQ tmp, lo, lo; \
	VPXORQ mid, hi, hi; \
	VPCLMULQDQ $0x00, pol, lo, tmp; \
	VPSHUFD $78, lo, lo; \
	VPXORQ tmp, lo, lo; \
	VPCLMULQDQ $0x00, pol, lo, tmp; \
	VPSHUFD $78, lo, lo; \
	VPTERNLOGQ $0x96, tmp, hi, lo; \
	VMOVDQA64 lo, res

// MUL128 gives x = x * h.
#define MUL128(h, x, lo, hi, mid, tmp, pol) \
	VPCLMULQDQ $0x00, h, x, lo; \
	VPCLMULQDQ $0x11, h, x, hi; \
	VPCLMULQDQ $0x01, h, x, mid; \
	VPCLMULQDQ $0x10, h, x, tmp; \
	VPXORQ tmp, mid, mid; \
	FOLD(lo, hi, mid, tmp, pol, x)

// func expandKey128(st *state, key *byte)
TEXT ·expandKey128(SB), NOSPLIT, $0-16
	MOVQ st+0(FP), DI
	MOVQ key+8(FP), SI
	MOVQ $10, ROUNDS(DI)
	MOVOU (SI), X0
	MOVOU X0, (DI)
#define STEP128(rcon, off) \
	AESKEYGENASSIST $rcon, X0, X1; \
	PSHUFD $0xff, X1, X1; \
	MOVOU X0, X2; \
	PSLLDQ $4, X2; \
	PXOR X2, X0; \
	PSLLDQ $4, X2; \
	PXOR X2, X0; \
	PSLLDQ $4, X2; \
	PXOR X2, X0; \
	PXOR X1, X0; \
	MOVOU X0, off(DI)
	STEP128(0x01, 16)
	STEP128(0x02, 32)
	STEP128(0x04, 48)
	STEP128(0x08, 64)
	STEP128(0x10, 80)
	STEP128(0x20, 96)
	STEP128(0x40, 112)
	STEP128(0x80, 128)
	STEP128(0x1b, 144)
	STEP128(0x36, 160)
	PXOR X0, X0
	PXOR X1, X1
	PXOR X2, X2
	RET

// func expandKey256(st *state, key *byte)
TEXT ·expandKey256(SB), NOSPLIT, $0-16
	MOVQ st+0(FP), DI
	MOVQ key+8(FP), SI
	MOVQ $14, ROUNDS(DI)
	MOVOU (SI), X0
	MOVOU 16(SI), X3
	MOVOU X0, (DI)
	MOVOU X3, 16(DI)
#define SPREAD(x) \
	MOVOU x, X2; \
	PSLLDQ $4, X2; \
	PXOR X2, x; \
	PSLLDQ $4, X2; \
	PXOR X2, x; \
	PSLLDQ $4, X2; \
	PXOR X2, x; \
	PXOR X1, x
#define EVEN256(rcon, off) \
	AESKEYGENASSIST $rcon, X3, X1; \
	PSHUFD $0xff, X1, X1; \
	SPREAD(X0); \
	MOVOU X0, off(DI)
#define ODD256(off) \
	AESKEYGENASSIST $0, X0, X1; \
	PSHUFD $0xaa, X1, X1; \
	SPREAD(X3); \
	MOVOU X3, off(DI)
	EVEN256(0x01, 32)
	ODD256(48)
	EVEN256(0x02, 64)
	ODD256(80)
	EVEN256(0x04, 96)
	ODD256(112)
	EVEN256(0x08, 128)
	ODD256(144)
	EVEN256(0x10, 160)
	ODD256(176)
	EVEN256(0x20, 192)
	ODD256(208)
	EVEN256(0x40, 224)
	PXOR X0, X0
	PXOR X1, X1
	PXOR X2, X2
	PXOR X3, X3
	RET

// func encryptZero(st *state, out *[16]byte)
TEXT ·encryptZero(SB), NOSPLIT, $0-16
	MOVQ st+0(FP), DI
	MOVQ out+8(FP), SI
	MOVQ ROUNDS(DI), CX
	VMOVDQU KEYS(DI), X0
zeroRound:
	ADDQ $16, DI
	DECQ CX
	JZ zeroLast
	VMOVDQU KEYS(DI), X1
	VAESENC X1, X0, X0
	JMP zeroRound
zeroLast:
	VMOVDQU KEYS(DI), X1
	VAESENCLAST X1, X0, X0
	VMOVDQU X0, (SI)
	VZEROUPPER
	RET

// func fillPowers(st *state): powers[15] holds H'; makes the others.
TEXT ·fillPowers(SB), NOSPLIT, $0-8
	MOVQ st+0(FP), DI
	LEAQ POWERS(DI), SI
	VBROADCASTI32X4 poly<>(SB), Z31
	VMOVDQU 240(SI), X0 // H'
	VMOVDQA64 X0, X1
	MUL128(X0, X1, X2, X3, X4, X5, X31)
	VMOVDQU X1, 224(SI) // H'^2
	VMOVDQA64 X1, X6
	MUL128(X0, X6, X2, X3, X4, X5, X31)
	VMOVDQU X6, 208(SI) // H'^3
	VMOVDQA64 X6, X7
	MUL128(X0, X7, X2, X3, X4, X5, X31)
	VMOVDQU X7, 192(SI) // H'^4
	VMOVDQU64 192(SI), Z0 // H'^4 .. H'^1
	VSHUFI64X2 $0, Z0, Z0, Z1 // H'^4 in each lane
	MUL128(Z1, Z0, Z2, Z3, Z4, Z5, Z31)
	VMOVDQU64 Z0, 128(SI)
	MUL128(Z1, Z0, Z2, Z3, Z4, Z5, Z31)
	VMOVDQU64 Z0, 64(SI)
	MUL128(Z1, Z0, Z2, Z3, Z4, Z5, Z31)
	VMOVDQU64 Z0, (SI)
	VPXORQ Z0, Z0, Z0
	VMOVDQU X0, 256(SI)
	VMOVDQU X0, 272(SI)
	VMOVDQU X0, 288(SI)
	VPXORQ Z1, Z1, Z1
	VPXORQ Z6, Z6, Z6
	VPXORQ Z7, Z7, Z7
	VZEROUPPER
	RET

#define ROUND4(key) \
	VAESENC key, Z0, Z0; \
	VAESENC key, Z1, Z1; \
	VAESENC key, Z2, Z2; \
	VAESENC key, Z3, Z3

// FINAL4 encrypts or decrypts 64 bytes of the source at off with the state s, into s.
#define FINAL1(off, s) \
	VPXORQ off(SI), Z30, Z4; \
	VAESENCLAST Z4, s, s

// HASH1 multiplies the blocks in d, byte-reversed here, with the powers at off.
#define HASHFIRST(off, d) \
	VPSHUFB Z8, d, d; \
	VPXORQ Z5, d, d; \
	VMOVDQU64 (POWERS+off)(R8), Z4; \
	VPCLMULQDQ $0x00, Z4, d, Z11; \
	VPCLMULQDQ $0x11, Z4, d, Z12; \
	VPCLMULQDQ $0x01, Z4, d, Z13; \
	VPCLMULQDQ $0x10, Z4, d, Z14
#define HASHNEXT(off, d) \
	VPSHUFB Z8, d, d; \
	VMOVDQU64 (POWERS+off)(R8), Z4; \
	VPCLMULQDQ $0x00, Z4, d, Z15; \
	VPCLMULQDQ $0x11, Z4, d, Z6; \
	VPXORQ Z15, Z11, Z11; \
	VPXORQ Z6, Z12, Z12; \
	VPCLMULQDQ $0x01, Z4, d, Z15; \
	VPCLMULQDQ $0x10, Z4, d, Z6; \
	VPXORQ Z15, Z13, Z13; \
	VPXORQ Z6, Z14, Z14

// SUM reduces what HASHFIRST and HASHNEXT have gathered and adds the lanes: X5.
#define SUM \
	VPXORQ Z14, Z13, Z13; \
	FOLD(Z11, Z12, Z13, Z14, Z31, Z5); \
	VEXTRACTI64X4 $1, Z5, Y6; \
	VPXORQ Y6, Y5, Y5; \
	VEXTRACTI64X2 $1, Y5, X6; \
	VPXORQ X6, X5, X5

// func crypt(st *state, dst, src *byte, n int, j0, aad, lens, tag *[16]byte, open uint64)
//
// Encrypts (open 0) or decrypts n bytes. aad is hashed as one block, lens as the
// last one; tag receives the tag of the ciphertext, in the other case to be
// compared with the one that came. dst and src are the same or do not overlap.
//
// Z0-Z3 counters, then data; Z5 GHASH; Z8 byte order; Z9 the next four counters,
// byte-reversed; Z10 four; Z11-Z14 products; Z16-Z29 round keys; Z30 the last; Z31 polynomial.
TEXT ·crypt(SB), NOSPLIT, $0-72
	MOVQ st+0(FP), R8
	MOVQ dst+8(FP), DI
	MOVQ src+16(FP), SI
	MOVQ n+24(FP), CX
	MOVQ j0+32(FP), R9
	MOVQ open+64(FP), R13

	MOVQ ROUNDS(R8), R10
	VBROADCASTI32X4 swap<>(SB), Z8
	VBROADCASTI32X4 poly<>(SB), Z31
	VBROADCASTI32X4 four<>(SB), Z10
	VBROADCASTI32X4 0(R8), Z16
	VBROADCASTI32X4 16(R8), Z17
	VBROADCASTI32X4 32(R8), Z18
	VBROADCASTI32X4 48(R8), Z19
	VBROADCASTI32X4 64(R8), Z20
	VBROADCASTI32X4 80(R8), Z21
	VBROADCASTI32X4 96(R8), Z22
	VBROADCASTI32X4 112(R8), Z23
	VBROADCASTI32X4 128(R8), Z24
	VBROADCASTI32X4 144(R8), Z25
	VBROADCASTI32X4 160(R8), Z26
	VBROADCASTI32X4 176(R8), Z27
	VBROADCASTI32X4 192(R8), Z28
	VBROADCASTI32X4 208(R8), Z29
	MOVQ R10, R11
	SHLQ $4, R11
	VBROADCASTI32X4 (R8)(R11*1), Z30

	// The counter of J0 is 1, that of the first block 2: lanes 2, 3, 4, 5.
	VBROADCASTI32X4 (R9), Z9
	VPSHUFB Z8, Z9, Z9
	VPADDD lanes<>(SB), Z9, Z9
	VMOVDQA64 Z9, Z7 // lane 0: J0

	// The mask of the tag, E(K, J0), stays in X7.
	VPSHUFB X8, X7, X7
	VPXORQ X16, X7, X7
	VAESENC X17, X7, X7
	VAESENC X18, X7, X7
	VAESENC X19, X7, X7
	VAESENC X20, X7, X7
	VAESENC X21, X7, X7
	VAESENC X22, X7, X7
	VAESENC X23, X7, X7
	VAESENC X24, X7, X7
	VAESENC X25, X7, X7
	CMPQ R10, $10
	JE maskLast
	VAESENC X26, X7, X7
	VAESENC X27, X7, X7
	VAESENC X28, X7, X7
	VAESENC X29, X7, X7
maskLast:
	VAESENCLAST X30, X7, X7

	MOVQ $1, AX
	VMOVQ AX, X4 // 1 in the lowest dword, zeros above
	VSHUFI64X2 $0, Z4, Z4, Z4
	VPADDD Z4, Z9, Z9

	MOVQ aad+40(FP), R9
	VMOVDQU (R9), X5
	VPSHUFB X8, X5, X5
	VMOVDQU (POWERS+240)(R8), X4
	MUL128(X4, X5, X11, X12, X13, X14, X31)

	CMPQ CX, $256
	JL tail

batch:
	VPSHUFB Z8, Z9, Z0
	VPADDD Z10, Z9, Z9
	VPSHUFB Z8, Z9, Z1
	VPADDD Z10, Z9, Z9
	VPSHUFB Z8, Z9, Z2
	VPADDD Z10, Z9, Z9
	VPSHUFB Z8, Z9, Z3
	VPADDD Z10, Z9, Z9
	VPXORQ Z16, Z0, Z0
	VPXORQ Z16, Z1, Z1
	VPXORQ Z16, Z2, Z2
	VPXORQ Z16, Z3, Z3
	ROUND4(Z17)
	ROUND4(Z18)
	ROUND4(Z19)
	ROUND4(Z20)
	ROUND4(Z21)
	ROUND4(Z22)
	ROUND4(Z23)
	ROUND4(Z24)
	ROUND4(Z25)
	CMPQ R10, $10
	JE batchLast
	ROUND4(Z26)
	ROUND4(Z27)
	ROUND4(Z28)
	ROUND4(Z29)
batchLast:
	TESTQ R13, R13
	JNZ batchOpen
	FINAL1(0, Z0)
	FINAL1(64, Z1)
	FINAL1(128, Z2)
	FINAL1(192, Z3)
	VMOVDQU64 Z0, (DI)
	VMOVDQU64 Z1, 64(DI)
	VMOVDQU64 Z2, 128(DI)
	VMOVDQU64 Z3, 192(DI)
	JMP batchHash
batchOpen:
	// Decrypted in the states, hashed as it came; dst may be src.
	VMOVDQU64 (SI), Z4
	VPXORQ Z30, Z4, Z6
	VAESENCLAST Z6, Z0, Z6
	VMOVDQA64 Z4, Z0
	VMOVDQU64 Z6, (DI)
	VMOVDQU64 64(SI), Z4
	VPXORQ Z30, Z4, Z6
	VAESENCLAST Z6, Z1, Z6
	VMOVDQA64 Z4, Z1
	VMOVDQU64 Z6, 64(DI)
	VMOVDQU64 128(SI), Z4
	VPXORQ Z30, Z4, Z6
	VAESENCLAST Z6, Z2, Z6
	VMOVDQA64 Z4, Z2
	VMOVDQU64 Z6, 128(DI)
	VMOVDQU64 192(SI), Z4
	VPXORQ Z30, Z4, Z6
	VAESENCLAST Z6, Z3, Z6
	VMOVDQA64 Z4, Z3
	VMOVDQU64 Z6, 192(DI)
batchHash:
	HASHFIRST(0, Z0)
	HASHNEXT(64, Z1)
	HASHNEXT(128, Z2)
	HASHNEXT(192, Z3)
	SUM
	ADDQ $256, SI
	ADDQ $256, DI
	SUBQ $256, CX
	CMPQ CX, $256
	JGE batch

tail:
	TESTQ CX, CX
	JZ lengths
	// k blocks are left: they meet the last k powers, in R9.
	LEAQ 15(CX), AX
	ANDQ $-16, AX
	LEAQ (POWERS+256)(R8), R9
	SUBQ AX, R9
	VPXORQ Z11, Z11, Z11
	VPXORQ Z12, Z12, Z12
	VPXORQ Z13, Z13, Z13
	VPXORQ Z14, Z14, Z14
tailNext:
	MOVQ $-1, AX
	CMPQ CX, $64
	JGE tailMask
	MOVQ $1, AX
	SHLQ CX, AX
	DECQ AX
tailMask:
	KMOVQ AX, K1
	VPSHUFB Z8, Z9, Z0
	VPADDD Z10, Z9, Z9
	VPXORQ Z16, Z0, Z0
	VAESENC Z17, Z0, Z0
	VAESENC Z18, Z0, Z0
	VAESENC Z19, Z0, Z0
	VAESENC Z20, Z0, Z0
	VAESENC Z21, Z0, Z0
	VAESENC Z22, Z0, Z0
	VAESENC Z23, Z0, Z0
	VAESENC Z24, Z0, Z0
	VAESENC Z25, Z0, Z0
	CMPQ R10, $10
	JE tailLast
	VAESENC Z26, Z0, Z0
	VAESENC Z27, Z0, Z0
	VAESENC Z28, Z0, Z0
	VAESENC Z29, Z0, Z0
tailLast:
	VMOVDQU8.Z (SI), K1, Z1
	VPXORQ Z30, Z1, Z2
	VAESENCLAST Z2, Z0, Z0
	VMOVDQU8 Z0, K1, (DI)
	TESTQ R13, R13
	JNZ tailHash
	VMOVDQU8.Z Z0, K1, Z1 // without the key stream behind the end
tailHash:
	VPSHUFB Z8, Z1, Z1
	VPXORQ Z5, Z1, Z1
	VPXORQ Z5, Z5, Z5
	VMOVDQU64 (R9), Z4
	VPCLMULQDQ $0x00, Z4, Z1, Z2
	VPCLMULQDQ $0x11, Z4, Z1, Z3
	VPXORQ Z2, Z11, Z11
	VPXORQ Z3, Z12, Z12
	VPCLMULQDQ $0x01, Z4, Z1, Z2
	VPCLMULQDQ $0x10, Z4, Z1, Z3
	VPXORQ Z2, Z13, Z13
	VPXORQ Z3, Z14, Z14
	ADDQ $64, R9
	ADDQ $64, SI
	ADDQ $64, DI
	SUBQ $64, CX
	JG tailNext
	SUM

lengths:
	MOVQ lens+48(FP), R9
	VMOVDQU (R9), X4
	VPSHUFB X8, X4, X4
	VPXORQ X4, X5, X5
	VMOVDQU (POWERS+240)(R8), X4
	MUL128(X4, X5, X11, X12, X13, X14, X31)
	VPSHUFB X8, X5, X5
	VPXORQ X7, X5, X5
	MOVQ tag+56(FP), R9
	VMOVDQU X5, (R9)
	VPXORQ Z16, Z16, Z16 // no key stays in a register that ordinary code does not overwrite
	VPXORQ Z17, Z17, Z17
	VPXORQ Z18, Z18, Z18
	VPXORQ Z19, Z19, Z19
	VPXORQ Z20, Z20, Z20
	VPXORQ Z21, Z21, Z21
	VPXORQ Z22, Z22, Z22
	VPXORQ Z23, Z23, Z23
	VPXORQ Z24, Z24, Z24
	VPXORQ Z25, Z25, Z25
	VPXORQ Z26, Z26, Z26
	VPXORQ Z27, Z27, Z27
	VPXORQ Z28, Z28, Z28
	VPXORQ Z29, Z29, Z29
	VPXORQ Z30, Z30, Z30
	VPXORQ X7, X7, X7
	VZEROUPPER
	RET
