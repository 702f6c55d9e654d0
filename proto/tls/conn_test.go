package tls

import (
	"bufio"
	"bytes"
	stdtls "crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"zproxy/internal/tlstest"
)

// pair makes a connection by crypto/tls and takes the side over that server
// names; the other stays crypto/tls's.
func pair(t testing.TB, server bool, version, suite uint16, cert stdtls.Certificate, tickets bool) (*side, *stdtls.Conn) {
	t.Helper()
	a, b := tlstest.Pipe(t)
	cfg := &stdtls.Config{MinVersion: version, MaxVersion: version, Certificates: []stdtls.Certificate{cert}, SessionTicketsDisabled: !tickets}
	clientCfg := &stdtls.Config{MinVersion: version, MaxVersion: version, InsecureSkipVerify: true, ServerName: "zproxy.test"}
	if tickets {
		clientCfg.ClientSessionCache = stdtls.NewLRUClientSessionCache(1)
	}
	if suite != 0 {
		cfg.CipherSuites = []uint16{suite}
		clientCfg.CipherSuites = []uint16{suite}
	}
	raw, log := &oneRecord{}, &keyLog{}
	var mine, other *stdtls.Conn
	if server {
		raw.Conn = b
		cfg.KeyLogWriter = log
		mine, other = stdtls.Server(raw, cfg), stdtls.Client(a, clientCfg)
	} else {
		raw.Conn = a
		clientCfg.KeyLogWriter = log
		mine, other = stdtls.Client(raw, clientCfg), stdtls.Server(b, cfg)
	}
	failed := make(chan error, 1)
	go func() { failed <- other.Handshake() }()
	if err := mine.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	s := log.secrets(mine.ConnectionState(), raw)
	if server && tickets && version == Version13 {
		s.ServerSent = 1 // its first flight had a ticket
	}
	return takeOver(t, server, raw, s), other
}

var tested = []struct {
	name           string
	version, suite uint16
	cert           string
}{
	{"1.3", Version13, 0, "ecdsa"},
	{"1.3 ed25519", Version13, 0, "ed25519"},
	{"1.2 ECDSA AES-128", Version12, 0xc02b, "ecdsa"},
	{"1.2 ECDSA AES-256", Version12, 0xc02c, "ecdsa"},
	{"1.2 RSA AES-128", Version12, 0xc02f, "rsa"},
	{"1.2 RSA AES-256", Version12, 0xc030, "rsa"},
	{"1.2 RSA ChaCha20", Version12, 0xcca8, "rsa"},
	{"1.2 ECDSA ChaCha20", Version12, 0xcca9, "ecdsa"},
}

func content(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n)}).Read(b)
	return b
}

// Content passes between a Conn and crypto/tls both ways, and the end is told,
// whichever side the Conn is.
func TestLikeCryptoTLS(t *testing.T) {
	for _, row := range tested {
		cert := tlstest.Certificate(t, row.cert)
		for _, server := range []bool{true, false} {
			for _, tickets := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/server=%v/tickets=%v", row.name, server, tickets), func(t *testing.T) {
					d, peer := pair(t, server, row.version, row.suite, cert, tickets)
					for _, n := range []int{1, 100, MaxPlaintext, MaxPlaintext + 1, 100_000} {
						want := content(n)
						go func() { _, _ = peer.Write(want) }()
						if !bytes.Equal(d.read(n), want) {
							t.Fatalf("%d bytes came differently", n)
						}
						go d.write(want)
						got := make([]byte, n)
						if _, err := io.ReadFull(peer, got); err != nil || !bytes.Equal(got, want) {
							t.Fatalf("%d bytes went differently: %v", n, err)
						}
					}
					d.conn.Close()
					d.flush()
					if _, err := peer.Read(make([]byte, 1)); err != io.EOF {
						t.Errorf("the peer was told of the end by %v", err)
					}
					_ = peer.CloseWrite()
					if ev, _ := d.next(); ev.Kind != EventClosed {
						t.Errorf("the peer's end: %+v", ev)
					}
				})
			}
		}
	}
}

