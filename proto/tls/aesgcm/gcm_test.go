package aesgcm

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// kinds has each implementation that can run here: the wide one where the CPU
// has it, crypto/cipher's always.
func kinds() map[string]func(a *AEAD, key []byte) {
	k := map[string]func(a *AEAD, key []byte){"narrow": (*AEAD).setNarrow}
	if wide {
		k["wide"] = (*AEAD).SetKey
	}
	return k
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The test cases of McGrew and Viega, "The Galois/Counter Mode of Operation",
// appendix B, that have keys of 128 and 256 bits and nonces of 96 (those with
// 20 bytes of additional data are longer than any record's).
func TestVectors(t *testing.T) {
	for i, v := range []struct{ key, nonce, plain, sealed string }{
		{"00000000000000000000000000000000", "000000000000000000000000", "", "58e2fccefa7e3061367f1d57a4e7455a"},
		{"00000000000000000000000000000000", "000000000000000000000000", "00000000000000000000000000000000",
			"0388dace60b6a392f328c2b971b2fe78 ab6e47d42cec13bdf53a67b21257bddf"},
		{"feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
			"d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
			"42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091473f5985 4d5c2af327cd64a62cf35abd2ba6fab4"},
		{strings.Repeat("00", 32), "000000000000000000000000", "", "530f8afbc74536b9a963b4f1c4cb738b"},
		{strings.Repeat("00", 32), "000000000000000000000000", "00000000000000000000000000000000",
			"cea7403d4d606b6e074ec5d3baf39d18 d0d1c8a799996bf0265b98b5d48ab919"},
		{"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
			"d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
			"522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad b094dac5d93471bdec1a502270e3cc6c"},
	} {
		key, plain, sealed := unhex(t, v.key), unhex(t, v.plain), unhex(t, v.sealed)
		nonce := [NonceBytes]byte(unhex(t, v.nonce))
		for name, set := range kinds() {
			var a AEAD
			set(&a, key)
			got := make([]byte, len(sealed))
			a.Seal(got, &nonce, plain, nil)
			if !bytes.Equal(got, sealed) {
				t.Errorf("case %d %s: sealed %x, want %x", i, name, got, sealed)
			}
			back := make([]byte, len(plain))
			if err := a.Open(back, &nonce, sealed, nil); err != nil || !bytes.Equal(back, plain) {
				t.Errorf("case %d %s: opened %x (%v)", i, name, back, err)
			}
		}
	}
}

// reference seals as crypto/cipher does.
func reference(t testing.TB, key []byte, nonce *[NonceBytes]byte, plain, aad []byte) []byte {
	b, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	g, err := cipher.NewGCM(b)
	if err != nil {
		t.Fatal(err)
	}
	return g.Seal(nil, nonce[:], plain, aad)
}

// check seals and opens plain, in place and apart, and damaged, and compares
// with crypto/cipher. Bytes around the message must stay as they are.
func check(t testing.TB, key []byte, nonce *[NonceBytes]byte, plain, aad []byte, flip int) {
	t.Helper()
	want := reference(t, key, nonce, plain, aad)
	for name, set := range kinds() {
		var a AEAD
		set(&a, key)
		const margin = 64
		room := bytes.Repeat([]byte{0xa5}, margin+len(want)+margin)
		at := room[margin : margin+len(want)]
		edges := func(what string) {
			t.Helper()
			for i, b := range room {
				if b != 0xa5 && (i < margin || i >= margin+len(want)) {
					t.Fatalf("%s: %s wrote outside, at %d of %d", name, what, i-margin, len(want))
				}
			}
		}
		a.Seal(at, nonce, plain, aad)
		if !bytes.Equal(at, want) {
			t.Fatalf("%s: %d bytes with %d of additional data: sealed differently", name, len(plain), len(aad))
		}
		edges("Seal")
		copy(at, plain)
		a.Seal(at, nonce, at[:len(plain)], aad)
		if !bytes.Equal(at, want) {
			t.Fatalf("%s: %d bytes: sealed differently in place", name, len(plain))
		}
		edges("Seal in place")
		back := make([]byte, len(plain))
		if err := a.Open(back, nonce, want, aad); err != nil || !bytes.Equal(back, plain) {
			t.Fatalf("%s: %d bytes: %v", name, len(plain), err)
		}
		if err := a.Open(at[:len(plain)], nonce, at, aad); err != nil || !bytes.Equal(at[:len(plain)], plain) {
			t.Fatalf("%s: %d bytes in place: %v", name, len(plain), err)
		}
		edges("Open in place")
		bad := bytes.Clone(want)
		bad[flip/8%len(bad)] ^= 1 << (flip % 8)
		if err := a.Open(back, nonce, bad, aad); err != ErrOpen {
			t.Fatalf("%s: %d bytes, bit %d wrong: %v", name, len(plain), flip, err)
		}
		if !bytes.Equal(back, make([]byte, len(back))) {
			t.Fatalf("%s: plaintext of a damaged message came out", name)
		}
		if len(aad) > 0 {
			wrong := bytes.Clone(aad)
			wrong[flip%len(wrong)] ^= 0x10
			if err := a.Open(back, nonce, want, wrong); err != ErrOpen {
				t.Fatalf("%s: additional data wrong: %v", name, err)
			}
		}
	}
}

// Every length up to several batches, then those of records.
func TestLikeCipher(t *testing.T) {
	r := rand.NewChaCha8([32]byte{7})
	buf := make([]byte, 17<<10)
	for n := 0; n <= len(buf); n++ {
		if n > 1100 {
			n += 1021
			if n > len(buf) {
				break
			}
		}
		for _, keyLen := range []int{16, 32} {
			var nonce [NonceBytes]byte
			key, aad := make([]byte, keyLen), make([]byte, n%(MaxAAD+1))
			for _, b := range [][]byte{nonce[:], key, aad, buf[:n]} {
				r.Read(b)
			}
			check(t, key, &nonce, buf[:n], aad, int(r.Uint64()%(1<<20)))
		}
	}
}

func FuzzLikeCipher(f *testing.F) {
	f.Add([]byte("k"), []byte("nonce"), []byte("some bytes"), []byte("header"), 3)
	f.Add(bytes.Repeat([]byte{0xff}, 32), bytes.Repeat([]byte{0xff}, 12), bytes.Repeat([]byte{0xff}, 700), bytes.Repeat([]byte{0xff}, 13), 9)
	f.Fuzz(func(t *testing.T, key, nonce, plain, aad []byte, flip int) {
		k := make([]byte, 16+16*(len(key)&1))
		copy(k, key)
		var n [NonceBytes]byte
		copy(n[:], nonce)
		check(t, k, &n, plain, aad[:min(len(aad), MaxAAD)], max(0, flip))
	})
}

func TestKeyAgain(t *testing.T) {
	var a AEAD
	var nonce [NonceBytes]byte
	plain := []byte("the same room for one key after another")
	for i := range 40 {
		key := bytes.Repeat([]byte{byte(i)}, 16+16*(i%2))
		a.SetKey(key)
		got := make([]byte, len(plain)+TagBytes)
		a.Seal(got, &nonce, plain, nil)
		if !bytes.Equal(got, reference(t, key, &nonce, plain, nil)) {
			t.Fatalf("key %d", i)
		}
	}
	a.Clear()
	if a.keys != [15][16]byte{} || a.powers != [19][16]byte{} || a.narrow != nil {
		t.Error("something of a key stays")
	}
}

func TestAllocatesNothing(t *testing.T) {
	if !wide {
		t.Skip("this CPU has no AES on 512-bit registers (Intel: Ice Lake, AMD: Zen 4 and newer)")
	}
	var a AEAD
	var nonce [NonceBytes]byte
	key, buf, aad := make([]byte, 32), make([]byte, 1000+TagBytes), make([]byte, 5)
	if n := testing.AllocsPerRun(100, func() {
		a.SetKey(key)
		a.Seal(buf, &nonce, buf[:1000], aad)
		if a.Open(buf[:1000], &nonce, buf, aad) != nil {
			t.Fatal("not opened")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkSeal(b *testing.B) {
	for _, n := range []int{64, 256, 1024, 16384} {
		for name, set := range kinds() {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				var a AEAD
				set(&a, make([]byte, 16))
				var nonce [NonceBytes]byte
				buf, aad := make([]byte, n+TagBytes), make([]byte, 5)
				b.SetBytes(int64(n))
				for b.Loop() {
					a.Seal(buf, &nonce, buf[:n], aad)
				}
			})
			b.Run(fmt.Sprintf("open/%s/%d", name, n), func(b *testing.B) {
				var a AEAD
				set(&a, make([]byte, 16))
				var nonce [NonceBytes]byte
				sealed, aad := make([]byte, n+TagBytes), make([]byte, 5)
				a.Seal(sealed, &nonce, sealed[:n], aad)
				out := make([]byte, n)
				b.SetBytes(int64(n))
				for b.Loop() {
					if a.Open(out, &nonce, sealed, aad) != nil {
						b.Fatal("not opened")
					}
				}
			})
		}
	}
}

func BenchmarkSetKey(b *testing.B) {
	for name, set := range kinds() {
		b.Run(name, func(b *testing.B) {
			var a AEAD
			key := make([]byte, 16)
			for b.Loop() {
				set(&a, key)
			}
		})
	}
}
