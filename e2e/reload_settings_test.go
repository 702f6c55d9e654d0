package e2e

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What is no route and no upstream changes, too: the logs, the admin address, limits of the
// loops, options of the sockets. A connection that is kept throughout sees nothing of it.
func TestReloadSettings(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		dir := t.TempDir()
		first, second := filepath.Join(dir, "first.log"), filepath.Join(dir, "second.log")
		text := func(socket, log, format, more string) string {
			return fmt.Sprintf("io: %s\nlisteners: [{address: LISTEN%s}]\nroutes: [{path: \"/*\", respond: {body: ok}}]\naccess_log: {path: %q, flush: 10ms, format: %q}\n%s",
				backend, socket, log, format, more)
		}
		u := startUnixAdmin(t, text("", first, "{target}", ""))
		kept := dial(t, u.addr)
		ask := func(path string) {
			t.Helper()
			kept.SetDeadline(time.Now().Add(patience))
			kept.write("GET " + path + " HTTP/1.1\r\nHost: h\r\n\r\n")
			if res, body := kept.response("GET"); res.StatusCode != 200 || body != "ok" || res.Close {
				t.Fatalf("%s: %s %q, close %v", path, res.Status, body, res.Close)
			}
		}
		holds := func(file, want string) {
			t.Helper()
			eventually(t, patience, file+" is written", func() (bool, string) {
				b, err := os.ReadFile(file)
				return string(b) == want, fmt.Sprintf("%q, %v", b, err)
			})
		}
		ask("/1")
		u.write(t, text(", socket: {receive_buffer: 64KiB, backlog: 9}", second, "{method} {target}",
			"log: {format: json}\nbatch_wait: 1ms\nlimits: {connections: 7}\ncore_dumps: never\n"))
		expect(t, 0, "sections: changed batch_wait, core_dumps, limits, access_log, log", "reload", "-c", u.file)
		ask("/2")
		holds(first, "/1\n")
		holds(second, "GET /2\n")
		eventually(t, patience, "the log is JSON", func() (bool, string) {
			return strings.Contains(u.out.String(), `"msg":"another configuration is in force"`), tail(u.out.String())
		})
		if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", u.cmd.Process.Pid)); err == nil && !strings.Contains(string(b), "Max core file size        0 ") {
			t.Errorf("core dumps are allowed: %s", b)
		}
		res, err := u.http.Get("http://admin/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if b, err := io.ReadAll(res.Body); err != nil || !strings.Contains(string(b), "\nzproxy_loop_connections_limit{loop=\"0\"} 7\n") {
			t.Errorf("the limit of connections is not 7, %v: %s", err, b)
		}

		// The admin address moves. It is the old one that is asked, and it says so before it goes.
		old := u.socket
		u.socket = filepath.Join(dir, "moved.sock")
		u.write(t, text("", second, "{method} {target}", "log: {level: error}\ncore_dumps: never\n"))
		expect(t, 0, "sections: changed batch_wait, limits, log, admin", "reload", "-admin", "unix:"+old)
		expect(t, 0, "nothing is different", "reload", "-c", u.file)
		eventually(t, patience, "the old admin address is gone", func() (bool, string) {
			_, err := os.Stat(old)
			return os.IsNotExist(err), fmt.Sprint(err)
		})
		ask("/3")
		holds(second, "GET /2\nGET /3\n")
		u.write(t, text("", second, "{method} {target}", "log: {level: error}\ncore_dumps: always\n"))
		expect(t, 1, "core_dumps", "reload", "-c", u.file)
		eventually(t, patience, "the error is logged", func() (bool, string) { return strings.Contains(u.out.String(), "core_dumps;"), tail(u.out.String()) })
		// What the log says as JSON is from before.
		_, more, _ := strings.Cut(u.out.String(), `"msg":"another configuration is in force"`)
		onlyErrors(t, more)
		ask("/4")
	})
}

// onlyErrors: and audits, which a log has whatever its level.
func onlyErrors(t *testing.T, log string) {
	t.Helper()
	for line := range strings.Lines(log) {
		if strings.Contains(line, "level=INFO") && !strings.Contains(line, "subject=audit") {
			t.Errorf("the log is not only of errors: %s", line)
		}
	}
}
