package health

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"zproxy/internal/tlstest"
)

// origin serves in these protocols, within TLS where config is not nil.
func origin(t *testing.T, config *tls.Config, protocols func(*http.Protocols), h http.HandlerFunc) (address string) {
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = new(http.Protocols)
	protocols(s.Config.Protocols)
	if s.TLS = config; config != nil {
		s.EnableHTTP2 = s.Config.Protocols.HTTP2()
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func http1(p *http.Protocols) { p.SetHTTP1(true) }
func h2c(p *http.Protocols)   { p.SetUnencryptedHTTP2(true) }
func h2(p *http.Protocols)    { p.SetHTTP2(true) }

// ask makes one check of an address, as the configuration has it.
func ask(t *testing.T, check, address, protocol string, trust *tls.Config) result {
	t.Helper()
	u := use(t, check, address)
	u.Upstream.Protocol = protocol
	if trust != nil {
		u.TLS = []*tls.Config{trust}
	}
	c := New(Config{Report: func(Change) {}, Local: func(error) bool { return false }})
	defer c.Stop()
	c.Set([]Use{u})
	for _, target := range c.targets {
		return target.probe.run(context.Background(), func(err error) bool { return errors.Is(err, syscall.EMFILE) })
	}
	t.Fatal("no target")
	return result{}
}

func expect(t *testing.T, what string, r result, passed bool, words string) {
	t.Helper()
	if r.passed != passed || !strings.Contains(r.words, words) || r.words == "" {
		t.Errorf("%s: passed %v, %q; expected %v, %q", what, r.passed, r.words, passed, words)
	}
}

func TestHTTPChecks(t *testing.T) {
	handler := func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.RequestURI() {
		case "/ready?full=1":
			if r.Method == "HEAD" && r.Host == "other.test:81" && r.UserAgent() == userAgent {
				return
			}
		case "/moved":
			w.Header().Set("Location", "/ready")
			w.WriteHeader(302)
			return
		case "/ok":
			io.WriteString(w, strings.Repeat(".", 1000)+"database: fine"+strings.Repeat(".", 100_000))
			return
		case "/short":
			w.Header().Set("Content-Length", "10")
			io.WriteString(w, "short")
			return
		}
		w.WriteHeader(500)
	}
	for protocol, address := range map[string]string{"http1": origin(t, nil, http1, handler), "h2c": origin(t, nil, h2c, handler)} {
		for _, c := range []struct {
			check  string
			passed bool
			words  string
		}{
			{"{}", false, "status 500, expected 200-399"},
			{"{status: ['500']}", true, "status 500"},
			{"{path: '/ready?full=1', method: HEAD, host: 'other.test:81'}", true, "status 200"},
			{"{path: '/ready?full=1', method: HEAD}", false, "status 500"},
			{"{path: /moved}", true, "status 302"},
			{"{path: /moved, status: ['200', 201-299]}", false, "status 302, expected 200, 201-299"},
			{"{path: /ok, body: 'database: (fine|slow)'}", true, "status 200, and the body matches"},
			{"{path: /ok, body: 'cache: fine'}", false, "status 200, but the body does not match cache: fine"},
			{"{path: /short, body: x}", false, ""},
			{"{type: tcp}", true, "connected"},
		} {
			expect(t, protocol+" "+c.check, ask(t, c.check, address, protocol, nil), c.passed, c.words)
		}
	}
}

func TestChecksOfWhatIsNotWell(t *testing.T) {
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := gone.Addr().String()
	gone.Close()
	for _, kind := range []string{"http", "tcp", "grpc"} {
		expect(t, kind+" to nobody", ask(t, "{type: "+kind+"}", address, "http1", nil), false, "connection refused")
	}
	// Half dead: connections are made, and that is all. The kernel does that alone.
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	address = silent.Addr().String()
	const soon = "interval: 1s, timeout: 100ms, "
	expect(t, "tcp", ask(t, "{"+soon+"type: tcp}", address, "http1", nil), true, "connected")
	expect(t, "http", ask(t, "{"+soon+"type: http}", address, "http1", nil), false, "no response within 100ms")
	expect(t, "h2c", ask(t, "{"+soon+"type: http}", address, "h2c", nil), false, "no response within 100ms")
	expect(t, "grpc", ask(t, "{"+soon+"type: grpc}", address, "h2c", nil), false, "no response within 100ms")
	for _, kind := range []string{"http", "tcp", "grpc"} {
		expect(t, kind+" in TLS", ask(t, "{"+soon+"type: "+kind+"}", address, "h2", &tls.Config{ServerName: "x"}), false, "no TLS handshake within 100ms")
	}
	stalls := origin(t, nil, http1, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "begin")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	expect(t, "stalled body", ask(t, "{"+soon+"body: end}", stalls, "http1", nil), false, "no whole response within 100ms")
	expect(t, "body that does not matter", ask(t, "{"+soon+"fall: 1}", stalls, "http1", nil), true, "status 200")
	speaks := origin(t, nil, http1, func(http.ResponseWriter, *http.Request) {})
	expect(t, "TLS to what speaks none", ask(t, "{}", speaks, "http1", &tls.Config{ServerName: "x"}), false, "")
}

func TestChecksInTLS(t *testing.T) {
	cert := tlstest.Certificate(t, "ecdsa")
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	name := leaf.DNSNames[0]
	config := func() *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert}
	}
	handler := func(w http.ResponseWriter, r *http.Request) {
		if r.TLS.ServerName != name {
			w.WriteHeader(500)
		}
	}
	trust := &tls.Config{RootCAs: roots, ServerName: name, Certificates: []tls.Certificate{cert}}
	for protocol, of := range map[string]func(*http.Protocols){"http1": http1, "h2": h2} {
		address := origin(t, config(), of, handler)
		for _, as := range []string{protocol, "auto"} {
			expect(t, as, ask(t, "{}", address, as, trust), true, "status 200")
		}
		expect(t, "tcp", ask(t, "{type: tcp}", address, protocol, trust), true, "TLS handshake done")
		expect(t, "another name", ask(t, "{}", address, protocol, &tls.Config{RootCAs: roots, ServerName: "other.test"}), false, "TLS handshake failed: ")
		expect(t, "tcp, another authority", ask(t, "{type: tcp}", address, protocol, &tls.Config{ServerName: name}), false, "TLS handshake failed: ")
	}
	clear := origin(t, nil, http1, func(http.ResponseWriter, *http.Request) {})
	expect(t, "in clear", ask(t, "{tls: never}", clear, "http1", trust), true, "status 200")
}

