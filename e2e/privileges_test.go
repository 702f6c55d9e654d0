package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// The user nobody is on every machine; its group has one of two names.
const nobody = "nobody"

// statuses are the /proc/PID/task/TID/status of all threads.
func statuses(t *testing.T, pid int) (all []string) {
	t.Helper()
	names, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	for _, name := range names {
		if b, err := os.ReadFile(name); err == nil {
			all = append(all, string(b))
		}
	}
	if len(all) == 0 {
		t.Fatalf("process %d has no threads", pid)
	}
	return all
}

// lowPort is the one to try next below 1024, and given to nobody else in this process.
var lowPort atomic.Int32

// lowAddr is a port below 1024 of 127.0.0.1 that nobody uses.
func lowAddr(t *testing.T) string {
	t.Helper()
	for port := 1024 + lowPort.Add(-1); port > 512; port = 1024 + lowPort.Add(-1) {
		if c, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			c.Close()
			return c.Addr().String()
		}
	}
	t.Fatal("no port from 512 to 1023 of 127.0.0.1 is free")
	return ""
}

// Every thread is the configured user's, with CAP_NET_BIND_SERVICE and no new privileges, also in
// the process that an upgrade starts; it still opens ports below 1024.
func TestPrivileges(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can become another user: run the tests as root")
	}
	besides(t, func(t *testing.T, backend string) {
		text := `
user: nobody
listeners: [{address: LISTEN}%s]
routes: [{path: "/*", respond: {body: ok}}]
`
		l := startLineage(t, backend, fmt.Sprintf(text, ""))
		// The folders of a test are root's alone.
		for dir := filepath.Dir(l.bin); dir != os.TempDir(); dir = filepath.Dir(dir) {
			os.Chmod(dir, 0o755)
		}
		for dir := filepath.Dir(l.file); dir != os.TempDir(); dir = filepath.Dir(dir) {
			os.Chmod(dir, 0o755)
		}
		looks := func(pid int) {
			t.Helper()
			for _, s := range statuses(t, pid) {
				for _, want := range []string{"Uid:\t65534\t65534\t65534\t65534\n", "CapEff:\t0000000000000400\n", "CapPrm:\t0000000000000400\n", "NoNewPrivs:\t1\n"} {
					if !strings.Contains(s, want) {
						t.Fatalf("a thread of process %d has no %q:\n%s", pid, want, s)
					}
				}
			}
		}
		looks(l.pid(t))
		low := lowAddr(t)
		for try := 1; !l.reload(t, strings.Replace(fmt.Sprintf(text[strings.Index(text, "listeners"):], fmt.Sprintf(", {address: %q}", low)), "LISTEN", l.addr, 1)); try++ {
			if try == startTries || !strings.Contains(l.out.String(), "in use") {
				t.Fatalf("a port below 1024 is not opened: %s", tail(l.out.String()))
			}
			low = lowAddr(t) // somebody else was faster
		}
		l.mustUpgrade(t)
		looks(l.pid(t))
		if got := get(t, "http://"+low+"/"); got != "ok" {
			t.Errorf("the port below 1024: %q", got)
		}
		l.ends(t)
	})
}

// Whoever becomes another user is hidden from that one where dumps are forbidden, and only there.
func TestPrivilegesAndDumps(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can become another user: run the tests as root")
	}
	besides(t, func(t *testing.T, backend string) {
		for dumps, owner := range map[string]uint32{"never": 0, "auto": 65534} {
			z := start(t, backend, fmt.Sprintf("user: nobody\ncore_dumps: %s\nlisteners: [{address: LISTEN}]\nroutes: [{path: \"/*\", respond: {body: ok}}]\n", dumps))
			// proc(5): its files are root's where the process is not dumpable.
			var st unix.Stat_t
			if err := unix.Stat(fmt.Sprintf("/proc/%d/mem", z.cmd.Process.Pid), &st); err != nil || st.Uid != owner {
				t.Errorf("core_dumps: %s: its memory is a file of user %d, %v; want %d", dumps, st.Uid, err, owner)
			}
			if got := z.metrics(t).sum("process_resident_memory_bytes"); got == 0 {
				t.Errorf("core_dumps: %s: it does not know its resident set", dumps)
			}
		}
	})
}

// What the user may not read later is named, and users that are none.
func TestPrivilegesAreChecked(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can become another user: run the tests as root")
	}
	t.Parallel()
	ca := newAuthority(t, "ca", nil)
	pair := ca.issue(t, "ecdsa", nil, "a.example")
	os.Chmod(pair.key, 0o600)
	text := func(who string) string {
		return fmt.Sprintf("user: %s\nlisteners: [{address: %q, tls: {certificates: [{cert: %q, key: %q}]}}]\nroutes: [{path: \"/*\", respond: {body: ok}}]\n", who, freeAddr(t), pair.cert, pair.key)
	}
	file := filepath.Join(t.TempDir(), "z.yaml")
	if says := run(t, zproxyBin, "check", "-c", writeFile(t, file, text(nobody))); !strings.Contains(says, "may read") || !strings.Contains(says, pair.key) {
		t.Errorf("it says %q", says)
	}
	p := spawn(t, zproxyBin, "check", "-c", writeFile(t, file, text("no-such-user")))
	if status := p.wait(t, patience); status != 1 || !strings.Contains(p.out.String(), "no-such-user") {
		t.Errorf("status %d, and it says %q", status, p.out.String())
	}
}
