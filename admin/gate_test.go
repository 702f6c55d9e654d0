package admin

import (
	"context"
	"crypto/sha256"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// gatedFake is a fake with tokens, which writes down what is audited.
type gatedFake struct {
	fake
	gate   *Gate
	mu     sync.Mutex
	audits []Audit
}

func (f *gatedFake) Gate() *Gate { return f.gate }

func (f *gatedFake) Process() Process { return Process{PID: 7} }

func (f *gatedFake) RotateLogs() error { return nil }

func (f *gatedFake) Audit(a Audit) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.audits = append(f.audits, a)
}

// fakeListener is on a loopback address and says that it is elsewhere.
type fakeListener struct{ net.Listener }

func (fakeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 9901} }

const (
	readToken  = "a token that reads"
	writeToken = "a token that writes"
)

func twoTokens() *Gate {
	return &Gate{Tokens: []Token{{"reader", sha256.Sum256([]byte(readToken)), false}, {"writer", sha256.Sum256([]byte(writeToken)), true}}}
}

// Who gets in, and who does not.
func TestWhoGetsIn(t *testing.T) {
	const shows, changes, configures, reloads = "GET /api/v1/process", "POST /api/v1/logs/rotate", "GET /api/v1/config", "POST /reload"
	for _, c := range []struct {
		what    string
		where   string // "loopback", "elsewhere" or "unix"
		tokens  bool
		ask     string
		headers string // NAME: VALUE, by |
		want    int
	}{
		{"anybody on this machine looks", "loopback", false, shows, "", 200},
		{"anybody on this machine changes", "loopback", false, changes, "", 403},
		{"by localhost", "loopback", false, shows, "Host: localhost:9901", 200},
		{"by an address of IPv6", "loopback", false, shows, "Host: [::1]:9901", 200},
		{"by a name that leads here", "loopback", false, shows, "Host: evil.example:9901", 403},
		{"by a name that begins like an address", "loopback", false, shows, "Host: 127.0.0.1.evil.example", 403},
		{"a page from elsewhere looks", "loopback", false, shows, "Origin: http://evil.example", 403},
		{"a page without origin looks", "loopback", false, shows, "Origin: null", 403},
		{"a page from elsewhere looks without Origin", "loopback", false, shows, "Sec-Fetch-Site: cross-site", 403},
		{"a page of a sibling looks", "loopback", false, shows, "Sec-Fetch-Site: same-site", 403},
		{"the own page looks", "loopback", false, shows, "Sec-Fetch-Site: same-origin", 200},
		{"the own page changes", "unix", false, changes, "Sec-Fetch-Site: same-origin", 403},
		{"a page from elsewhere changes", "unix", false, changes, "Origin: http://evil.example", 403},
		{"who may open the socket looks", "unix", false, shows, "", 200},
		{"who may open the socket changes", "unix", false, changes, "", 200},
		{"who may open the socket by a name", "unix", false, shows, "Host: zproxy", 200},
		{"who may open the socket by a number", "unix", false, shows, "Host: 127.0.0.1:9901", 200},
		{"a socket that ssh forwards, by a name that leads there", "unix", false, shows, "Host: evil.example:9901", 403},
		{"a change there", "unix", false, changes, "Host: evil.example:9901", 403},
		{"anybody on this machine reads the configuration", "loopback", false, configures, "", 403},
		{"who may open the socket reads it", "unix", false, configures, "", 200},
		{"a reader reads it", "loopback", true, configures, "Authorization: Bearer " + readToken, 200},
		{"the old reload by anybody on this machine", "loopback", false, reloads, "", 200},
		{"the old reload by a page", "loopback", false, reloads, "Origin: http://HOST", 403},
		{"from elsewhere without tokens", "elsewhere", false, shows, "Host: 192.0.2.1", 403},
		{"from elsewhere with a token in clear", "elsewhere", true, shows, "Authorization: Bearer " + writeToken, 403},
		{"no token", "loopback", true, shows, "", 401},
		{"no token for a change", "loopback", true, changes, "", 401},
		{"an empty token", "loopback", true, shows, "Authorization: Bearer ", 401},
		{"a wrong token", "loopback", true, shows, "Authorization: Bearer wrong", 401},
		{"the beginning of a token", "loopback", true, shows, "Authorization: Bearer " + readToken[:5], 401},
		{"a token by another scheme", "loopback", true, shows, "Authorization: Basic " + readToken, 401},
		{"a reader looks", "loopback", true, shows, "Authorization: Bearer " + readToken, 200},
		{"a reader changes", "loopback", true, changes, "Authorization: Bearer " + readToken, 403},
		{"a writer looks", "loopback", true, shows, "Authorization: Bearer " + writeToken, 200},
		{"a writer changes", "loopback", true, changes, "Authorization: Bearer " + writeToken, 200},
		{"a writer's page changes", "loopback", true, changes, "Authorization: Bearer " + writeToken + "|Origin: http://HOST", 403},
		{"a writer's page looks", "loopback", true, shows, "Authorization: Bearer " + writeToken + "|Origin: http://HOST", 200},
		{"a writer from a page from elsewhere", "loopback", true, shows, "Authorization: Bearer " + writeToken + "|Origin: http://evil.example", 403},
		{"a writer by any name", "loopback", true, shows, "Authorization: Bearer " + writeToken + "|Host: proxy.example", 200},
		{"a change by GET", "loopback", true, "GET /api/v1/logs/rotate", "Authorization: Bearer " + writeToken, 405},
		{"metrics without a token", "loopback", true, "GET /metrics", "", 401},
		{"metrics with one", "loopback", true, "GET /metrics", "Authorization: Bearer " + readToken, 200},
		{"health without one", "loopback", true, "GET /healthz", "", 200},
		{"the old reload by a reader", "loopback", true, reloads, "Authorization: Bearer " + readToken, 403},
		{"the old reload by a writer", "loopback", true, reloads, "Authorization: Bearer " + writeToken, 200},
		{"the old reload without a token", "loopback", true, reloads, "", 401},
	} {
		t.Run(c.what, func(t *testing.T) {
			f := new(gatedFake)
			if c.tokens {
				f.gate = twoTokens()
			}
			client, host := gatedServer(t, f, c.where)
			method, path, _ := strings.Cut(c.ask, " ")
			req, err := http.NewRequest(method, "http://"+host+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, h := range strings.Split(c.headers, "|") {
				name, value, _ := strings.Cut(strings.ReplaceAll(h, "HOST", host), ": ")
				if name == "Host" {
					req.Host = value
				} else if name != "" {
					req.Header.Set(name, value)
				}
			}
			res, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			text, _ := io.ReadAll(res.Body)
			res.Body.Close()
			if res.StatusCode != c.want {
				t.Errorf("%d, expected %d: %s", res.StatusCode, c.want, text)
			}
			if c.want == 401 && res.Header.Get("WWW-Authenticate") == "" {
				t.Error("it does not say how to be let in")
			}
			if c.ask == changes || c.ask == reloads {
				f.checkAudit(t, c.ask, c.want == 200, c.where, c.tokens)
			} else if len(f.audits) > 0 {
				t.Errorf("audited: %+v", f.audits)
			}
		})
	}
}

// checkAudit: a change, and an attempt, leave one line.
func (f *gatedFake) checkAudit(t *testing.T, what string, done bool, where string, tokens bool) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.audits) != 1 || f.audits[0].What != what || (f.audits[0].Outcome == "done") != done {
		t.Fatalf("audited: %+v", f.audits)
	}
	who := "loopback"
	switch {
	case where == "unix":
		who = "uid " + strconv.Itoa(os.Getuid())
	case tokens:
		who = "token writer"
	}
	if done && f.audits[0].Who != who {
		t.Errorf("it was %q, expected %q", f.audits[0].Who, who)
	}
}