// Keys change when they have protected as many records as they may, and the
// peer is asked for a change when its have: crypto/tls follows and answers.
func TestKeyLimit(t *testing.T) {
	for _, server := range []bool{true, false} {
		d, peer := pair(t, server, Version13, 0, tlstest.Certificate(t, "ecdsa"), false)
		d.conn.limit = 5
		first := d.conn.out.secret
		for i := range 40 {
			want := content(50 + i)
			d.write(want)
			got := make([]byte, len(want))
			if _, err := io.ReadFull(peer, got); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("record %d out: %v", i, err)
			}
			if d.conn.out.seq > 5 {
				t.Fatalf("%d records under one key", d.conn.out.seq)
			}
			if _, err := peer.Write(want); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(d.read(len(want)), want) {
				t.Fatalf("record %d in", i)
			}
			d.flush()
			// The peer changes its key when it reads what it is asked, and before it writes again.
			if d.conn.in.seq > 5+2 {
				t.Fatalf("the peer has sent %d records under one key, and was not asked for another", d.conn.in.seq)
			}
		}
		if d.conn.out.secret == first {
			t.Error("the key never changed")
		}
	}
	d, _ := pair(t, true, Version12, 0xc02b, tlstest.Certificate(t, "ecdsa"), false)
	d.conn.limit = 3
	for range 2 {
		if d.conn.Expired() || d.conn.Pending() {
			t.Fatal("too early")
		}
		d.write([]byte("x"))
	}
	if !d.conn.Expired() || d.conn.Pending() {
		t.Error("the key of a TLS 1.2 connection serves for ever, or is said to change")
	}
}

// Tickets of a server reach the owner of a client whole.
func TestTicket(t *testing.T) {
	d, peer := pair(t, false, Version13, 0, tlstest.Certificate(t, "ecdsa"), true)
	ev, body := d.next()
	if ev.Kind != EventTicket || !ev.End || len(body) < 20 {
		t.Fatalf("%+v", ev)
	}
	go func() { _, _ = peer.Write([]byte("hello")) }()
	if got := d.read(5); string(got) != "hello" {
		t.Errorf("%q", got)
	}
}

// couple is a client and a server that are both Conns, with the same secrets
// and no transport: what one has sent the other gets as the test likes.
func couple(t testing.TB, version, id uint16) (client, server *side) {
	t.Helper()
	n := 32
	if i, ok := find(version, id); ok {
		n = suites[i].hash.Size()
	}
	s := &Secrets{
		Version: version, Suite: id, ClientTraffic: content(n), ServerTraffic: content(n + 1)[:n],
		Master: content(48), ClientRandom: content(32), ServerRandom: content(32),
	}
	client, server = &side{t: t}, &side{t: t}
	for _, d := range []*side{client, server} {
		if err := d.conn.Start(d == server, s); err != nil {
			t.Fatal(err)
		}
		d.conn.UseIn(&d.in)
		d.conn.UseOut(&d.out)
	}
	return client, server
}

// record seals b as a record of typ.
func (d *side) record(typ ContentType, b []byte) []byte {
	rec := make([]byte, d.conn.Lead()+len(b)+d.conn.Tail())
	copy(rec[d.conn.Lead():], b)
	return rec[:d.conn.out.seal(&d.out, rec, typ, len(b))]
}

func all(ids func(version, id uint16)) {
	for _, s := range suites {
		ids(s.version, s.id)
	}
}

// The result does not depend on how what arrives is cut: a record that is not
// whole stays where it is.
func TestSplits(t *testing.T) {
	all(func(version, id uint16) {
		client, _ := couple(t, version, id)
		var wire, want []byte
		for i, n := range []int{1, 0, 17, 300, 0, 2000} {
			b := content(n + i)[:n]
			wire = append(wire, client.record(TypeApplicationData, b)...)
			want = append(want, b...)
		}
		if version == Version13 {
			client.conn.flags |= flagKeyUpdate
			rec := make([]byte, MaxOutput)
			wire = append(wire, rec[:client.conn.Output(&client.out, rec)]...)
			// A message in two records.
			wire = append(wire, client.record(TypeHandshake, []byte{messageKeyUpdate, 0, 0})...)
			wire = append(wire, client.record(TypeHandshake, []byte{1, 0})...)
			client.conn.out.update()
			client.conn.UseOut(&client.out)
			b := content(77)
			wire = append(wire, client.record(TypeApplicationData, b)...)
			want = append(want, b...)
		}
		client.conn.Close()
		rec := make([]byte, MaxOutput)
		wire = append(wire, rec[:client.conn.Output(&client.out, rec)]...)
		for step := 1; step < 700; step += 1 + step/3 {
			_, server := couple(t, version, id)
			var got, buf []byte
			closed := false
			for at := 0; at < len(wire); at += step {
				buf = append(buf, wire[at:min(at+step, len(wire))]...)
				for {
					var ev Event
					used := server.conn.Next(&server.in, buf, &ev)
					if ev.Kind == EventData {
						got = append(got, buf[ev.Off:ev.Off+ev.N]...)
					}
					buf = buf[used:]
					closed = closed || ev.Kind == EventClosed
					if ev.Kind == EventFailed {
						t.Fatalf("%04x in pieces of %d: %s", id, step, ev.Alert.Name())
					}
					if ev.Kind == EventNone {
						break
					}
				}
			}
			if !bytes.Equal(got, want) || !closed || len(buf) > 0 {
				t.Fatalf("%04x in pieces of %d: %d of %d bytes, closed %v, %d left", id, step, len(got), len(want), closed, len(buf))
			}
		}
	})
}

