package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"zproxy/internal/tlstest"
)

// translation is a configuration of another program, and requests that it and its translation answer alike. In the
// texts LISTEN, LISTEN2 and LISTEN3 stand for addresses, ORIGIN_A, ORIGIN_B, ORIGIN_C, H2C and ORIGIN_TLS for origins, DEAD for an address where
// nobody listens, DIR for the folder of the files.
type translation struct {
	name     string
	config   string
	files    map[string]string
	lost     []string // the directives that have no equivalent
	requests []asking
}

// asking is a request, or many of them.
type asking struct {
	method  string // default: GET
	url     string // the host is what is asked for; https: within TLS
	to      string // default: LISTEN
	fields  string // "Name: value", one a line
	body    string
	status  int    // of both
	differs int    // ... but for this one of the translation, as docs/convert.md says
	bodies  bool   // bodies of responses that the programs make themselves are equal as well
	times   int    // how often, counted by origin
	unnamed bool   // ... whichever origin it is
	ws      bool   // a WebSocket, over which one message goes
	h2c     bool   // by HTTP/2 without TLS
	await   bool   // until the status is that: health checks take a moment
	want    string // in the response's body
	headers []string
}

// stage is the world of one translation.
type stage struct {
	t      *testing.T
	dir    string
	names  *strings.Replacer // origins and files
	listen [2]map[string]string
	roots  *x509.CertPool
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{t: t, dir: t.TempDir(), roots: x509.NewCertPool()}
	if err := os.Chmod(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	dead := freeAddr(t)
	cert := tlstest.Certificate(t, "ecdsa")
	s.roots.AddCert(cert.Leaf)
	pem, key := tlstest.PEM(t, cert)
	writeFile(t, filepath.Join(s.dir, "cert.pem"), string(pem))
	writeFile(t, filepath.Join(s.dir, "key.pem"), string(key))
	writeFile(t, filepath.Join(s.dir, "both.pem"), string(pem)+string(key))
	s.names = strings.NewReplacer("H2C", echoOrigin(t, "h2c"), "ORIGIN_A", echoOrigin(t, "a"), "ORIGIN_B", echoOrigin(t, "b"),
		"ORIGIN_C", echoOrigin(t, "c"), "ORIGIN_TLS", echoOrigin(t, "tls"), "DEAD", dead, "DIR", s.dir)
	for i := range s.listen {
		s.listen[i] = map[string]string{}
		for _, name := range []string{"LISTEN", "LISTEN2", "LISTEN3"} {
			s.listen[i][name] = freeAddr(t)
		}
	}
	return s
}

// write writes the files that go with the configuration of the original, 0, or with that which is translated, 1.
func (s *stage) write(which int, files map[string]string) {
	s.t.Helper()
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(s.dir, name)), 0o755); err != nil {
			s.t.Fatal(err)
		}
		writeFile(s.t, filepath.Join(s.dir, name), s.render(which, text))
	}
}

// render is a text for the original, 0, or for the translation, 1.
func (s *stage) render(which int, text string) string {
	l := s.listen[which]
	text = strings.NewReplacer("LISTEN2", l["LISTEN2"], "LISTEN3", l["LISTEN3"], "LISTEN", l["LISTEN"]).Replace(text)
	return s.names.Replace(text)
}

