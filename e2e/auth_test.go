package e2e

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

// startTellingUser runs an origin that tells which fields and trailers it gets that say who asks.
func startTellingUser(t *testing.T) (addr string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		var told []string
		for _, fields := range []http.Header{r.Header, r.Trailer} {
			for name, values := range fields {
				if folded := strings.ReplaceAll(strings.ToLower(name), "_", "-"); folded == "x-user" || folded == "x-role" || folded == "authorization" || folded == "x-api-key" {
					told = append(told, fmt.Sprint(name, values))
				}
			}
		}
		sort.Strings(told)
		fmt.Fprint(w, strings.Join(told, " "))
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func basicField(name, password string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+password)) + "\r\n"
}

// htpasswd writes a file with names whose password is "open sesame".
func htpasswd(t *testing.T, cost int, more string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte("open sesame"), cost)
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, filepath.Join(t.TempDir(), "htpasswd"), "joe:"+string(hash)+"\n"+
		"old:$apr1$saltsalt$HIDXe7D36X22w1CH4M1cQ.\n"+
		"six:$6$saltsalt$e/5XKibXPLqVcfjpD.ouauaJrAOL5V0uo80Lt7n7EbRdRiCx3HbQ90yjOHr.G0T.mx79PEMRy8nmtr0qSYhQp1\n"+
		"sha:{SHA}W8r/fyL/UzygmbNAjq2HbA67qac=\n"+more)
}

// askedOnce sends a request to a server and says what there is to compare.
func askedOnce(t *testing.T, addr, request string) string {
	t.Helper()
	c := dial(t, addr)
	c.write(request)
	res, body := c.response("GET")
	text := fmt.Sprint(res.StatusCode, " ", strings.Join(res.Header.Values("WWW-Authenticate"), ", "), " ", res.Header.Get("Location"))
	if res.StatusCode == 200 {
		text += " " + body
	}
	return text
}

// The same requests get the same answers from nginx's auth_basic and auth_request.
func TestAuthenticationBesideNginx(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		origin, users := startTellingUser(t), htpasswd(t, 6, "")
		asked := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.Header.Get("Cookie") {
			case "who=joe":
				w.Header().Set("X-User", "joe")
			case "who=nobody":
				w.WriteHeader(http.StatusForbidden)
			default:
				w.Header().Set("WWW-Authenticate", `Login "here"`)
				w.WriteHeader(http.StatusUnauthorized)
			}
		}))
		t.Cleanup(asked.Close)
		server := asked.Listener.Addr().String()
		n := newNginx(t, freeAddr(t), "", fmt.Sprintf(`
			location /basic { auth_basic "Staff only"; auth_basic_user_file %s; proxy_set_header Authorization ""; proxy_set_header X-User $remote_user; proxy_pass http://%s; }
			location /asked { auth_request /check; auth_request_set $who $upstream_http_x_user; proxy_set_header X-User $who; proxy_pass http://%[2]s; }
			location = /check { internal; proxy_pass_request_body off; proxy_set_header Content-Length ""; proxy_pass http://%s; }`, users, origin, server), t.TempDir())
		if !n.start() {
			t.Fatalf("nginx does not start:\n%s", tail(n.out.String()))
		}
		z := start(t, backend, fmt.Sprintf(`
listeners: [{address: LISTEN}]
upstreams: {app: {endpoints: [{address: %q}]}, auth: {endpoints: [{address: %q}]}}
routes:
  - {path: /basic, upstream: app, filters: [{basic_auth: {realm: Staff only, file: %q, user_header: X-User}}]}
  - {path: /asked, upstream: app, filters: [{forward_auth: {upstream: auth, path: /check, take: [X-User]}}]}
`, origin, server, users))
		for _, c := range []struct{ target, fields, want string }{
			{"/basic", "", `401 Basic realm="Staff only" `},
			{"/basic", basicField("joe", "open sesame"), "200   X-User[joe]"},
			{"/basic", basicField("joe", "open sesame"), "200   X-User[joe]"},
			{"/basic", basicField("old", "open sesame"), "200   X-User[old]"},
			{"/basic", basicField("six", "open sesame"), "200   X-User[six]"},
			{"/basic", basicField("sha", "open sesame"), "200   X-User[sha]"},
			{"/basic", strings.Replace(basicField("joe", "open sesame"), "Basic", "bASIC", 1), "200   X-User[joe]"},
			{"/basic", basicField("joe", "open Sesame"), `401 Basic realm="Staff only" `},
			{"/basic", basicField("Joe", "open sesame"), `401 Basic realm="Staff only" `},
			{"/basic", basicField("none", "open sesame"), `401 Basic realm="Staff only" `},
			{"/basic", basicField("old", ""), `401 Basic realm="Staff only" `},
			{"/basic", "Authorization: Basic\r\n", `401 Basic realm="Staff only" `},
			{"/basic", "Authorization: Basic am9l\r\n", `401 Basic realm="Staff only" `},
			{"/basic", "Authorization: Basic !!!\r\n", `401 Basic realm="Staff only" `},
			{"/basic", "Authorization: Bearer am9lOm9wZW4gc2VzYW1l\r\n", `401 Basic realm="Staff only" `},
			{"/basic", "X-User: root\r\n" + basicField("joe", "open sesame"), "200   X-User[joe]"},
			{"/asked", "Cookie: who=joe\r\n", "200   X-User[joe]"},
			{"/asked", "Cookie: who=joe\r\nX-User: root\r\n", "200   X-User[joe]"},
			{"/asked", "Cookie: who=nobody\r\n", "403  "},
			{"/asked", "", `401 Login "here" `},
		} {
			request := "GET " + c.target + " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + c.fields + "\r\n"
			for name, addr := range map[string]string{"nginx": n.addr, "zproxy": z.addr} {
				if got := askedOnce(t, addr, request); got != c.want {
					t.Errorf("%s: %q: %q, want %q", name, request, got, c.want)
				}
			}
		}
		n.kill()
	})
}