// What a peer may not send ends the connection with the alert that RFC 9846
// names, and it is sent.
func TestRefused(t *testing.T) {
	type row struct {
		name    string
		version uint16
		send    func(d *side) []byte
		alert   Alert
	}
	v12, v13 := Version12, Version13
	message := func(b ...byte) func(d *side) []byte {
		return func(d *side) []byte { return d.record(TypeHandshake, b) }
	}
	for _, r := range []row{
		{"a bit wrong", v13, func(d *side) []byte { b := d.record(TypeApplicationData, []byte("x")); b[7] ^= 4; return b }, AlertBadRecordMAC},
		{"a bit wrong", v12, func(d *side) []byte { b := d.record(TypeApplicationData, []byte("x")); b[14] ^= 4; return b }, AlertBadRecordMAC},
		{"the same record again", v13, func(d *side) []byte {
			b := d.record(TypeApplicationData, []byte("x"))
			return append(bytes.Clone(b), b...)
		}, AlertBadRecordMAC},
		{"a record left out", v12, func(d *side) []byte {
			d.record(TypeApplicationData, []byte("x"))
			return d.record(TypeApplicationData, []byte("y"))
		}, AlertBadRecordMAC},
		{"shorter than a tag", v13, func(*side) []byte { return []byte{23, 3, 3, 0, 15, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15} }, AlertBadRecordMAC},
		{"empty", v12, func(*side) []byte { return []byte{23, 3, 3, 0, 0} }, AlertBadRecordMAC},
		{"in clear", v13, func(*side) []byte { return []byte{21, 3, 3, 0, 2, 1, 0} }, AlertUnexpectedMessage},
		{"change_cipher_spec", v13, func(*side) []byte { return []byte{20, 3, 3, 0, 1, 1} }, AlertUnexpectedMessage},
		{"change_cipher_spec", v12, func(d *side) []byte { return d.record(TypeChangeCipherSpec, []byte{1}) }, AlertUnexpectedMessage},
		{"a request of HTTP", v13, func(*side) []byte { return []byte("GET / HTTP/1.1\r\n\r\n") }, AlertUnexpectedMessage},
		{"another version", v13, func(*side) []byte { return []byte{23, 3, 1, 0, 30} }, AlertProtocolVersion},
		{"too long to be decrypted", v13, func(*side) []byte { return []byte{23, 3, 3, 0x41, 1} }, AlertRecordOverflow},
		{"too long to be decrypted", v12, func(*side) []byte { return []byte{23, 3, 3, 0x40, 25} }, AlertRecordOverflow},
		{"content too long", v13, func(d *side) []byte { return d.record(TypeApplicationData, make([]byte, MaxPlaintext+1)) }, AlertRecordOverflow},
		{"padding too long", v13, func(d *side) []byte { return d.record(TypeApplicationData, make([]byte, MaxPlaintext+200)) }, AlertRecordOverflow},
		{"nothing but padding", v13, func(d *side) []byte { return d.record(0, make([]byte, 10)) }, AlertUnexpectedMessage},
		{"an unknown type", v13, func(d *side) []byte { return d.record(24, []byte{1}) }, AlertUnexpectedMessage},
		{"an empty handshake record", v13, func(d *side) []byte { return d.record(TypeHandshake, nil) }, AlertUnexpectedMessage},
		{"an alert in pieces", v13, func(d *side) []byte { return d.record(TypeAlert, []byte{2}) }, AlertDecodeError},
		{"KeyUpdate that asks for 2", v13, message(messageKeyUpdate, 0, 0, 1, 2), AlertIllegalParameter},
		{"KeyUpdate of two bytes", v13, message(messageKeyUpdate, 0, 0, 2, 0, 0), AlertDecodeError},
		{"KeyUpdate with something behind it", v13, message(messageKeyUpdate, 0, 0, 1, 0, messageKeyUpdate), AlertUnexpectedMessage},
		{"KeyUpdate in TLS 1.2", v12, message(messageKeyUpdate, 0, 0, 1, 0), AlertUnexpectedMessage},
		{"a client's ticket", v13, message(messageNewSessionTicket, 0, 0, 1, 0), AlertUnexpectedMessage},
		{"a client's ClientHello", v13, message(messageClientHello, 0, 0, 1, 0), AlertUnexpectedMessage},
		{"content within a message", v13, func(d *side) []byte {
			return append(d.record(TypeHandshake, []byte{messageKeyUpdate, 0}), d.record(TypeApplicationData, []byte("x"))...)
		}, AlertUnexpectedMessage},
		{"records of nothing", v13, func(d *side) (b []byte) {
			for range maxUseless + 1 {
				b = append(b, d.record(TypeApplicationData, nil)...)
			}
			return b
		}, AlertUnexpectedMessage},
		{"warnings without end", v12, func(d *side) (b []byte) {
			for range maxUseless + 1 {
				b = append(b, d.record(TypeAlert, []byte{levelWarning, 90})...)
			}
			return b
		}, AlertUnexpectedMessage},
		{"key after key", v13, func(d *side) (b []byte) {
			for i := range firstChanges + 1 {
				b = append(b, d.record(TypeHandshake, []byte{messageKeyUpdate, 0, 0, 1, 0})...)
				d.conn.out.update()
				d.conn.UseOut(&d.out)
				if i%8 == 0 {
					b = append(b, d.record(TypeApplicationData, []byte("x"))...)
				}
			}
			return b
		}, AlertUnexpectedMessage},
	} {
		t.Run(fmt.Sprintf("%s/%04x", r.name, r.version), func(t *testing.T) { refused(t, r.version, r.send, r.alert) })
	}
}