// echoOrigin says in its responses what it was asked for; "h2c" speaks HTTP/2 without TLS, "tls" speaks HTTP/1 within TLS.
func echoOrigin(t *testing.T, name string) string {
	t.Helper()
	h2c := name == "h2c"
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
			echoMessage(w, r)
			return
		}
		body, _ := io.ReadAll(r.Body)
		fields := map[string][]string{}
		for field, values := range r.Header {
			switch field {
			case "Connection", "Te", "User-Agent", "Accept-Encoding", "Content-Length", "X-Request-Id", "X-Forwarded-Proto", "X-Forwarded-Host":
			default:
				fields[field] = values
			}
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Origin", name)
		w.Header().Set("X-Powered-By", "echo")
		if h2c {
			w.Header().Set("Content-Type", "application/grpc")
			w.Header().Set("Trailer", "Grpc-Status")
			defer w.Header().Set("Grpc-Status", "0")
		}
		switch status := r.URL.Query().Get("status"); status {
		case "":
		case "404":
			w.WriteHeader(404)
		case "503":
			w.WriteHeader(503)
		}
		json.NewEncoder(w).Encode(map[string]any{"origin": name, "method": r.Method, "uri": r.RequestURI, "host": r.Host, "fields": fields, "body": string(body)})
	}))
	if h2c {
		server.Config.Protocols = new(http.Protocols)
		server.Config.Protocols.SetUnencryptedHTTP2(true)
	}
	if name == "tls" {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func echoMessage(w http.ResponseWriter, r *http.Request) {
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return
	}
	defer ws.CloseNow()
	kind, data, err := ws.Read(r.Context())
	if err == nil {
		err = ws.Write(r.Context(), kind, append([]byte(r.URL.Path+" "), data...))
	}
	if err == nil {
		ws.Close(websocket.StatusNormalClosure, "")
	}
}

// convertible translates a configuration, and looks at what is said to be lost.
func (s *stage) convertible(program, config string, lost []string) string {
	s.t.Helper()
	file := writeFile(s.t, filepath.Join(s.dir, "converted.conf"), config)
	var out, errOut bytes.Buffer
	cmd := exec.Command(zproxyBin, "convert", program, file)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	_ = cmd.Run() // its status is looked at
	var found []string
	for _, line := range strings.Split(errOut.String(), "\n") {
		if _, what, ok := strings.Cut(line, ": no equivalent: "); ok {
			directive, _, _ := strings.Cut(what, ": ")
			found = append(found, directive)
		}
	}
	slices.Sort(found)
	found = slices.Compact(found)
	want := slices.Clone(lost)
	slices.Sort(want)
	if !slices.Equal(found, want) || strings.Contains(errOut.String(), "by hand") {
		s.t.Fatalf("without equivalent are %q, want %q; it said:\n%s\nof\n%s\n%s", found, want, errOut.String(), config, out.String())
	}
	status := map[bool]int{false: 0, true: 3}[len(lost) > 0]
	if cmd.ProcessState.ExitCode() != status {
		s.t.Fatalf("status %d, want %d:\n%s", cmd.ProcessState.ExitCode(), status, errOut.String())
	}
	return out.String()
}

// translated runs the original and, on each backend, the translation, and compares what they answer.
func translated(t *testing.T, program string, tr translation, run func(*stage, string)) {
	t.Helper()
	t.Parallel()
	s := newStage(t)
	s.write(0, tr.files)
	run(s, s.render(0, tr.config))
	s.write(1, tr.files)
	text := s.convertible(program, s.render(1, tr.config), tr.lost)
	want := make([]string, len(tr.requests))
	for i, a := range tr.requests {
		want[i] = s.ask(0, a)
	}
	for _, io := range backends {
		t.Run(io, func(t *testing.T) {
			z := &stage{t: t, dir: s.dir, names: s.names, listen: s.listen, roots: s.roots}
			start(t, io, text)
			for i, a := range tr.requests {
				if a.differs != 0 {
					a.status = a.differs
					z.ask(1, a)
				} else if got := z.ask(1, a); got != want[i] {
					t.Errorf("%s %s: %s has\n%s\nthe translation\n%s\n%s", a.method, a.url, program, want[i], got, text)
				}
			}
		})
	}
}

