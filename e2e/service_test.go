package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"zproxy/internal/child"
)

// manager is the end of a service manager: what a service tells it.
type manager struct {
	socket string
	told   child.Output
}

func startManager(t *testing.T) *manager {
	t.Helper()
	m := &manager{socket: filepath.Join(t.TempDir(), "notify")}
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: m.socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := c.Read(b)
			if err != nil {
				return
			}
			m.told.Write([]byte(strings.ReplaceAll(string(b[:n]), "\n", "|") + "\n"))
		}
	}()
	return m
}

// tells waits until the manager has been told text n times.
func (m *manager) tells(t *testing.T, text string, n int) {
	t.Helper()
	eventually(t, patience, fmt.Sprintf("%s is told %d times", text, n), func() (bool, string) {
		all := m.told.String()
		return strings.Count(all, text) >= n, all
	})
}

// watchdog asks for a message every 500 ms: the queue of a manager that stands still has room for
// ten (unix(7), max_dgram_qlen), and what does not fit is lost.
const watchdog = "WATCHDOG_USEC=1000000"

// asService starts a proxy with sockets that a manager has opened, by their names.
func asService(t *testing.T, z *zproxy, m *manager, names string, files ...*os.File) {
	t.Helper()
	cmd := exec.Command("sh", "-c", "export LISTEN_PID=$$; exec "+zproxyBin+" run -c "+z.file)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+m.socket, watchdog, fmt.Sprintf("LISTEN_FDS=%d", len(files)), "LISTEN_FDNAMES="+names)
	cmd.ExtraFiles = files
	z.process = spawnCmd(t, cmd)
	group := cmd.Process.Pid
	t.Cleanup(func() { syscall.Kill(-group, syscall.SIGKILL) }) // a process that has taken over is of it
}

// A service manager hears when the proxy serves, reloads, hands over and ends, and that it lives;
// its sockets go to the listeners that they belong to, and stay when the proxy ends.
func TestService(t *testing.T) {
	besides(t, func(t *testing.T, backend string) {
		m, dir := startManager(t), t.TempDir()
		var files []*os.File
		listen := func(network, addr string) string {
			l, err := net.Listen(network, addr)
			if err != nil {
				t.Fatal(err)
			}
			f, err := l.(interface{ File() (*os.File, error) }).File()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close(); l.Close() })
			files = append(files, f)
			return l.Addr().String()
		}
		byAddress, admin := listen("tcp", "127.0.0.1:0"), listen("tcp", "127.0.0.1:0")
		file := listen("unix", filepath.Join(dir, "z.sock"))
		byName := listen("tcp", "127.0.0.1:0")
		z := &zproxy{addr: byAddress, admin: admin, file: filepath.Join(dir, "z.yaml")}
		z.config = fmt.Sprintf(`
io: %s
admin: {address: %q}
listeners:
  - {address: %q}
  - {address: "unix:%s"}
  - {address: "127.0.0.1:1", socket: {name: web}}
routes: [{path: "/*", respond: {body: ok}}]
`, backend, admin, byAddress, file)
		writeFile(t, z.file, z.config)
		asService(t, z, m, "x:admin:y:web", files...)
		m.tells(t, "READY=1|MAINPID=", 1)
		for _, addr := range []string{byAddress, byName} {
			if got := get(t, "http://"+addr+"/"); got != "ok" {
				t.Errorf("%s: %q", addr, got)
			}
		}
		if c, err := net.Dial("unix", file); err != nil {
			t.Error(err)
		} else {
			c.Close()
		}
		m.tells(t, "WATCHDOG=1", 2)
		z.signal(t, syscall.SIGHUP)
		m.tells(t, "RELOADING=1|MONOTONIC_USEC=", 1)
		m.tells(t, "READY=1|MAINPID=", 2)

		l := &lineage{zproxy: z}
		l.mustUpgrade(t)
		m.tells(t, fmt.Sprintf("MAINPID=%d", l.pid(t)), 2) // both say so
		m.tells(t, "WATCHDOG=1", 4)
		if got := get(t, "http://"+byName+"/"); got != "ok" {
			t.Errorf("behind the upgrade: %q", got)
		}
		l.ends(t)
		m.tells(t, "STOPPING=1", 1)
		if c, err := net.Dial("tcp", byName); err != nil {
			t.Errorf("the manager's socket: %v", err)
		} else {
			c.Close()
		}
		if _, err := os.Lstat(file); err != nil {
			t.Errorf("the file of the manager's socket: %v", err)
		}
	})
}

// A socket that is passed and belongs to nobody is a mistake that is named.
func TestServiceWithAStrangeSocket(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z := &zproxy{file: writeFile(t, filepath.Join(t.TempDir(), "z.yaml"), fmt.Sprintf("listeners: [{address: %q}]\nroutes: [{path: \"/*\", respond: {body: ok}}]\n", freeAddr(t)))}
	asService(t, z, startManager(t), "odd", f)
	if status := z.wait(t, stopLimit); status != 1 {
		t.Errorf("status %d, want 1", status)
	}
	if says := z.out.String(); !strings.Contains(says, "odd") || !strings.Contains(says, l.Addr().String()) {
		t.Errorf("it says %q", says)
	}
}
