package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// unixAdmin is a proxy whose admin address is a unix socket.
type unixAdmin struct {
	*process
	dir, file, addr, socket string
	http                    *http.Client
}

// startUnixAdmin starts one with text, in which LISTEN is its address.
func startUnixAdmin(t *testing.T, text string, args ...string) *unixAdmin {
	t.Helper()
	for try := 1; ; try++ {
		dir := t.TempDir()
		u := &unixAdmin{dir: dir, file: filepath.Join(dir, "zproxy.yaml"), addr: freeAddr(t), socket: filepath.Join(dir, "admin.sock")}
		u.http = &http.Client{Timeout: patience, Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", u.socket)
			},
		}}
		u.write(t, text)
		u.process = spawn(t, zproxyBin, append([]string{"run", "-c", u.file}, args...)...)
		if u.listens("tcp", u.addr) && u.listens("unix", u.socket) {
			return u
		}
		if try == startTries {
			t.Fatalf("zproxy does not start:\n%s", tail(u.out.String()))
		}
	}
}

// whole is a configuration with text.
func (u *unixAdmin) whole(text string) string {
	return fmt.Sprintf("admin: {address: \"unix:%s\"}\n%s", u.socket, strings.ReplaceAll(text, "LISTEN", u.addr))
}

func (u *unixAdmin) write(t *testing.T, text string) { t.Helper(); writeFile(t, u.file, u.whole(text)) }

// put is PUT /config.
func (u *unixAdmin) put(t *testing.T, text string) (status int, says string) {
	t.Helper()
	return u.ask(t, "/config", text)
}