// refused sends a server what send makes, and wants alert.
func refused(t *testing.T, version uint16, send func(d *side) []byte, alert Alert) {
	id := uint16(0x1301)
	if version == Version12 {
		id = 0xc02b
	}
	client, server := couple(t, version, id)
	wire := send(client)
	var ev Event
	for len(wire) > 0 && ev.Kind != EventFailed {
		used := server.conn.Next(&server.in, wire, &ev)
		wire = wire[used:]
		if used == 0 && ev.Kind == EventNone {
			t.Fatalf("waits for more than %d bytes", len(wire))
		}
	}
	if ev.Kind != EventFailed || ev.Received || ev.Alert != alert {
		t.Fatalf("%+v (%s), wanted %s", ev, ev.Alert.Name(), alert.Name())
	}
	rec := make([]byte, MaxOutput)
	n := server.conn.Output(&server.out, rec)
	typ, length, _ := client.conn.in.open(&client.in, rec[:n])
	lead := client.conn.in.lead()
	if typ != TypeAlert || !bytes.Equal(rec[lead:lead+length], []byte{levelFatal, byte(alert)}) {
		t.Errorf("told by %d %v", typ, rec[lead:lead+length])
	}
	if server.conn.Output(&server.out, rec) != 0 || server.conn.Next(&server.in, []byte("more"), &ev) != 4 || ev.Kind != EventNone {
		t.Error("goes on behind its end")
	}
}

// Alerts that came, and renegotiation, which is refused without an end.
func TestReceived(t *testing.T) {
	client, server := couple(t, Version13, 0x1301)
	var ev Event
	server.conn.Next(&server.in, client.record(TypeAlert, []byte{levelFatal, 48}), &ev)
	if ev.Kind != EventFailed || !ev.Received || ev.Alert.Name() != "unknown_ca" || server.conn.Pending() {
		t.Errorf("%+v", ev)
	}
	client, server = couple(t, Version12, 0xc030)
	hello := append([]byte{messageClientHello, 0, 1, 44}, make([]byte, 300)...)
	wire := append(client.record(TypeHandshake, hello), client.record(TypeApplicationData, []byte("on"))...)
	used := server.conn.Next(&server.in, wire, &ev)
	if ev.Kind != EventData || string(wire[ev.Off:ev.Off+ev.N]) != "on" || used != len(wire) {
		t.Fatalf("%+v", ev)
	}
	rec := make([]byte, MaxOutput)
	n := server.conn.Output(&server.out, rec)
	client.conn.Next(&client.in, rec[:n], &ev)
	if n == 0 || ev.Kind != EventNone {
		t.Errorf("%d bytes, %+v", n, ev)
	}
	if got := server.record(TypeApplicationData, []byte("and on")); client.conn.Next(&client.in, got, &ev) == 0 || ev.Kind != EventData {
		t.Errorf("%+v", ev)
	}
}

