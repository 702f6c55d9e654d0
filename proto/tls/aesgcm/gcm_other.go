//go:build !amd64

package aesgcm

const wide = false

func expandKey128(*state, *byte)    { panic("aesgcm: no wide registers") }
func expandKey256(*state, *byte)    { panic("aesgcm: no wide registers") }
func encryptZero(*state, *[16]byte) { panic("aesgcm: no wide registers") }
func fillPowers(*state)             { panic("aesgcm: no wide registers") }
func crypt(*state, *byte, *byte, int, *[16]byte, *[16]byte, *[16]byte, *[16]byte, uint64) {
	panic("aesgcm: no wide registers")
}