// ask is PUT of a path.
func (u *unixAdmin) ask(t *testing.T, path, text string) (status int, says string) {
	t.Helper()
	req, err := http.NewRequest("PUT", "http://admin"+path, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	res, err := u.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// body is what the proxy answers.
func (u *unixAdmin) body(t *testing.T) string { t.Helper(); return get(t, "http://"+u.addr+"/") }

const (
	saysOne = "listeners: [{address: LISTEN}]\nroutes: [{path: \"/*\", respond: {body: one}}]\n"
	saysTwo = "listeners: [{address: LISTEN}]\nroutes: [{path: \"/*\", respond: {body: two}}, {path: /more, respond: {}}]\n"
)

// expect runs a command of zproxy.
func expect(t *testing.T, status int, says string, args ...string) {
	t.Helper()
	got, out, errOut := command(t, args...)
	if got != status || !strings.Contains(out+errOut, says) {
		t.Errorf("zproxy %s: status %d, want %d and %q:\n%s%s", strings.Join(args, " "), got, status, says, out, errOut)
	}
}

// reload, diff and check find the process, and say what it says.
func TestReloadCommands(t *testing.T) {
	t.Parallel()
	u := startUnixAdmin(t, saysOne)
	next := func(text string) string { return writeFile(t, filepath.Join(u.dir, "next.yaml"), u.whole(text)) }
	pid := writeFile(t, filepath.Join(u.dir, "pid"), fmt.Sprintf("%d\n", u.cmd.Process.Pid))

	expect(t, 0, "nothing is different", "diff", "-c", u.file)
	expect(t, 0, "routes: added /more; changed /*\n", "diff", "-c", next(saysTwo))
	expect(t, 0, "routes: added /more; changed /*\n", "diff", "-c", next(saysTwo), "-with", u.file)
	expect(t, 0, "routes: removed /more; changed /*\n", "diff", "-c", u.file, "-with", next(saysTwo))
	expect(t, 1, "bufers", "diff", "-c", next(saysTwo+"bufers: {}\n"))
	if got := u.body(t); got != "one" {
		t.Fatalf("it changed by being asked: %s", got)
	}
	u.write(t, saysTwo)
	expect(t, 0, "routes: added /more; changed /*\n", "reload", "-c", u.file)
	if got := u.body(t); got != "two" {
		t.Errorf("reloaded: %s", got)
	}
	expect(t, 0, "nothing is different", "reload", "-admin", "unix:"+u.socket)
	u.write(t, saysOne)
	expect(t, 0, "routes: removed /more", "reload", "-pid", pid)
	if got := u.body(t); got != "one" {
		t.Errorf("reloaded: %s", got)
	}

	large := saysTwo + "buffers: {max_per_loop: 32MiB}\n"
	expect(t, 0, "needs another process: buffers", "diff", "-c", next(large))
	expect(t, 1, "needs another process: buffers", "check", "-c", next(large), "-against-running")
	expect(t, 0, "valid", "check", "-c", next(saysTwo), "-against-running")
	u.write(t, large)
	expect(t, 1, "buffers", "reload", "-c", u.file)
	u.write(t, saysTwo+"bufers: {}\n")
	expect(t, 1, "bufers", "reload", "-admin", "unix:"+u.socket)
	if got := u.body(t); got != "one" {
		t.Errorf("after a refused reload: %s", got)
	}
	expect(t, 2, "usage", "reload")
	expect(t, 1, "no zproxy answers", "reload", "-admin", "unix:"+u.dir+"/none")
	expect(t, 1, "admin.address", "reload", "-c", writeFile(t, filepath.Join(u.dir, "no.yaml"), strings.ReplaceAll(saysOne, "LISTEN", u.addr)))
	writeFile(t, pid, fmt.Sprint(os.Getpid()))
	expect(t, 1, "is no zproxy", "reload", "-pid", pid)
}

// By a TCP address the process reads its own file and no other.
func TestReloadCommandsTCP(t *testing.T) {
	t.Parallel()
	z := start(t, backends[0], saysOne)
	head := fmt.Sprintf("io: %s\nadmin: {address: %q}\n", backends[0], z.admin)
	two := head + strings.ReplaceAll(saysTwo, "LISTEN", z.addr)
	other := writeFile(t, filepath.Join(t.TempDir(), "other.yaml"), two)
	expect(t, 1, "-with "+z.file, "diff", "-c", other)
	writeFile(t, z.file, two)
	expect(t, 0, "routes: added /more; changed /*\n", "diff", "-c", z.file)
	expect(t, 0, "routes: added /more; changed /*\n", "reload", "-c", z.file)
	if got := get(t, z.url("/")); got != "two" {
		t.Errorf("reloaded: %s", got)
	}
}

// PUT /config is in force and in the file, or in neither.
func TestPutConfig(t *testing.T) {
	t.Parallel()
	u := startUnixAdmin(t, saysOne)
	real := filepath.Join(u.dir, "real.yaml")
	if err := os.Rename(u.file, real); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(real, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real.yaml", u.file); err != nil {
		t.Fatal(err)
	}
	holds := func(text string) {
		t.Helper()
		info, err := os.Stat(real)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the file is %v, %v", info.Mode(), err)
		}
		if b, err := os.ReadFile(u.file); err != nil || string(b) != u.whole(text) {
			t.Errorf("the file holds %q, %v", b, err)
		}
		if files, _ := filepath.Glob(filepath.Join(u.dir, ".*")); len(files) > 0 {
			t.Errorf("left behind: %v", files)
		}
	}
	if status, says := u.put(t, u.whole(saysTwo)); status != 200 || !strings.Contains(says, `"/more"`) {
		t.Fatalf("%d %s", status, says)
	}
	if got := u.body(t); got != "two" {
		t.Errorf("put: %s", got)
	}
	holds(saysTwo)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for text, why := range map[string]string{
		saysOne + "nonsense: 1\n":                    "zproxy.yaml:4:1: nonsense",
		saysOne + "buffers: {max_per_loop: 32MiB}\n": "buffers",
		strings.Replace(saysOne, "[{address: LISTEN}", fmt.Sprintf("[{address: LISTEN}, {address: %q}", taken.Addr()), 1): "in use",
	} {
		if status, says := u.put(t, u.whole(text)); status != 422 || !strings.Contains(says, why) {
			t.Errorf("%s: %d %s", text, status, says)
		}
		if got := u.body(t); got != "two" {
			t.Errorf("behind a refused one: %s", got)
		}
		holds(saysTwo)
	}
	// A file that cannot be written is no place for a configuration that a restart is to find.
	if err := os.Remove(u.file); err != nil {
		t.Fatal(err)
	}
	if status, says := u.put(t, u.whole(saysOne)); status != 422 || !strings.Contains(says, "cannot be written") {
		t.Errorf("%d %s", status, says)
	}
	if got := u.body(t); got != "two" {
		t.Errorf("it is in force and in no file: %s", got)
	}
}

// settles waits until the proxy answers want, on all loops: one may do before another does.
func (u *unixAdmin) settles(t *testing.T, want string) {
	t.Helper()
	eventually(t, patience, "the proxy answers "+want, func() (bool, string) {
		got := u.body(t)
		return got == want, got + "\n" + tail(u.out.String())
	})
	// Changes wait for each other, and one is over when all loops serve by it.
	if status, says := u.ask(t, "/config?dry", u.whole(saysOne)); status != http.StatusOK {
		t.Fatalf("a change that is only tried out: %d %s", status, says)
	}
}