// ask sends a request, and gives what counts of the response as a text.
func (s *stage) ask(which int, a asking) string {
	s.t.Helper()
	to := s.listen[which][map[bool]string{true: "LISTEN", false: a.to}[a.to == ""]]
	transport := &http.Transport{DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", to)
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	if a.h2c {
		transport.Protocols = new(http.Protocols)
		transport.Protocols.SetUnencryptedHTTP2(true)
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if a.ws {
		return s.converse(client, a)
	}
	if a.await {
		s.await(client, a)
	}
	if a.times == 0 {
		return s.one(client, to, a)
	}
	counts := map[string]int{}
	for range a.times {
		res, err := client.Do(s.request(a))
		if err != nil {
			s.t.Fatalf("%s: %v", a.url, err)
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
		counts[fmt.Sprint(res.StatusCode, " ", res.Header.Get("X-Origin"))]++
	}
	if a.unnamed {
		return fmt.Sprint(slices.Sorted(maps.Values(counts)))
	}
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(&b, "%s: %d\n", key, counts[key])
	}
	return b.String()
}

func (s *stage) request(a asking) *http.Request {
	s.t.Helper()
	method := a.method
	if method == "" {
		method = "GET"
	}
	req, err := http.NewRequest(method, a.url, strings.NewReader(a.body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("User-Agent", "test")
	for _, field := range strings.Split(a.fields, "\n") {
		if name, value, ok := strings.Cut(field, ": "); ok {
			req.Header.Add(name, value)
		}
	}
	return req
}

// await asks again and again until the status is the right one.
func (s *stage) await(client *http.Client, a asking) {
	s.t.Helper()
	eventually(s.t, patience, fmt.Sprintf("%s has status %d", a.url, a.status), func() (bool, string) {
		res, err := client.Do(s.request(a))
		if err != nil {
			return false, err.Error()
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
		return res.StatusCode == a.status, res.Status
	})
}

func (s *stage) one(client *http.Client, to string, a asking) string {
	s.t.Helper()
	req := s.request(a)
	res, err := client.Do(req)
	if err != nil {
		s.t.Fatalf("%s %s: %v", a.method, a.url, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatalf("%s %s: %v", a.method, a.url, err)
	}
	if res.StatusCode != a.status {
		s.t.Errorf("%s %s: status %d, want %d: %s", a.method, a.url, res.StatusCode, a.status, body)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "status %d\n", res.StatusCode)
	if location := res.Header.Get("Location"); location != "" {
		u, err := req.URL.Parse(location)
		if err != nil {
			s.t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(to)
		if u.Port() == port { // nginx has its own port in it
			u.Host = u.Hostname()
		}
		if u.Path == "" {
			u.Path = "/"
		}
		fmt.Fprintf(&b, "location %s\n", u)
	}
	for _, name := range append([]string{"X-Origin", "X-Powered-By", "Grpc-Status"}, a.headers...) {
		if values := append(res.Header.Values(name), res.Trailer.Values(name)...); len(values) > 0 {
			fmt.Fprintf(&b, "%s: %q\n", name, values)
		}
	}
	if a.bodies || res.Header.Get("X-Origin") != "" {
		// Pages of nginx and HAProxy come without a charset.
		fmt.Fprintf(&b, "type %s\n%s\n", strings.TrimSuffix(res.Header.Get("Content-Type"), "; charset=utf-8"), body)
	}
	if !strings.Contains(string(body), a.want) {
		s.t.Errorf("%s %s: the body is %q, want %q in it", a.method, a.url, body, a.want)
	}
	return b.String()
}

// converse sends a message over a WebSocket and gives what comes back.
func (s *stage) converse(client *http.Client, a asking) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	u, _ := url.Parse(a.url)
	ws, _, err := websocket.Dial(ctx, u.String(), &websocket.DialOptions{HTTPClient: client})
	if err != nil {
		s.t.Fatalf("%s: %v", a.url, err)
	}
	defer ws.CloseNow()
	if err := ws.Write(ctx, websocket.MessageText, []byte("hello")); err != nil {
		s.t.Fatal(err)
	}
	_, data, err := ws.Read(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	ws.Close(websocket.StatusNormalClosure, "")
	return string(data)
}
