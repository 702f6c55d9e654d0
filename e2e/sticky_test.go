package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const sticking = `
loops: 2
listeners: [{address: LISTEN, protocols: [http1, h2c]}]
upstreams: {app: {%s sticky: {cookie: at, secret_file: %s, max_age: 1h}, endpoints: [%s]}}
routes: [{path: "/*", upstream: app}]
`

// visit sends a request with a cookie, or without if it is "", and says who answered and which cookie was set.
func visit(t *testing.T, addr, cookie string) (by, set, attributes string) {
	t.Helper()
	req, err := http.NewRequest("GET", "http://"+addr+"/which", nil)
	if err != nil {
		t.Fatal(err)
	}
	if cookie != "" {
		req.Header.Set("Cookie", "other=1; at="+cookie+"; more=2")
	}
	resp, err := once.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("%d, %q, %v", resp.StatusCode, b, err)
	}
	if n := len(resp.Header.Values("Set-Cookie")); n > 1 {
		t.Fatalf("%d cookies", n)
	}
	set, attributes, _ = strings.Cut(resp.Header.Get("Set-Cookie"), "; ")
	return string(b), strings.TrimPrefix(set, "at="), attributes
}

// Clients come back to who served them, whichever loop they meet, over a reload, and while it is drained; when it has
// gone they are told of another. What is no token says nothing.
func TestStickySessions(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		var addrs []string
		for i := range 4 {
			addrs = append(addrs, startNumbered(t, i))
		}
		secret := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(secret, []byte("0123456789abcdef0123456789abcdef\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		text := func(more string, addrs ...string) string {
			return "io: " + backend + "\n" + fmt.Sprintf(sticking, more, secret, `{address: "`+strings.Join(addrs, `"}, {address: "`)+`"}`)
		}
		u := startUnixAdmin(t, text("", addrs...))
		tokens := map[string]string{} // by endpoint
		for len(tokens) < len(addrs) {
			by, set, attributes := visit(t, u.addr, "")
			if len(set) != 20 || attributes != "Path=/; HttpOnly; SameSite=Lax; Max-Age=3600" {
				t.Fatalf("%q, %q", set, attributes)
			}
			if was := tokens[by]; was != "" && was != set {
				t.Fatalf("tokens of one endpoint: %q, %q", was, set)
			}
			tokens[by] = set
		}
		stays := func(what string) {
			t.Helper()
			for by, token := range tokens {
				for range 10 {
					if at, set, _ := visit(t, u.addr, token); at != by || set != "" {
						t.Fatalf("%s: who was with %s is with %s and gets %q", what, by, at, set)
					}
				}
			}
		}
		stays("at first")
		if status, says := u.put(t, u.whole(text("balance: random,", addrs[0], addrs[2], addrs[3], addrs[1]))); status != 200 {
			t.Fatalf("%d: %s", status, says)
		}
		stays("behind a reload")
		if status, says := u.weigh(t, addrs[1], "0"); status != 200 {
			t.Fatalf("%d: %s", status, says)
		}
		stays("while one is drained")
		for range 30 {
			if by, _, _ := visit(t, u.addr, ""); by == "1" {
				t.Fatal("a new client is with who is drained")
			}
		}
		token := []byte(tokens["2"])
		token[3] ^= 1
		if _, set, _ := visit(t, u.addr, string(token)); len(set) != 20 {
			t.Errorf("who says what is no token gets %q", set)
		}
		if status, says := u.put(t, u.whole(text("", addrs[0], addrs[2], addrs[3]))); status != 200 {
			t.Fatalf("%d: %s", status, says)
		}
		at, set, _ := visit(t, u.addr, tokens["1"])
		if at == "1" || set != tokens[at] {
			t.Errorf("who was with one that is gone is with %s and gets %q", at, set)
		}
	})
}

// A client of HTTP/2 is told, too; and it is told of another endpoint when the one it has a token for dies.
func TestStickyEndpointDies(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		m := startMany(t, 2)
		secret := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(secret, []byte("0123456789abcdef"), 0o600); err != nil {
			t.Fatal(err)
		}
		z := start(t, backend, fmt.Sprintf(sticking, "retries: 2,", secret, m.config()))
		protocols := new(http.Protocols)
		protocols.SetUnencryptedHTTP2(true)
		tr := &http.Transport{Protocols: protocols}
		t.Cleanup(tr.CloseIdleConnections)
		c := &http.Client{Transport: tr, Timeout: patience}
		ask := func(cookie string) (by, set string) {
			t.Helper()
			req, _ := http.NewRequest("GET", "http://"+z.addr+"/", nil)
			if cookie != "" {
				req.Header.Set("Cookie", cookie)
			}
			resp, err := c.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode != 200 || resp.ProtoMajor != 2 {
				t.Fatalf("%s %s", resp.Proto, resp.Status)
			}
			set, _, _ = strings.Cut(resp.Header.Get("Set-Cookie"), ";")
			return resp.Header.Get("X-Served-By"), set
		}
		by, cookie := ask("")
		for range 10 {
			if at, set := ask(cookie); at != by || set != "" {
				t.Fatalf("who was with %s is with %s and gets %q", by, at, set)
			}
		}
		for i, addr := range m.addrs {
			if addr == by {
				m.servers[i].Close()
			}
		}
		other, next := ask(cookie)
		if other == by || next == "" || next == cookie {
			t.Fatalf("when %s has died: %s, %q", by, other, next)
		}
		if at, set := ask(next); at != other || set != "" {
			t.Errorf("who was told of %s is with %s and gets %q", other, at, set)
		}
	})
}