// gatedServer serves f, and gives a client and what it calls the server.
func gatedServer(t *testing.T, f *gatedFake, where string) (*http.Client, string) {
	t.Helper()
	network, address := "tcp", "127.0.0.1:0"
	if where == "unix" {
		network, address = "unix", filepath.Join(t.TempDir(), "s")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	dial := l.Addr().String()
	if where == "elsewhere" {
		l = fakeListener{l}
	}
	s, err := ServeOn(l, address, f, slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	host := dial
	if where == "unix" {
		host = "localhost"
	}
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, dial)
	}}}, host
}

// Whatever is given, all tokens are compared.
func TestMatch(t *testing.T) {
	tokens := twoTokens().Tokens
	for given, want := range map[string]string{readToken: "reader", writeToken: "writer"} {
		if m := match(tokens, given); m == nil || m.Name != want {
			t.Errorf("%q is of %v, expected %s", given, m, want)
		}
	}
	for _, given := range []string{"", readToken + "x", readToken[1:], strings.ToUpper(readToken)} {
		if m := match(tokens, given); m != nil {
			t.Errorf("%q is taken for that of %s", given, m.Name)
		}
	}
	if !slices.ContainsFunc(operations(), func(o operation) bool { return o.writes }) {
		t.Error("nothing is changed by the API")
	}
	for _, o := range operations() {
		if o.writes && o.method == "GET" {
			t.Errorf("GET %s changes something", o.path)
		}
	}
}
