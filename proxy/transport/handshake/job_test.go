package handshake

import (
	stdtls "crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"zproxy/config"
	"zproxy/internal/tlstest"
	"zproxy/proto/tls"
	"zproxy/proxy/transport/credentials"
)

// store makes of base, and its one certificate, what a listener chooses from.
func store(t testing.TB, base *stdtls.Config) *credentials.Store {
	t.Helper()
	cert, key := tlstest.PEM(t, base.Certificates[0])
	shared := base.Clone()
	shared.Certificates = nil
	set, err := credentials.Compile(&config.TLS{Certificates: []config.Certificate{{CertPEM: cert, KeyPEM: key}}}, shared)
	if err != nil {
		t.Fatal(err)
	}
	return credentials.NewStore(set)
}

// drive feeds a Job what arrives at c, in pieces of at most step bytes, and sends
// what it says, until it is over.
func drive(t testing.TB, s *Workers, config *stdtls.Config, server bool, c net.Conn, step int) *Result {
	t.Helper()
	woken := make(chan struct{}, 1)
	j := s.Start(config, server, func() bool {
		select {
		case woken <- struct{}{}:
		default:
		}
		return true
	})
	arrived := make(chan []byte, 1<<16)
	go func() {
		defer close(arrived)
		for {
			b := make([]byte, step)
			n, err := c.Read(b)
			if err != nil {
				return
			}
			arrived <- b[:n]
		}
	}()
	for end := time.After(20 * time.Second); ; {
		select {
		case b := <-arrived:
			j.Feed(b)
		case <-woken:
			out, r, over := j.Take(nil)
			if len(out) > 0 {
				if _, err := c.Write(out); err != nil {
					t.Fatal(err)
				}
			}
			if over {
				_ = c.SetReadDeadline(time.Now())
				for b := range arrived { // until the reader has stopped
					r.Unread = append(r.Unread, b...)
				}
				return r
			}
		case <-end:
			t.Fatal("no end")
		}
	}
}

// Handshakes of both roles and versions, resumed ones and those with a ticket on
// their way, leave secrets with which the first record is sealed as the peer
// expects it.
func TestHandshakes(t *testing.T) {
	workers := NewWorkers(1)
	for _, version := range []uint16{tls.Version12, tls.Version13} {
		for _, step := range []int{1, 7, 4096} {
			cert := tlstest.Certificate(t, "ecdsa")
			server := ServerConfig(store(t, &stdtls.Config{Certificates: []stdtls.Certificate{cert}, MaxVersion: version, NextProtos: []string{"h2", "http/1.1"}}))
			client := &stdtls.Config{InsecureSkipVerify: true, ServerName: "zproxy.test", MaxVersion: version, NextProtos: []string{"http/1.1"},
				ClientSessionCache: stdtls.NewLRUClientSessionCache(4), CipherSuites: []uint16{0xc02b}}
			for round, resumed := range []bool{false, true, true} {
				a, b := tlstest.Pipe(t)
				peer := stdtls.Client(a, client)
				failed := make(chan error, 1)
				go func() { failed <- peer.Handshake() }()
				r := drive(t, workers, server, true, b, step)
				if err := <-failed; err != nil || r.Err != nil {
					t.Fatalf("%04x step %d round %d: %v, %v", version, step, round, err, r.Err)
				}
				if r.State.DidResume != resumed || r.State.NegotiatedProtocol != "http/1.1" || r.State.ServerName != "zproxy.test" {
					t.Errorf("%04x round %d: resumed %v, %q for %q", version, round, r.State.DidResume, r.State.NegotiatedProtocol, r.State.ServerName)
				}
				firstRecord(t, r, true, b, peer)
			}
		}
	}
}

// firstRecord sends one record each way under the secrets of r.
func firstRecord(t *testing.T, r *Result, server bool, raw net.Conn, peer *stdtls.Conn) {
	t.Helper()
	var conn tls.Conn
	var in, out tls.Cipher
	if err := conn.Start(server, &r.Secrets); err != nil {
		t.Fatal(err)
	}
	conn.UseIn(&in)
	conn.UseOut(&out)
	rec := make([]byte, 200)
	copy(rec[conn.Lead():], "hello")
	if _, err := raw.Write(rec[:conn.Seal(&out, rec, 5)]); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(peer, got); err != nil || string(got) != "hello" {
		t.Fatalf("%04x resumed %v sent %d: %q, %v", r.Secrets.Version, r.State.DidResume, r.Secrets.ServerSent, got, err)
	}
	if _, err := peer.Write([]byte("answer")); err != nil {
		t.Fatal(err)
	}
	_ = raw.SetReadDeadline(time.Now().Add(10 * time.Second))
	b := append([]byte(nil), r.Unread...)
	for {
		var ev tls.Event
		used := conn.Next(&in, b, &ev)
		if ev.Kind == tls.EventData {
			if string(b[ev.Off:ev.Off+ev.N]) != "answer" {
				t.Fatalf("%q", b[ev.Off:ev.Off+ev.N])
			}
			return
		}
		if ev.Kind != tls.EventNone && ev.Kind != tls.EventTicket {
			t.Fatalf("%04x %+v, %x", r.Secrets.Version, ev, b)
		}
		if b = b[used:]; ev.Kind == tls.EventNone {
			n, err := raw.Read(rec)
			if err != nil {
				t.Fatal(err)
			}
			b = append(b, rec[:n]...)
		}
	}
}

