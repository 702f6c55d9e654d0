package snapshot

import (
	"crypto/rand"
	"net/netip"

	"zproxy/proto"
)

// Forwarding is what an origin is told about the client.
type Forwarding struct {
	XForwarded bool
	Forwarded  bool
	XRealIP    bool
	RequestID  bool // X-Request-ID is sent
	MaxHops    int  // proxies that a request may have passed, 0: any number
	Trusted    []netip.Prefix

	// Values of Via, by the version of what is forwarded; "" when there is none.
	RequestVia, ResponseVia [len(versionNames)]string

	dropped   names                  // fields that only trusted clients may send
	respelled names                  // fields that the proxy sends itself
	certs     names                  // ... and those of clients' certificates, where it asks for one
	own       [proto.TokenCount]bool // ... and takes from nobody
}

func (f *Forwarding) Trusts(peer netip.Addr) bool {
	for _, p := range f.Trusted {
		if p.Contains(peer) {
			return true
		}
	}
	return false
}

// Instance is this process's name in Via, as a comment behind the pseudonym, which
// all instances of a tier share: a request that carries it has been here before.
var Instance = newInstance()

func newInstance() string {
	var random [8]byte
	rand.Read(random[:])
	b := []byte("(")
	for _, c := range random {
		b = append(b, "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
	}
	return string(append(b, ')'))
}

// versionNames are protocol versions as Via has them (RFC 9110 7.6.3).
var versionNames = [...]string{"1.0", "1.1", "2.0"}

// compileVia prepares the values of Via by the version of what is forwarded. A
// response is not routed, so it has no use for the instance.
func (f *Forwarding) compileVia(name string) {
	if name == "" {
		return
	}
	for i, version := range versionNames {
		f.ResponseVia[i] = version + " " + name
		f.RequestVia[i] = version + " " + name + " " + Instance
	}
}
