package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"zproxy/internal/tlstest"
)

// zproxy ctl does what the API does, and says so in words.
func TestCtl(t *testing.T) {
	one, two := startNumbered(t, 1), startNumbered(t, 2)
	held := startOrigin(t, func(o *originConn) {
		o.request()
		io.Copy(io.Discard, o.br)
	})
	u := startUnixAdmin(t, fmt.Sprintf(`
access_log: {path: %q}
listeners: [{address: LISTEN}]
upstreams: {app: {endpoints: [{address: %q}, {address: %q}]}, stuck: {endpoints: [{address: %q}], timeouts: {response: 60s}}}
routes: [{path: /stuck, upstream: stuck}, {path: "/*", upstream: app}]
`, t.TempDir()+"/access.log", one, two, held.addr))
	says := func(status int, want string, args ...string) string {
		t.Helper()
		got, out, errOut := command(t, append([]string{"ctl", "-c", u.file}, args...)...)
		if got != status || !regexp.MustCompile(want).MatchString(out+errOut) {
			t.Errorf("ctl %s: status %d, expected %d and %s:\n%s%s", strings.Join(args, " "), got, status, want, out, errOut)
		}
		return out
	}
	says(0, `process \d+, .* ready, .* 0 changes by hand`, "status")
	says(0, `app +http1 +`+regexp.QuoteMeta(one)+` +enabled +1 +yes`, "upstreams")
	says(0, `(?s)nothing was changed by hand.*a reload would change nothing`, "diff")
	says(0, one+" is drained", "drain", "app", one)
	says(0, `drained +app +`+regexp.QuoteMeta(one)+` +weight 0 +weight 1 +2`, "diff")
	says(0, one+" is enabled", "enable", "app", one)
	says(0, "weight of "+two+" is 5", "weight", "app", two, "5")
	says(0, `enabled +5\* +yes`, "upstreams")
	says(0, "is own", "weight", "app", two, "own")
	says(0, "is added", "add", "app", held.addr, "7")
	says(0, `enabled,added +7 +yes`, "upstreams")
	says(0, "is removed", "remove", "app", held.addr)
	says(1, "last endpoint", "remove", "stuck", held.addr)
	says(0, `^info\n`, "log")
	says(0, "log level is error", "log", "error")
	says(0, `log level +- +- +error +info`, "diff")
	says(0, "log level is own", "log", "own")
	says(0, "reopened", "rotate")
	says(0, "upstreams: {app:", "config")
	says(0, "in force", "reload")
	says(0, "in force", "put", u.file)
	says(1, "found an unknown key", "put", writeFile(t, filepath.Join(t.TempDir(), "wrong.yaml"), "nonsense: 1\n"))
	endsByCtl(t, u, says)
	var list struct{ Items []struct{ Name string } }
	if err := json.Unmarshal([]byte(says(0, "app", "-json", "upstreams")), &list); err != nil || len(list.Items) != 2 {
		t.Errorf("-json: %v, %+v", err, list)
	}
	says(1, "there is none", "end", "connection", "0-1234")
	says(2, "unknown command", "frobnicate")
	says(2, "usage", "drain", "app")
}

// endsByCtl: a request that hangs is listed, and can be ended.
func endsByCtl(t *testing.T, u *unixAdmin, says func(status int, want string, args ...string) string) {
	t.Helper()
	ended := make(chan int, 1)
	go func() {
		res, err := once.Get("http://" + u.addr + "/stuck")
		if err != nil {
			ended <- 0
			return
		}
		res.Body.Close()
		ended <- res.StatusCode
	}()
	id := ""
	eventually(t, patience, "the request is listed", func() (bool, string) {
		_, out, errOut := command(t, "ctl", "-c", u.file, "exchanges", "-route", "/stuck", "-older", "1ms")
		if found := regexp.MustCompile(`(?m)^(\S+) .* /stuck .*the origin to respond$`).FindStringSubmatch(out); found != nil {
			id = found[1]
		}
		return id != "", out + errOut
	})
	says(0, `request +1 +1 +0 +stuck`, "connections")
	says(0, `endpoint|CONNECTION`, "streams", "-all")
	says(0, "is ended", "end", "exchange", id)
	if got := <-ended; got != http.StatusServiceUnavailable {
		t.Errorf("what was ended got %d", got)
	}
	says(0, `/stuck +503 .*ended by an administrator`, "failures")
	says(0, `TIME`, "trace", "-for", "10ms")
}