// Nobody but the proxy says who asks.
func TestIdentityCannotBeForged(t *testing.T) {
	need(t, "curl")
	besides(t, func(t *testing.T, backend string) {
		z := start(t, backend, fmt.Sprintf(`
listeners: [{address: LISTEN, protocols: [http1, h2c]}]
upstreams: {app: {endpoints: [{address: %q}]}}
routes: [{path: "/*", upstream: app, filters: [{basic_auth: {file: %q, user_header: X-User}}]}]
access_log: {path: LOGFILE}
`, startTellingUser(t), htpasswd(t, 4, "")))
		const want = "X-User[joe]"
		right := basicField("joe", "open sesame")
		for _, fields := range []string{
			"X-User: root\r\n", "x-user: root\r\n", "X-USER: root\r\n", "X_User: root\r\n", "x_USER: root\r\n", "X-User: root\r\nX-User: root\r\n",
			"Connection: X-User\r\nX-User: root\r\n", "Connection: authorization\r\n", "X-User:\r\n",
		} {
			for _, order := range []string{fields + right, right + fields} {
				c := dial(t, z.addr)
				c.write("GET / HTTP/1.1\r\nHost: a\r\n" + order + "\r\n")
				if res, body := c.response("GET"); res.StatusCode != 200 || body != want {
					t.Errorf("%q: %d %s", order, res.StatusCode, body)
				}
			}
		}
		c := dial(t, z.addr)
		c.write("GET / HTTP/1.1\r\nHost: a\r\n" + right + "X-User: a\r\n b\r\n\r\n")
		if res := c.head("GET"); res.StatusCode != 400 {
			t.Errorf("a folded field: %d", res.StatusCode)
		}
		for _, trailer := range []string{"X-User", "x_user"} {
			c := dial(t, z.addr)
			c.write("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: " + trailer + "\r\n" + right + "\r\n1\r\na\r\n0\r\n" + trailer + ": root\r\n\r\n")
			if res, body := c.response("POST"); res.StatusCode != 200 || strings.Contains(body, "root") {
				t.Errorf("trailer %s: %d %s", trailer, res.StatusCode, body)
			}
		}
		for _, name := range []string{"X-User", "x_user"} {
			if got := curl(t, "--http2-prior-knowledge", "-u", "joe:open sesame", "-H", name+": root", "http://"+z.addr+"/"); got != want {
				t.Errorf("HTTP/2 with %s: %s", name, got)
			}
		}
		eventually(t, patience, "the log has the user", func() (bool, string) {
			b, _ := os.ReadFile(z.log)
			text := string(b)
			return strings.Count(text, `"user":"joe"`) >= 20 && !strings.Contains(text, "sesame"), text
		})
	})
}

