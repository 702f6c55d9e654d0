package transport

import (
	stdtls "crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"zproxy/loop"
)

// tapped is a connection whose writes are held back while hold is set.
type tapped struct {
	net.Conn
	hold bool
	held []byte
}

func (c *tapped) Write(b []byte) (int, error) {
	if c.hold {
		c.held = append(c.held, b...)
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// tap is a client within TLS and the connection under it.
func tap(t *testing.T, address string, version uint16) (*stdtls.Conn, *tapped) {
	t.Helper()
	raw, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.SetDeadline(time.Now().Add(testTimeout))
	t.Cleanup(func() { raw.Close() })
	under := &tapped{Conn: raw}
	c := stdtls.Client(under, &stdtls.Config{InsecureSkipVerify: true, MaxVersion: version, DynamicRecordSizingDisabled: true})
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	return c, under
}

// eventually asks until it is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(testTimeout); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// noting is echo, and notes why connections end.
func noting(whys *[]string) func(o *owner, ev *loop.Event) {
	return func(o *owner, ev *loop.Event) {
		if ev.Kind == loop.RecvEnd && ev.Errno != 0 && o.Failure() != "" {
			*whys = append(*whys, o.Failure())
		}
		echo(o, ev)
	}
}

// What breaks the rules of records ends the connection, with the alert that says
// which, although the owner closes at once.
func TestBrokenRecords(t *testing.T) {
	backends(t, func(t *testing.T, io_ loop.IO) {
		var whys []string
		address, o, do := serve(t, io_, Config{}, noting(&whys))
		var want []string
		for _, version := range []uint16{stdtls.VersionTLS12, stdtls.VersionTLS13} {
			for what, spoil := range map[string]func([]byte){
				"bad_record_mac":  func(rec []byte) { rec[len(rec)-1] ^= 1 },
				"record_overflow": func(rec []byte) { rec[3], rec[4] = 0x48, 1 },
				"unexpected_message": func(rec []byte) {
					rec[0] = 24
				},
			} {
				c, under := tap(t, address, version)
				under.hold = true
				if _, err := c.Write([]byte("hello")); err != nil {
					t.Fatal(err)
				}
				spoil(under.held)
				under.hold = false
				if _, err := under.Write(under.held); err != nil {
					t.Fatal(err)
				}
				_, err := c.Read(make([]byte, 1))
				said := "remote error: tls: " + map[string]string{"bad_record_mac": "bad record MAC", "record_overflow": "record overflow", "unexpected_message": "unexpected message"}[what]
				if err == nil || err.Error() != said {
					t.Errorf("%04x %s: the client is told %v", version, what, err)
				}
				want = append(want, "TLS record: "+what)
				eventually(t, what, func() (so bool) {
					do(func() { so = len(whys) == len(want) && whys[len(whys)-1] == want[len(want)-1] })
					return so
				})
			}
		}
		do(func() {
			for _, errno := range o.ends {
				if errno != unix.EPROTO {
					t.Errorf("reported as %v", errno)
				}
			}
		})
	})
}

// Records of a byte each are served, but not by the ten thousands a second with
// nothing else among them.
func TestTinyRecords(t *testing.T) {
	backends(t, func(t *testing.T, io_ loop.IO) {
		var whys []string
		address, _, do := serve(t, io_, Config{}, noting(&whys))
		for _, mixed := range []bool{true, false} {
			c, under := tap(t, address, stdtls.VersionTLS13)
			under.hold = true
			total := 0
			for k := range 4 * mostTiny {
				b := []byte{byte(k)}
				if mixed && k%(mostTiny/2) == 0 {
					b = make([]byte, muchBytes)
				}
				if _, err := c.Write(b); err != nil {
					t.Fatal(err)
				}
				total += len(b)
			}
			failed := make(chan error, 1)
			go func() {
				_, err := under.Conn.Write(under.held)
				failed <- err
			}()
			got, err := io.CopyN(io.Discard, c, int64(total))
			<-failed
			if mixed && err != nil {
				t.Errorf("%d of %d bytes of an honest client come back: %v", got, total, err)
			}
			if !mixed && err == nil {
				t.Error("a flood of them is served")
			}
			c.Close()
		}
		do(func() {
			if len(whys) != 1 || whys[0] != whyTiny {
				t.Errorf("%q", whys)
			}
		})
	})
}

// Parts of records and of ClientHellos are held no longer than others can wait;
// connections that hold nothing stay.
func TestHeldRecords(t *testing.T) {
	backends(t, func(t *testing.T, io_ loop.IO) {
		var whys []string
		address, o, do := serve(t, io_, Config{}, noting(&whys))
		idle, _ := tap(t, address, stdtls.VersionTLS13)
		c, under := tap(t, address, stdtls.VersionTLS13)
		under.hold = true
		if _, err := c.Write(random(16000)); err != nil {
			t.Fatal(err)
		}
		if _, err := under.Conn.Write(under.held[:9000]); err != nil {
			t.Fatal(err)
		}
		hello, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer hello.Close()
		_ = hello.SetDeadline(time.Now().Add(testTimeout))
		if _, err := hello.Write(append([]byte{22, 3, 1, 40, 0}, random(2000)...)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "both parts have come", func() (so bool) {
			do(func() {
				held := 0
				for i := uint32(1); i <= uint32(o.conns.Cap()); i++ {
					if o.conns.Live(i) {
						held += o.conns.At(i).in.Bytes()
					}
				}
				so = held == 9000+2005
			})
			return so
		})
		do(func() { o.Relieve(1 << 30) })
		do(func() {
			if len(whys)+len(o.failed) > 0 {
				t.Errorf("ended before its time: %q, %q", whys, o.failed)
			}
			o.Relieve(0)
		})
		if _, err := c.Read(make([]byte, 1)); err == nil || err.Error() != "remote error: tls: internal error" {
			t.Errorf("the client is told %v", err)
		}
		if _, err := hello.Read(make([]byte, 1)); err != io.EOF && !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("the other is told %v", err)
		}
		do(func() {
			if len(whys) != 1 || whys[0] != whyHeld || len(o.failed) != 1 || o.failed[0] != whyHeld {
				t.Errorf("%q, %q", whys, o.failed)
			}
		})
		if _, err := idle.Write([]byte("x")); err != nil {
			t.Error(err)
		}
		if _, err := io.ReadFull(idle, make([]byte, 1)); err != nil {
			t.Errorf("a connection that held nothing: %v", err)
		}
	})
}

// At the end of a process handshakes do not outlast it: first those that have not
// begun, then all.
func TestEndHandshakes(t *testing.T) {
	backends(t, func(t *testing.T, io_ loop.IO) {
		address, o, do := serve(t, io_, Config{}, echo)
		var open []net.Conn
		for _, say := range []string{"", "\x16\x03\x01\x20"} {
			c, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(testTimeout))
			_, _ = io.WriteString(c, say)
			open = append(open, c)
		}
		eventually(t, "both are there", func() (so bool) {
			do(func() { so = o.handshakes.stats.UnderWay == 2 && o.pool.InUse() > 0 })
			return so
		})
		for k, all := range []bool{false, true} {
			do(func() { o.EndHandshakes(all) })
			if _, err := open[k].Read(make([]byte, 1)); err != io.EOF && !errors.Is(err, unix.ECONNRESET) {
				t.Errorf("connection %d is told %v", k, err)
			}
			do(func() {
				if len(o.failed) != k+1 || !strings.Contains(o.failed[k], "shutdown") {
					t.Errorf("%q", o.failed)
				}
			})
		}
	})
}