// By a port, with TLS, a token says who may look and who may change something; a reload takes tokens away.
func TestCtlByTokens(t *testing.T) {
	dir := t.TempDir()
	cert, key := tlstest.PEM(t, tlstest.Certificate(t, "ecdsa"))
	writeFile(t, filepath.Join(dir, "a.pem"), string(cert))
	writeFile(t, filepath.Join(dir, "a.key"), string(key))
	reader := writeFile(t, filepath.Join(dir, "reader"), strings.Repeat("r", 32)+"\n")
	writer := writeFile(t, filepath.Join(dir, "writer"), strings.Repeat("w", 32)+"\n")
	other := writeFile(t, filepath.Join(dir, "other"), strings.Repeat("o", 32)+"\n")
	text := `
admin:
  address: "ADMIN"
  tls: {cert: a.pem, key: a.key}
  tokens: [{name: reader, file: reader}, {name: writer, file: writer, access: write}]
listeners: [{address: LISTEN}]
routes: [{path: "/*", respond: {body: one}}]
`
	text = strings.NewReplacer("ADMIN", freeAddr(t), "LISTEN", freeAddr(t)).Replace(text)
	file := writeFile(t, filepath.Join(dir, "zproxy.yaml"), text)
	for _, secret := range []string{"a.key", "reader", "writer"} {
		if err := os.Chmod(filepath.Join(dir, secret), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	z := spawn(t, zproxyBin, "run", "-c", file)
	eventually(t, patience, "a reader is let in", func() (bool, string) {
		status, out, errOut := command(t, "ctl", "-c", file, "-token", reader, "status")
		return status == 0, out + errOut + tail(z.out.String())
	})
	for _, c := range []struct {
		token, what string
		status      int
		says        string
	}{
		{reader, "rotate", 1, "read only"},
		{writer, "log", 0, "info"},
		{other, "status", 1, "missing or wrong"},
		{filepath.Join(dir, "nowhere"), "status", 1, "no such file"},
		{writer, "reload", 0, "in force"},
	} {
		if status, out, errOut := command(t, "ctl", "-c", file, "-token", c.token, c.what); status != c.status || !strings.Contains(out+errOut, c.says) {
			t.Errorf("%s with %s: status %d, expected %d and %q: %s%s", c.what, filepath.Base(c.token), status, c.status, c.says, out, errOut)
		}
	}
	writeFile(t, file, strings.Replace(text, "{name: reader, file: reader}, ", "", 1))
	if status, out, errOut := command(t, "ctl", "-c", file, "-token", writer, "reload"); status != 0 {
		t.Fatalf("reload: %s%s", out, errOut)
	}
	if status, out, errOut := command(t, "ctl", "-c", file, "-token", reader, "status"); status != 1 {
		t.Errorf("a token that is no more is taken: %s%s", out, errOut)
	}
}

// What was changed by hand is so in the process that takes over, and can be undone there.
func TestChangesByHandOutliveAnUpgrade(t *testing.T) {
	one, two, three := startNumbered(t, 1), startNumbered(t, 2), startNumbered(t, 3)
	u := startUnixAdmin(t, fmt.Sprintf(`
listeners: [{address: LISTEN}]
upstreams: {app: {endpoints: [{address: %q}, {address: %q}]}}
routes: [{path: "/*", upstream: app}]
`, one, two))
	first := u.cmd.Process.Pid
	t.Cleanup(func() { syscall.Kill(-first, syscall.SIGKILL) }) // the next process is of its group
	ctl := func(args ...string) string {
		t.Helper()
		status, out, errOut := command(t, append([]string{"ctl", "-c", u.file}, args...)...)
		if status != 0 {
			t.Fatalf("ctl %v: %s%s", args, out, errOut)
		}
		return out
	}
	ctl("add", "app", three, "4")
	ctl("remove", "app", one)
	ctl("disable", "app", two)
	ctl("log", "warn")
	before := ctl("diff")
	for _, want := range []string{"disabled", "added", "removed", "log level", "a reload would change nothing"} {
		if !strings.Contains(before, want) {
			t.Errorf("it lacks %s:\n%s", want, before)
		}
	}
	if status, out, errOut := command(t, "upgrade", "-c", u.file); status != 0 {
		t.Fatalf("%s%s", out, errOut)
	}
	if after := ctl("diff"); after != before {
		t.Errorf("behind an upgrade:\n%sbefore:\n%s", after, before)
	}
	if got := which(t, u.addr, 20); got["3"] != 20 {
		t.Errorf("behind an upgrade %v have answered", got)
	}
	ctl("remove", "app", three)
	ctl("add", "app", one)
	ctl("enable", "app", two)
	ctl("log", "own")
	if after := ctl("diff"); !strings.Contains(after, "nothing was changed by hand") {
		t.Errorf("all is undone:\n%s", after)
	}
}