func TestWhereChecksConnect(t *testing.T) {
	address := origin(t, nil, http1, func(http.ResponseWriter, *http.Request) {})
	_, port, _ := net.SplitHostPort(address)
	expect(t, "port", ask(t, "{port: "+port+"}", "127.0.0.1:1", "http1", nil), true, "status 200")
	expect(t, "address", ask(t, "{address: '"+address+"'}", "127.0.0.9:1", "http1", nil), true, "status 200")
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	expect(t, "unix", ask(t, "{type: tcp}", "unix:"+socket, "http1", nil), true, "connected")
}

// A check that finds no descriptor here has found nothing.
func TestShortageIsVoid(t *testing.T) {
	p := probe{check: parse(t, "{type: tcp}", "{address: '"+one+"'}").HealthCheck, network: "unix", address: "/nobody/listens/here"}
	if r := p.run(context.Background(), func(err error) bool { return errors.Is(err, syscall.ENOENT) }); r.passed || !r.void {
		t.Errorf("%+v", r)
	}
}

func TestGRPCChecks(t *testing.T) {
	handler := func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path != "/grpc.health.v1.Health/Check" || r.Method != "POST" || r.Header.Get("Content-Type") != "application/grpc" || r.Header.Get("Te") != "trailers" {
			w.WriteHeader(400)
			return
		}
		w.Header().Set("Content-Type", "application/grpc")
		service := ""
		if len(body) > 7 && body[5] == 0x0a {
			service = string(body[7:])
		}
		say := func(message string) {
			w.Header().Set("Trailer", "Grpc-Status")
			io.WriteString(w, message)
			w.Header().Set("Grpc-Status", "0")
		}
		switch service {
		case "":
			say("\x00\x00\x00\x00\x02\x08\x01")
		case "down":
			say("\x00\x00\x00\x00\x02\x08\x02")
		case "odd":
			say("\x00\x00\x00\x00\x0c\x12\x03abc\x1d1234\x08\x01"[:5] + "\x12\x03abc\x1d1234\x08\x01")
		case "broken":
			say("\x00\x00\x00\x00\x03\x08\x01")
		case "mute":
			w.WriteHeader(200)
		default:
			w.Header().Set("Grpc-Status", "5")
			w.Header().Set("Grpc-Message", "unknown service")
		}
	}
	cert := tlstest.Certificate(t, "ecdsa")
	for protocol, address := range map[string]string{"h2c": origin(t, nil, h2c, handler), "h2": origin(t, &tls.Config{Certificates: []tls.Certificate{cert}}, h2, handler)} {
		var trust *tls.Config
		if protocol == "h2" {
			trust = &tls.Config{InsecureSkipVerify: true}
		}
		for service, want := range map[string]string{
			"": "SERVING", "down": "NOT_SERVING", "gone": "grpc-status 5: unknown service", "broken": "malformed HealthCheckResponse", "mute": "no grpc-status in the response", "odd": "SERVING",
		} {
			expect(t, protocol+" "+service, ask(t, "{type: grpc, service: '"+service+"'}", address, protocol, trust), want == "SERVING", want)
		}
	}
	expect(t, "no gRPC", ask(t, "{type: grpc}", origin(t, nil, h2c, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(404) }), "h2c", nil), false, "status 404, expected gRPC over 200")
}

// What an endpoint sends is taken for what it is, or refused.
func FuzzGRPCStatus(f *testing.F) {
	for _, s := range []string{"", "\x00\x00\x00\x00\x02\x08\x01", "\x00\x00\x00\x00\x05\x0a\x01a\x08\x01", "\x01\x00\x00\x00\x00", "\x00\x00\x00\x00\x03\x0a\xff\x01"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, ok := grpcStatus(b); ok && (len(b) < 5 || b[0] != 0) {
			t.Error("taken without a prefix")
		}
	})
}