func TestAtRest(t *testing.T) {
	if n := reflect.TypeFor[Conn]().Size(); n > 256 {
		t.Errorf("%d bytes", n)
	}
	var d Conn
	if err := d.Start(true, &Secrets{Version: Version13, Suite: 0x1302, ClientTraffic: make([]byte, 32), ServerTraffic: make([]byte, 48)}); err != ErrSecret {
		t.Error(err)
	}
	if err := d.Start(true, &Secrets{Version: Version12, Suite: 0xc013}); err != ErrSecret {
		t.Error(err)
	}
	if !Supports(Version13, 0x1303) || Supports(Version12, 0x1303) || Supports(Version13, 0xc02b) {
		t.Error("suites and versions")
	}
}

func TestRecordsAllocateNothing(t *testing.T) {
	all(func(version, id uint16) {
		client, server := couple(t, version, id)
		buf := make([]byte, 2000)
		n := testing.AllocsPerRun(100, func() {
			size := client.conn.Seal(&client.out, buf, 1000)
			var ev Event
			if server.conn.Next(&server.in, buf[:size], &ev) != size || ev.N != 1000 {
				t.Fatal("not opened")
			}
		})
		if n != 0 {
			t.Errorf("%04x: %v allocations", id, n)
		}
	})
}

// A server of OpenSSL, which has the suites of TLS 1.3 that crypto/tls does not
// choose here, and changes keys when it is told to.
func TestOpenSSL(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("openssl is not installed: apt-get install openssl")
		}
		t.Skip("openssl is not installed: apt-get install openssl")
	}
	dir := t.TempDir()
	cert := tlstest.Certificate(t, "ecdsa")
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "pem")
	both := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	if err := os.WriteFile(file, both, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, suite := range []string{"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"} {
		t.Run(suite, func(t *testing.T) { talkToOpenSSL(t, file, suite) })
	}
}

func talkToOpenSSL(t *testing.T, file, suite string) {
	cmd := exec.Command("openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", file, "-tls1_3", "-ciphersuites", suite)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := bufio.NewScanner(out)
	wait := func(prefix string) string {
		t.Helper()
		for lines.Scan() {
			if line := lines.Text(); len(line) >= len(prefix) && line[:len(prefix)] == prefix {
				return line[len(prefix):]
			}
		}
		t.Fatalf("openssl never said %q", prefix)
		return ""
	}
	address := wait("ACCEPT ")
	raw, log := &oneRecord{Conn: dial(t, address)}, &keyLog{}
	c := stdtls.Client(raw, &stdtls.Config{InsecureSkipVerify: true, KeyLogWriter: log, MinVersion: Version13})
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	if got := stdtls.CipherSuiteName(c.ConnectionState().CipherSuite); got != suite {
		t.Fatalf("%s", got)
	}
	d := takeOver(t, false, raw, log.secrets(c.ConnectionState(), raw))
	say := func(line string) {
		t.Helper()
		if _, err := io.WriteString(in, line+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	for i, command := range []string{"", "k", "K", "k"} {
		if command != "" {
			say(command) // k: its own key, K: mine as well
			time.Sleep(50 * time.Millisecond)
		}
		line := fmt.Sprintf("server %d", i)
		say(line)
		if got := d.read(len(line) + 1); string(got) != line+"\n" {
			t.Fatalf("%q", got)
		}
		d.write([]byte(fmt.Sprintf("client %d\n", i)))
		wait(fmt.Sprintf("client %d", i))
	}
	if d.conn.in.seq > 2 || d.conn.changes >= firstChanges {
		t.Error("the server changed no key")
	}
	d.conn.Close()
	d.flush()
	wait("DONE")
}
