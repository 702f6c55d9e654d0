package forward

import (
	"net/netip"
	"testing"

	"zproxy/proxy/snapshot"
)

// Addresses are one key in all forms that they are written in, and of IPv6 a client's network is.
func TestHashOfAddresses(t *testing.T) {
	hash := func(s string) uint64 { return hashAddr(netip.MustParseAddr(s)) }
	if hash("10.1.2.3") != hash("::ffff:10.1.2.3") || hash("2001:db8::1") != hash("2001:db8::2:1") {
		t.Error("one client has two keys")
	}
	if hash("10.1.2.3") == hash("10.1.2.4") || hash("2001:db8::1") == hash("2001:db8:0:1::1") {
		t.Error("two clients have one key")
	}
	if hashAddr(netip.Addr{}) != 0 {
		t.Error("no address is a key")
	}
}

// Clients that take turns are told apart by their addresses, of IPv6 by the network, whoever names
// them.
func TestAskers(t *testing.T) {
	key := func(s string) uint32 { return AddrKey(netip.MustParseAddr(s)) }
	if key("10.1.2.3") != key("::ffff:10.1.2.3") || key("2001:db8::1") != key("2001:db8::2:1") {
		t.Error("one client has two turns")
	}
	if key("10.1.2.3") == key("10.1.2.4") || key("2001:db8::1") == key("2001:db8:0:1::1") || AddrKey(netip.Addr{}) != 0 {
		t.Error("two clients have one turn")
	}
	f := compiled(t, "trusted_proxies: [10.0.0.1]")
	ask := func(peer, named, kind string, whole bool) Asker {
		return from(f, peer, parsed(t, "POST / HTTP/1.1", "Host: h", "X-Forwarded-For: "+named, "Content-Type: "+kind)).Asker(whole)
	}
	one := ask("10.0.0.1", "192.0.2.1", "text/plain", false)
	for _, c := range []struct {
		name        string
		a           Asker
		named, same bool
		begins      bool
	}{
		{"the same", ask("10.0.0.1", "192.0.2.1", "x/y", true), true, true, false},
		{"the same, by gRPC", ask("10.0.0.1", "192.0.2.1", "application/grpc", false), true, true, true},
		{"by gRPC, whole", ask("10.0.0.1", "192.0.2.1", "application/grpc", true), true, true, false},
		{"another", ask("10.0.0.1", "192.0.2.2", "x/y", true), true, false, false},
		{"itself", ask("10.0.0.1", "10.0.0.1", "application/grpc", false), false, false, true},
		{"who is not believed", ask("192.0.2.9", "192.0.2.1", "x/y", false), false, false, false},
	} {
		if c.a.Named() != c.named || c.named && (c.a.Key() == one.Key()) != c.same || c.a.EitherBegins() != c.begins {
			t.Errorf("%s: named: %v, key %x beside %x, either begins: %v", c.name, c.a.Named(), c.a.Key(), one.Key(), c.a.EitherBegins())
		}
	}
}

// The key that an upstream balances by is of the client, or of the path that was routed.
func TestKeyHash(t *testing.T) {
	f := compiled(t, "trusted_proxies: [10.0.0.1]")
	q := from(f, "10.0.0.1", parsed(t, "GET /a HTTP/1.1", "Host: h", "X-Forwarded-For: 192.0.2.1"))
	if got, want := q.KeyHash(&snapshot.Key{Source: true}, nil), hashAddr(netip.MustParseAddr("192.0.2.1")); got != want {
		t.Errorf("of the client: %x, want %x", got, want)
	}
	key := &snapshot.Key{}
	if received, routed := q.KeyHash(key, nil), q.KeyHash(key, []byte("/b")); received != key.Hash(q.Head, []byte("/a")) || routed != key.Hash(q.Head, []byte("/b")) {
		t.Errorf("of the path: %x, of another one that was routed: %x", received, routed)
	}
}