func TestAsClient(t *testing.T) {
	workers := NewWorkers(2)
	for _, version := range []uint16{tls.Version12, tls.Version13} {
		server := &stdtls.Config{Certificates: []stdtls.Certificate{tlstest.Certificate(t, "ecdsa")}, MaxVersion: version}
		client := &stdtls.Config{InsecureSkipVerify: true, ServerName: "zproxy.test", CipherSuites: []uint16{0xc02b},
			ClientSessionCache: stdtls.NewLRUClientSessionCache(1)}
		for round := range 3 {
			a, b := tlstest.Pipe(t)
			peer := stdtls.Server(b, server)
			failed := make(chan error, 1)
			go func() { failed <- peer.Handshake() }()
			r := drive(t, workers, client, false, a, 4096)
			if err := <-failed; err != nil || r.Err != nil {
				t.Fatal(err, r.Err)
			}
			// A ticket of TLS 1.3 comes behind the handshake.
			if r.State.DidResume != (round > 0 && version == tls.Version12) {
				t.Errorf("%04x round %d: resumed %v", version, round, r.State.DidResume)
			}
			firstRecord(t, r, false, a, peer)
		}
	}
}

// What is sent right behind the client's Finished belongs to whoever takes over.
func TestUnread(t *testing.T) {
	a, b := tlstest.Pipe(t)
	server := ServerConfig(store(t, &stdtls.Config{Certificates: []stdtls.Certificate{tlstest.Certificate(t, "ecdsa")}}))
	peer := stdtls.Client(a, &stdtls.Config{InsecureSkipVerify: true})
	go func() {
		if peer.Handshake() == nil {
			_, _ = peer.Write([]byte("GET"))
		}
	}()
	held := &holding{Conn: b}
	r := drive(t, NewWorkers(1), server, true, held, 1<<16)
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	var conn tls.Conn
	var in tls.Cipher
	if err := conn.Start(true, &r.Secrets); err != nil {
		t.Fatal(err)
	}
	conn.UseIn(&in)
	var ev tls.Event
	if conn.Next(&in, r.Unread, &ev); ev.Kind != tls.EventData || string(r.Unread[ev.Off:ev.Off+ev.N]) != "GET" {
		t.Errorf("%d bytes unread: %+v", len(r.Unread), ev)
	}
}

// holding gives the client's last flight and what follows it in one read.
type holding struct {
	net.Conn
	reads int
}

func (h *holding) Read(b []byte) (int, error) {
	if h.reads++; h.reads > 1 {
		time.Sleep(200 * time.Millisecond)
	}
	return h.Conn.Read(b)
}

func TestFailures(t *testing.T) {
	server := ServerConfig(store(t, &stdtls.Config{Certificates: []stdtls.Certificate{tlstest.Certificate(t, "ecdsa")}, MinVersion: tls.Version13}))
	a, b := tlstest.Pipe(t)
	peer := stdtls.Client(a, &stdtls.Config{InsecureSkipVerify: true, MaxVersion: tls.Version12})
	failed := make(chan error, 1)
	go func() { failed <- peer.Handshake() }()
	r := drive(t, NewWorkers(1), server, true, b, 4096)
	if err := <-failed; r.Err == nil || err == nil || !strings.Contains(err.Error(), "protocol version not supported") {
		t.Errorf("%v; the peer was told %v", r.Err, err)
	}

	a, b = tlstest.Pipe(t)
	if _, err := a.Write([]byte("GET / HTTP/1.1\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if r := drive(t, NewWorkers(1), server, true, b, 4096); r.Err == nil {
		t.Error("plain text made a handshake")
	}

	// A connection that goes away: the goroutine ends, and its place is free again.
	workers := NewWorkers(1)
	for range 3 {
		j := workers.Start(server, true, func() bool { return true })
		j.Feed([]byte{22, 3, 1, 64, 0})
		j.Abort()
	}
	for i := 0; workers.computing() > 0; i++ {
		if time.Sleep(time.Millisecond); i == 5000 {
			t.Fatal("a place is never given back")
		}
	}
}

func (w *Workers) computing() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.working
}

// hold takes n places, and release gives them back.
func (w *Workers) hold(n int) (release func()) {
	w.mu.Lock()
	w.working += n
	w.mu.Unlock()
	return func() { // as a worker does that has been busy
		for range n {
			w.work()
		}
	}
}

// A peer that sends more than is read is held back, and goes on when it was read.
func TestEnough(t *testing.T) {
	server := ServerConfig(store(t, &stdtls.Config{Certificates: []stdtls.Certificate{tlstest.Certificate(t, "ecdsa")}}))
	workers := NewWorkers(1)
	release := workers.hold(1) // somebody else computes
	woken := make(chan struct{}, 1)
	j := workers.Start(server, true, func() bool { woken <- struct{}{}; return true })
	// The head of a long ClientHello, and some of it.
	if !j.Feed([]byte{22, 3, 1, 64, 0, 1, 0, 255, 255}) || j.Feed(make([]byte, enough)) {
		t.Error("held back too early, or not at all")
	}
	release()
	select {
	case <-woken:
	case <-time.After(10 * time.Second):
		t.Fatal("never woken")
	}
	j.Abort()
}
