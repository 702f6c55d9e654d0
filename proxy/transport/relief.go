package transport

import (
	"golang.org/x/sys/unix"

	"zproxy/proto/tls"
)

// Connections that are ended for what others need: memory, or an end in time.

const (
	whyHeld     = "part of a TLS record is held, and others wait for memory"
	whyShutdown = "shutdown during the TLS handshake"
)

// Relieve ends connections of which a part of a record, or of a ClientHello, has been
// held for patienceMs, and the rest does not come.
func (t *Transport) Relieve(patienceMs uint32) {
	now := t.ms()
	for i, left := uint32(1), t.conns.Len(); left > 0; i++ {
		if !t.conns.Live(i) {
			continue
		}
		left--
		c := t.conns.At(i)
		if c.in.Empty() || c.opened > 0 || now-c.sinceMs < patienceMs {
			continue
		}
		switch {
		case c.state == stateHello:
			t.handshakes.fail(i, c, whyHeld, reasonNoBuffers, unix.ENOBUFS)
		case c.state == stateOpen && c.has(flagSub) && !c.has(flagListed|flagEOF|flagEnded):
			c.tls.Fail(tls.AlertInternalError)
			t.broken(i, c, unix.ENOBUFS, whyHeld)
		}
	}
}

// Forgive does not count lostMs in which the loop did not run as time in which the rest
// of a record did not come.
func (t *Transport) Forgive(lostMs uint32) {
	now := t.ms()
	for i, left := uint32(1), t.conns.Len(); left > 0; i++ {
		if t.conns.Live(i) {
			left--
			c := t.conns.At(i)
			c.sinceMs += min(lostMs, now-c.sinceMs)
		}
	}
}

// EndHandshakes ends those of clients that have not begun, or all of them.
func (t *Transport) EndHandshakes(all bool) {
	for i, left := uint32(1), t.conns.Len(); left > 0; i++ {
		if !t.conns.Live(i) {
			continue
		}
		left--
		c := t.conns.At(i)
		if c.has(flagServer) && (c.state == stateHello && (all || c.in.Empty()) || c.state == stateHandshake && all) {
			t.handshakes.fail(i, c, whyShutdown, reasonShutdown, unix.ESHUTDOWN)
		}
	}
}
