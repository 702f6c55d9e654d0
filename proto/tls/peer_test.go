package tls

import (
	"bytes"
	stdtls "crypto/tls"
	"encoding/hex"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// oneRecord hands a tls.Conn no byte behind the record that it reads, so that
// what follows the handshake stays for whoever takes over. It notes both hellos'
// randoms, which TLS 1.2 wants, and counts the records that were written.
type oneRecord struct {
	net.Conn
	left    int
	header  []byte
	randoms [2][]byte // client, server
	wrote   []byte
}

func (c *oneRecord) Read(b []byte) (int, error) {
	if c.left == 0 && len(c.header) == 0 {
		c.header = make([]byte, HeaderLen)
		if _, err := io.ReadFull(c.Conn, c.header); err != nil {
			return 0, err
		}
		c.left = int(c.header[3])<<8 | int(c.header[4])
		rest := make([]byte, c.left)
		if _, err := io.ReadFull(c.Conn, rest); err != nil {
			return 0, err
		}
		c.note(append(bytes.Clone(c.header), rest...))
		c.header = append(c.header, rest...)
		c.left = 0
	}
	n := copy(b, c.header)
	c.header = c.header[n:]
	return n, nil
}

func (c *oneRecord) Write(b []byte) (int, error) {
	c.wrote = append(c.wrote, b...)
	c.note(b)
	return c.Conn.Write(b)
}

func (c *oneRecord) note(rec []byte) {
	if rec[0] != byte(TypeHandshake) || len(rec) < 43 || rec[5] != 1 && rec[5] != 2 {
		return
	}
	if i := rec[5] - 1; c.randoms[i] == nil {
		c.randoms[i] = bytes.Clone(rec[11:43])
	}
}

// keyLog takes the secrets of one connection out of what crypto/tls logs.
type keyLog struct{ lines map[string][]byte }

func (k *keyLog) Write(b []byte) (int, error) {
	f := strings.Fields(string(b))
	secret, err := hex.DecodeString(f[2])
	if err != nil {
		return 0, err
	}
	if k.lines == nil {
		k.lines = map[string][]byte{}
	}
	k.lines[f[0]] = secret
	return len(b), nil
}

func (k *keyLog) secrets(s stdtls.ConnectionState, c *oneRecord) *Secrets {
	return &Secrets{
		Version: s.Version, Suite: s.CipherSuite,
		ClientTraffic: k.lines["CLIENT_TRAFFIC_SECRET_0"], ServerTraffic: k.lines["SERVER_TRAFFIC_SECRET_0"],
		Master: k.lines["CLIENT_RANDOM"], ClientRandom: c.randoms[0], ServerRandom: c.randoms[1],
	}
}

// side is one end of a connection whose record layer is a Conn.
type side struct {
	t       testing.TB
	c       net.Conn
	conn    Conn
	in, out Cipher
	buf     []byte
}

// takeOver goes on where a handshake of crypto/tls has ended.
func takeOver(t testing.TB, server bool, raw *oneRecord, s *Secrets) *side {
	t.Helper()
	d := &side{t: t, c: raw.Conn}
	if err := d.conn.Start(server, s); err != nil {
		t.Fatal(err)
	}
	d.conn.UseIn(&d.in)
	d.conn.UseOut(&d.out)
	return d
}

// flush sends what the record layer itself has to say.
func (d *side) flush() {
	d.t.Helper()
	rec := make([]byte, MaxOutput)
	for {
		n := d.conn.Output(&d.out, rec)
		if n == 0 {
			return
		}
		if _, err := d.c.Write(rec[:n]); err != nil {
			d.t.Fatal(err)
		}
	}
}

func (d *side) write(b []byte) {
	d.t.Helper()
	for len(b) > 0 {
		d.flush()
		n := min(len(b), MaxPlaintext)
		rec := make([]byte, d.conn.Lead()+n+d.conn.Tail())
		copy(rec[d.conn.Lead():], b[:n])
		if got := d.conn.Seal(&d.out, rec, n); got != len(rec) {
			d.t.Fatalf("a record of %d bytes, not %d", got, len(rec))
		}
		if _, err := d.c.Write(rec); err != nil {
			d.t.Fatal(err)
		}
		b = b[n:]
	}
}

// next gives the next event, with the bytes it lends.
func (d *side) next() (ev Event, lent []byte) {
	d.t.Helper()
	chunk := make([]byte, 4096)
	for {
		used := d.conn.Next(&d.in, d.buf, &ev)
		if ev.Kind != EventNone {
			lent = bytes.Clone(d.buf[ev.Off : ev.Off+ev.N])
		}
		d.buf = d.buf[used:]
		if ev.Kind != EventNone {
			return ev, lent
		}
		_ = d.c.SetReadDeadline(time.Now().Add(20 * time.Second))
		n, err := d.c.Read(chunk)
		if err != nil {
			d.t.Fatalf("waiting for an event: %v", err)
		}
		d.buf = append(d.buf, chunk[:n]...)
	}
}

// read reads n bytes of content. Tickets that come in between are let go.
func (d *side) read(n int) (b []byte) {
	d.t.Helper()
	for len(b) < n {
		ev, lent := d.next()
		switch ev.Kind {
		case EventData:
			b = append(b, lent...)
		case EventTicket:
		default:
			d.t.Fatalf("after %d of %d bytes: %+v (%s)", len(b), n, ev, ev.Alert.Name())
		}
	}
	if len(b) > n {
		d.t.Fatalf("%d bytes, not %d", len(b), n)
	}
	return b
}

func dial(t testing.TB, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