// Requests wait for their passwords to be hashed: clients go away, the configuration is loaded anew, and the others get
// their answers.
func TestManyWaitForPasswords(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		z := start(t, backend, fmt.Sprintf(`
listeners: [{address: LISTEN, protocols: [http1, h2c]}]
upstreams: {app: {endpoints: [{address: %q}]}}
routes: [{path: "/*", upstream: app, filters: [{basic_auth: {file: %q, max_waiting: 10}}]}]
`, startTellingUser(t), htpasswd(t, 11, "")))
		var clients []*client
		for i := range 30 {
			c := dial(t, z.addr)
			password := "open sesame" // which is hashed once for all of them
			if i%3 == 0 {
				password = fmt.Sprint("wrong", i)
			}
			c.write("GET / HTTP/1.1\r\nHost: a\r\n" + basicField("joe", password) + "\r\n")
			clients = append(clients, c)
		}
		z.signal(t, syscall.SIGHUP)
		counts := map[int]int{}
		for i, c := range clients {
			if i%5 == 4 {
				c.Close()
				continue
			}
			res, _ := c.response("GET")
			counts[res.StatusCode]++
			if res.StatusCode == 200 && i%3 == 0 || res.StatusCode == 401 && i%3 != 0 {
				t.Errorf("client %d: %d", i, res.StatusCode)
			}
		}
		if counts[200]+counts[401]+counts[503] != 24 || counts[503] == 0 || counts[200] == 0 {
			t.Errorf("%v", counts)
		}
		// Whose password is known does not wait.
		c := dial(t, z.addr)
		c.write("GET / HTTP/1.1\r\nHost: a\r\n" + basicField("joe", "open sesame") + "\r\n")
		if res := c.head("GET"); res.StatusCode != 200 {
			t.Errorf("%d", res.StatusCode)
		}
	})
}

// A file that changes is read again; one that is no good changes nothing.
func TestKeysChange(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		file := filepath.Join(t.TempDir(), "keys")
		make := func(name string) (key, line string) {
			printed, err := exec.Command(zproxyBin, "apikey", name).CombinedOutput()
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(strings.TrimSpace(string(printed)), "\n")
			for _, one := range lines {
				if strings.HasPrefix(one, name+":") {
					line = one
				} else if !strings.Contains(one, " ") {
					key = one
				}
			}
			return key, line
		}
		key, line := make("one")
		writeFile(t, file, line+"\n")
		z := start(t, backend, fmt.Sprintf(`
listeners: [{address: LISTEN}]
upstreams: {app: {endpoints: [{address: %q}]}}
routes: [{path: "/*", upstream: app, filters: [{api_key: {file: %q, user_header: X-User, from: ["header:X-API-Key", "query:key"]}}]}]
`, startTellingUser(t), file))
		ask := func(key string) string {
			return askedOnce(t, z.addr, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-API-Key: "+key+"\r\n\r\n")
		}
		if got := ask(key); got != "200   X-User[one]" {
			t.Fatal(got)
		}
		if got := askedOnce(t, z.addr, "GET /?key="+key+" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); got != "200   X-User[one]" {
			t.Fatal(got)
		}
		writeFile(t, file, "one:"+key+"\n")
		eventually(t, patience, "the log says what is wrong", func() (bool, string) {
			text := z.out.String()
			return strings.Contains(text, "keys:1: expected the SHA-256") && !strings.Contains(text, key), text
		})
		if got := ask(key); got != "200   X-User[one]" {
			t.Fatal(got)
		}
		next, line := make("two")
		writeFile(t, file, line+"\n")
		eventually(t, patience, "the new key is known", func() (bool, string) {
			got := ask(next)
			return got == "200   X-User[two]", got
		})
		if got := ask(key); !strings.HasPrefix(got, "401 ") {
			t.Error(got)
		}
	})
}
